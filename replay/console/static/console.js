// What every page does by itself: the theme, countdowns, and lists that follow what happens at the gate.
// All HTML that comes in was made by this console's own templates; it is parsed apart and moved in whole.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // The theme button exists only where scripts run.
  for (const button of $$("[data-theme-toggle]")) {
    const label = $("[data-theme-label]", button);
    const show = (theme) => { label.textContent = `Theme: ${theme}`; };
    button.hidden = false;
    show(window.sallyportTheme.get());
    button.addEventListener("click", () => show(window.sallyportTheme.next()));
  }

  // Countdowns. What has run out says so; the gate decides when it really has.
  function span(ms) {
    const s = Math.max(0, Math.ceil(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
    return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, "0")} min`;
  }
  function tick() {
    for (const el of $$("[data-expires]")) {
      const expires = Date.parse(el.dataset.expires);
      const left = expires - Date.now();
      const text = $("[data-left]", el);
      if (text) text.textContent = left > 0 ? span(left) : "expired";
      el.classList.toggle("soon", left < 60_000);
      const ring = $(".left[stroke-dasharray]", el);
      const asked = Date.parse(el.dataset.asked);
      if (ring && expires > asked) {
        const share = Math.max(0, Math.min(100, (100 * left) / (expires - asked)));
        ring.setAttribute("stroke-dasharray", `${share} 100`);
      }
    }
  }
  tick();
  setInterval(tick, 1000);

  async function fetchPage(url, options = {}) {
    const res = await fetch(url, { cache: "no-store", redirect: "error", ...options });
    const text = await res.text();
    return { res, page: new DOMParser().parseFromString(text, "text/html") };
  }

  function setWaiting(n) {
    const badge = $("#waiting-count");
    if (!badge) return;
    badge.dataset.count = n;
    badge.firstChild.nodeValue = n;
    const bare = document.title.replace(/^\(\d+\) /, "");
    document.title = n > 0 && $("[data-stream], [data-live=approvals]") ? `(${n}) ${bare}` : bare;
  }

  // One stream a page. A browser reconnects by itself after a break, but not after an answer that says
  // no (signed out, too many streams): then this tries again, slowly.
  function listen(handlers) {
    const lamp = $("#stream-state");
    const say = (state, text) => {
      if (!lamp) return;
      lamp.dataset.state = state;
      $("span", lamp).textContent = text;
    };
    let source;
    const open = () => {
      source = new EventSource("/approvals/events");
      source.addEventListener("open", () => say("on", "updates by itself"));
      source.addEventListener("error", () => {
        say("lost", "connection lost, trying again");
        if (source.readyState === EventSource.CLOSED) setTimeout(open, 15_000);
      });
      for (const [name, handle] of Object.entries(handlers)) {
        source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
      }
    };
    open();
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  // The approvals pages.
  const list = $("[data-stream]");
  if (list) {
    const only = list.dataset.only;
    const cardOf = (id) => document.getElementById(`hold-${id}`);
    const isWaiting = (card) => card?.dataset.state === "pending";
    const said = document.createElement("p"); // for screen readers: the cards are too long to be read out
    said.className = "sr";
    said.setAttribute("role", "status");
    list.before(said);

    const settle = () => {
      if (only) return;
      const cards = $$(".request", list);
      setWaiting(cards.filter(isWaiting).length);
      $("#no-holds").hidden = cards.length > 0;
      $("#answered-section").hidden = $$("#answered .request").length === 0;
    };

    // place puts a card where its state belongs. What was answered on this very page stays where it
    // is, so that the approver sees what became of it.
    const place = (fresh, mine) => {
      const old = cardOf(fresh.dataset.hold);
      if (mine) fresh.classList.toggle("done", !isWaiting(fresh));
      if (only || mine || (isWaiting(old) && isWaiting(fresh))) {
        const typed = old && $("input[name=reason]", old);
        const next = $("input[name=reason]", fresh);
        if (typed && next) next.value = typed.value;
        const focused = typed && document.activeElement === typed;
        old?.replaceWith(fresh);
        if (focused && next) next.focus();
      } else if (isWaiting(fresh)) {
        if (!old) {
          fresh.classList.add("fresh");
          list.append(fresh);
          said.textContent = `A request waits: ${$("h2", fresh).textContent}`;
        }
      } else if (!old?.classList.contains("done")) {
        old?.remove();
        $("#answered").prepend(fresh);
      }
      settle();
      tick();
    };

    const asked = new Set(); // ids whose card is on its way
    const refresh = async (id) => {
      if ((only && id !== only) || asked.has(id)) return;
      asked.add(id);
      try {
        const { res, page } = await fetchPage(`/approvals/${encodeURIComponent(id)}/card`);
        const card = res.ok && $(".request", page);
        if (card) place(document.adoptNode(card), false);
      } catch {} finally { // offline: the next sync asks again
        asked.delete(id);
      }
    };

    listen({
      hold: ({ id }) => refresh(id),
      sync: ({ waiting }) => {
        const known = $$(".request", list).filter(isWaiting).map((card) => card.dataset.hold);
        for (const id of waiting) if (!known.includes(id)) refresh(id);
        for (const id of known) if (!waiting.includes(id)) refresh(id);
      },
    });

    // Answers. A form that is under way cannot be sent again.
    document.addEventListener("submit", async (event) => {
      const form = event.target;
      if (!form.matches("form[data-answer]")) return;
      event.preventDefault();
      const buttons = $$("button", form);
      if (buttons.some((b) => b.disabled)) return;
      const body = new URLSearchParams(new FormData(form, event.submitter));
      for (const b of buttons) b.disabled = true;
      const problem = (text) => {
        const old = $(".notice.bad", form);
        const p = old ?? document.createElement("p");
        p.className = "notice bad";
        p.setAttribute("role", "alert");
        p.textContent = text;
        if (!old) form.before(p);
        for (const b of buttons) b.disabled = false;
      };
      try {
        const { res, page } = await fetchPage(form.action, { method: "POST", body, headers: { "X-Fragment": "card" } });
        const card = $(".request", page);
        if (card) {
          place(document.adoptNode(card), true);
          const note = $(".notice", document.getElementById(card.id));
          if (note) { note.tabIndex = -1; note.focus(); }
        } else {
          problem(res.status === 401 ? "You are signed out. Reload the page and sign in; nothing was answered."
            : `${$("h1", page)?.textContent ?? "That failed"}. ${$(".problem p:not(.code)", page)?.textContent ?? ""}`);
        }
      } catch {
        problem("The gate could not be reached. It is not known whether the answer arrived: reload the page before you try again.");
      }
    });
  }

  // Blocks of the overview follow along: requests at once, the rest now and then while somebody looks.
  const blocks = $$("[data-live]");
  if (blocks.length > 0) {
    let busy = false;
    const refresh = async (which) => {
      if (busy) return;
      busy = true;
      try {
        const { res, page } = await fetchPage(location.pathname);
        if (!res.ok) return;
        for (const old of $$(which)) {
          const fresh = page.getElementById(old.id);
          if (fresh && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(fresh));
        }
        const n = $("#waiting-count", page);
        if (n) setWaiting(Number(n.dataset.count));
        tick();
      } catch {} finally { // offline: the next round tries again
        busy = false;
      }
    };
    if ($("[data-live=approvals]")) listen({ hold: () => refresh("[data-live=approvals]") });
    setInterval(() => { if (!document.hidden) refresh("[data-live]"); }, 15_000);
  }
})();
