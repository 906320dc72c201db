// The session page: plays the recording, shows its operations on a timeline and follows them in the list.
//
// Times in links, in the list and on the timeline are times of the session. The player's own differ when
// pauses are cut; toPlayed and toSession translate.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const desk = document.getElementById("desk");
  const terminal = document.getElementById("terminal");
  if (!desk || !terminal || !window.AsciinemaPlayer) return;

  const by = (id) => document.getElementById(id);
  const status = by("player-status");
  const progress = by("reading");
  const screen = by("screen");
  const ribbon = by("ribbon");
  const position = by("position");
  const speed = by("speed");
  const idle = by("idle");
  const stage = document.createElement("div");
  stage.hidden = true;
  terminal.append(stage);

  let recording; // the index: length and cuts in seconds, labels, how far it goes
  let player;
  let cuts = [[0, 0]]; // corners of the way from session seconds to played seconds, in order
  let duration = 0; // of the session, in seconds
  let live = Boolean(desk.dataset.follow);
  let playing = false;

  // ---- the recording

  const indexURL = () => new URL(`${desk.dataset.play}?idle=${idle.value}`, location.href).href;

  async function fetchIndex() {
    const res = await fetch(indexURL(), { cache: "no-store", redirect: "error" });
    if (!res.ok) {
      const why = { 401: "You are signed out: reload the page.", 403: "The gate no longer lets you see this recording.",
        404: "There is no recording of this session.", 429: "You have too many recordings open: close some." }[res.status];
      throw new Error(why ?? "The recording could not be read. The gate's log says why.");
    }
    return res.json();
  }

  function use(index) {
    recording = index;
    cuts = recording.cuts;
    duration = recording.length;
    known = undefined;
    showTyped();
    if (recording.how === "damaged") note("The recording is damaged: it plays up to where it stops making sense. Verify it to learn where that is.");
    if (recording.how === "open" && !desk.dataset.follow) note("The recording breaks off: it has no end. It plays up to there.");
    if (recording.how === "") readOn();
  }

  const load = async () => use(await fetchIndex());

  // readOn plays what the gate has read of a long recording, and all of it when it is done.
  let reading;
  function readOn() {
    clearTimeout(reading);
    progress.hidden = false;
    progress.textContent = `Reading a long recording: ${(recording.read / 1e6).toFixed(0)} MB so far. What is read can be played.`;
    reading = setTimeout(async () => {
      if (live) return;
      let index;
      try {
        index = await fetchIndex();
      } catch (err) {
        return fail(err);
      }
      const at = now();
      use(index);
      drawRibbon();
      if (recording.how !== "") {
        progress.hidden = true;
        replay(Math.max(at, wanted() ?? 0), playing);
      }
    }, 1000);
  }

  // showTyped puts what was typed, where that is recorded, into the list at its moments. It is not played.
  function showTyped() {
    const list = by("oplist");
    for (const el of list.querySelectorAll(".typed")) el.remove();
    let before = list.firstElementChild;
    for (const [at, label] of recording.labels.filter(([, , , typed]) => typed)) {
      while (before && Number(before.dataset.at) <= at) before = before.nextElementSibling;
      const li = document.createElement("li");
      li.className = "typed";
      Object.assign(li.dataset, { at, label, decision: "typed" });
      const a = document.createElement("a");
      a.href = `#t=${at.toFixed(3)}`;
      const parts = ["t", "code", "meta"].map((name) => document.createElement(name === "code" ? "code" : "span"));
      [parts[0].className, parts[2].className] = ["t", "meta"];
      const text = document.createElement("bdi");
      text.textContent = label;
      parts[1].append(text);
      [parts[0].textContent, parts[2].textContent] = [clock(at), "typed"];
      a.append(...parts);
      li.append(a);
      list.insertBefore(li, before);
      list.hidden = false;
      by("no-ops")?.remove();
    }
  }

  // operations are the list's, and with them what the recording itself marks: where values were masked, or all
  // its labels where there is no list.
  let known;
  function operations() {
    if (known) return known;
    const listed = [...document.querySelectorAll("#oplist > li")].map((el) => ({
      at: Number(el.dataset.at), label: el.dataset.label, decision: el.dataset.decision, el,
    }));
    const marks = (recording?.labels ?? []).filter(([, , masked, typed]) => !typed && (masked > 0 || listed.length === 0))
      .map(([at, label, masked]) => masked > 0 ? { at, label: `${masked} ${masked === 1 ? "value" : "values"} masked`, decision: "mask" } : { at, label, decision: "allow" });
    const all = listed.concat(marks).sort((a, b) => a.at - b.at);
    if (recording) known = all;
    return all;
  }

  function translate(t, from, to) {
    let low = 0;
    let high = cuts.length;
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (cuts[middle][from] <= t + 1e-6) low = middle; // the player counts in milliseconds
      else high = middle;
    }
    const [a, b] = [cuts[low], cuts[low + 1]];
    if (b && b[to] - a[to] < 1e-9) return a[to]; // inside a pause that was cut
    return a[to] + (t - a[from]);
  }
  const toPlayed = (t) => translate(t, 0, 1);
  const toSession = (t) => translate(t, 1, 0);

  // ---- the player

  const look = {
    theme: "sallyport", controls: false, cursorMode: "steady", preload: true,
    terminalFontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    terminalLineHeight: 1.35,
  };

  function mount(src, options) {
    player?.dispose();
    going = undefined;
    stage.hidden = false;
    status.hidden = true;
    const full = document.fullscreenElement === screen;
    // On a phone a wide terminal scrolls sideways rather than shrink until nobody can read it.
    stage.firstChild?.remove();
    const inner = document.createElement("div");
    inner.style.minWidth = full ? "" : `${(recording?.term.cols || Number(desk.dataset.cols) || 80) * 6}px`;
    inner.style.height = full ? "100%" : "";
    stage.append(inner);
    player = window.AsciinemaPlayer.create(src, inner, { ...look, fit: full ? "both" : "width", ...options });
    const set = (value) => () => { playing = value; showPlaying(); };
    player.addEventListener("play", set(true));
    player.addEventListener("playing", set(true));
    player.addEventListener("pause", set(false));
    player.addEventListener("ended", set(false));
    player.addEventListener("error", () => { if (!live) fail(new Error("The recording could not be read on. Reload the page; if that does not help, the gate's log says why.")); });
    document.documentElement.dataset.player = live ? "live" : "ready";
    showPlaying();
  }

  function showPlaying() {
    if (playing) stage.classList.add("sought");
    by("toggle").toggleAttribute("data-playing", playing);
    by("toggle-label").textContent = playing ? "Pause" : "Play";
  }

  function toggle() {
    if (live || !recording) return;
    if (playing) player.pause();
    else player.play();
  }

  function replay(at, play) {
    live = false;
    playing = play;
    mount({ url: indexURL(), format: "segmented" }, { speed: Number(speed.value), startAt: toPlayed(at), autoPlay: play });
    drawRibbon();
    stage.classList.toggle("sought", at > 0);
    if (!play) go(at); // startAt alone draws nothing before play
    showMode();
  }

  function follow() {
    live = true;
    playing = true;
    mount({ driver: "eventsource", url: desk.dataset.follow, bufferTime: 0 }, { autoPlay: true });
    player.addEventListener("ended", () => tell("The session has ended. Reload the page for the whole recording."));
    showMode();
    drawRibbon();
  }

  function showMode() {
    by("mode-live")?.setAttribute("aria-pressed", String(live));
    by("mode-start")?.setAttribute("aria-pressed", String(!live));
    for (const el of [by("toggle"), by("marker-prev"), by("marker-next")]) el.disabled = live;
  }

  function tell(text) {
    status.textContent = text;
    status.hidden = false;
  }

  function note(text) {
    if (document.querySelector(".controls ~ .notice")) return;
    const p = document.createElement("p");
    p.className = "notice warn";
    p.textContent = text;
    document.querySelector(".controls").after(p);
  }

  // ---- where we are

  let going; // where a seek that is under way goes
  let went; // where the last one went
  function now() {
    if (going !== undefined) return going;
    if (!player || live) return 0;
    const played = player.getCurrentTime() ?? 0;
    // All moments of a pause that was cut are played at once: of these, the one that was asked for.
    if (went !== undefined && Math.abs(toPlayed(went) - played) < 0.002) return went;
    return Math.min(toSession(played), duration);
  }

  function go(t) {
    going = t;
    delete document.documentElement.dataset.shown;
    const [from, asked] = [player, toPlayed(t)];
    const arrived = () => {
      if (going !== t || player !== from) return; // another seek came in between
      going = undefined;
      went = t;
      document.documentElement.dataset.shown = t;
    };
    player.seek(asked).then(arrived, arrived);
    draw(t);
  }

  // clock writes a time as the list does, with tenths in the first seconds.
  function clock(t) {
    const s = Math.floor(t);
    if (s < 10) return `0:${(Math.floor(t * 10) / 10).toFixed(1).padStart(4, "0")}`;
    const two = (n) => String(n).padStart(2, "0");
    return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  }

  function seek(t) {
    if (!recording || live) return;
    stage.classList.add("sought");
    go(Math.max(0, Math.min(t, duration)));
  }

  let current;
  function draw(t) {
    position.textContent = `${clock(t)} / ${clock(duration)}`;
    const share = duration > 0 ? `${(100 * t) / duration}%` : "0%";
    ribbon.setAttribute("aria-valuemax", duration.toFixed(0));
    ribbon.setAttribute("aria-valuenow", t.toFixed(0));
    ribbon.setAttribute("aria-valuetext", `${clock(t)} of ${clock(duration)}`);
    head.style.left = share;
    past.style.width = share;
    let el;
    for (const op of operations()) {
      if (op.at > t + 0.05) break;
      el = op.el ?? el;
    }
    if (el === current) return;
    current?.removeAttribute("aria-current");
    current = el;
    if (!el) return;
    el.setAttribute("aria-current", "true");
    const list = el.parentElement;
    const top = el.offsetTop - list.clientHeight / 3;
    if (el.offsetTop < list.scrollTop || el.offsetTop + el.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top;
  }

  const head = document.createElement("b");
  const past = document.createElement("u");
  function drawRibbon() {
    ribbon.replaceChildren(past, head);
    if (live || duration === 0) return;
    for (const op of operations()) {
      if (op.decision === "typed") continue;
      const tick = document.createElement("i");
      tick.dataset.decision = op.decision;
      tick.title = `${clock(op.at)}  ${op.label}`;
      tick.style.left = `${(100 * op.at) / duration}%`;
      ribbon.append(tick);
    }
    draw(now());
  }

  // step goes to the operation before or after; the one being shown counts as before only after a moment.
  function step(back) {
    const t = now();
    const times = operations().filter((op) => op.decision !== "typed").map((op) => op.at).sort((a, b) => a - b);
    const to = back ? times.filter((at) => at < t - 1).pop() ?? 0 : times.find((at) => at > t + 0.05);
    if (to !== undefined) seek(to);
  }

  function fullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else screen.requestFullscreen?.();
  }

  const wanted = () => {
    const m = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
    return m ? Number(m[1]) : undefined;
  };

  // ---- what people do

  by("toggle").addEventListener("click", toggle);
  by("full").addEventListener("click", fullscreen);
  document.addEventListener("fullscreenchange", () => { if (recording && !live) replay(now(), playing); });
  ribbon.addEventListener("keydown", (event) => {
    const by5 = { ArrowLeft: -5, ArrowRight: 5, PageDown: -60, PageUp: 60, Home: -Infinity, End: Infinity }[event.key];
    if (by5 === undefined) return;
    event.preventDefault();
    seek(now() + by5);
  });
  by("marker-prev").addEventListener("click", () => step(true));
  by("marker-next").addEventListener("click", () => step(false));
  speed.addEventListener("change", () => { if (!live && recording) replay(now(), playing); });
  idle.addEventListener("change", () => {
    if (live || !recording) return;
    fetchIndex().then((index) => {
      const at = now(); // somebody may have gone elsewhere meanwhile
      use(index);
      replay(at, playing);
    }).catch(fail);
  });
  ribbon.addEventListener("click", (event) => {
    const box = ribbon.getBoundingClientRect();
    seek((duration * (event.clientX - box.left)) / box.width);
  });
  by("copy-link").addEventListener("click", async () => {
    history.replaceState(null, "", `#t=${now().toFixed(1)}`);
    const label = by("copy-link").querySelector("span").firstChild;
    const before = label.textContent;
    try {
      await navigator.clipboard.writeText(location.href);
      label.textContent = "Copied";
    } catch {
      label.textContent = "In the address bar";
    }
    setTimeout(() => { label.textContent = before; }, 2000);
  });
  document.addEventListener("click", async (event) => {
    const a = event.target.closest?.('#oplist a[href^="#t="]');
    if (!a || event.metaKey || event.ctrlKey) return;
    event.preventDefault();
    history.replaceState(null, "", a.getAttribute("href"));
    if (live) await fromStart(wanted());
    else seek(wanted());
  });
  addEventListener("hashchange", () => { if (wanted() !== undefined) seek(wanted()); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || live || !recording) return;
    if (event.target.closest?.("input, select, textarea")) return;
    if (event.key === "[" || event.key === "]") step(event.key === "[");
    else if (event.key === " " && !event.target.closest?.("button, a, summary")) toggle();
    else if (event.key === "f") fullscreen();
    else return;
    event.preventDefault();
    event.stopPropagation(); // the player has the same keys where it has the focus
  }, true);

  const fail = (err) => {
    stage.hidden = true;
    tell(err.message);
    document.documentElement.dataset.player = "failed";
  };
  const fromStart = (t) => load().then(() => replay(t ?? 0, t === undefined)).catch(fail);
  by("mode-live")?.addEventListener("click", () => { if (!live) follow(); });
  by("mode-start")?.addEventListener("click", () => fromStart());

  setInterval(() => { if (recording && !live) draw(now()); }, 120);

  // A running session gains operations.
  if (desk.dataset.follow) {
    setInterval(async () => {
      if (document.hidden) return;
      const list = by("oplist");
      const last = [...list.querySelectorAll("li[data-seq]")].pop()?.dataset.seq ?? 0;
      try {
        const res = await fetch(`/sessions/${desk.dataset.session}/operations?after=${last}`, { cache: "no-store", redirect: "error" });
        if (!res.ok) return;
        const page = new DOMParser().parseFromString(await res.text(), "text/html");
        const fresh = [...page.querySelectorAll("li")];
        if (fresh.length === 0) return;
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        known = undefined;
        list.append(...fresh.map((li) => document.adoptNode(li)));
        list.hidden = false;
        by("no-ops")?.remove();
        by("op-count").textContent = list.querySelectorAll("li:not(.typed)").length;
        if (atEnd) list.scrollTop = list.scrollHeight;
      } catch {} // offline: asked again shortly
    }, 3000);
  }

  if (live && wanted() === undefined) {
    follow();
  } else {
    const at = wanted();
    load().then(() => replay(at ?? 0, false)).catch(fail);
  }
});
