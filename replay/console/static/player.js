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
  const screen = by("screen");
  const ribbon = by("ribbon");
  const position = by("position");
  const speed = by("speed");
  const idle = by("idle");
  const stage = document.createElement("div");
  stage.hidden = true;
  terminal.append(stage);

  let recording; // what was fetched: size, events [seconds, code, data], markers
  let player;
  let cuts = []; // [session seconds, played seconds] where a pause was shortened, in order
  let duration = 0; // of the session, in seconds
  let live = Boolean(desk.dataset.follow);
  let playing = false;

  // ---- the recording

  function parse(text) {
    const lines = text.split("\n");
    const header = JSON.parse(lines[0]);
    const events = [];
    let at = 0;
    let ending = "cut"; // unless its last line says otherwise
    for (const line of lines.slice(1)) {
      if (line.startsWith("[")) {
        const [after, code, data] = JSON.parse(line);
        at += after;
        events.push([at, code, data]);
      } else if (line.startsWith("# ")) {
        ending = line.slice(2);
      }
    }
    return { cols: header.term.cols, rows: header.term.rows, events, ending };
  }

  // operations are the list's, or else the markers that the recording itself has.
  function operations() {
    const listed = [...document.querySelectorAll("#oplist > li")].map((el) => ({
      at: Number(el.dataset.at), label: el.dataset.label, decision: el.dataset.decision, el,
    }));
    if (listed.length > 0 || !recording) return listed;
    return recording.events.filter((e) => e[1] === "m").map(([at, , label]) => ({ at, label, decision: "allow" }));
  }

  // shorten cuts pauses longer than limit seconds and notes where.
  function shorten(events, limit) {
    cuts = [[0, 0]];
    let before = 0;
    let dropped = 0;
    return events.map(([at, code, data]) => {
      const gap = at - before;
      if (limit > 0 && gap > limit) {
        cuts.push([before + limit, before + limit - dropped]);
        dropped += gap - limit;
        cuts.push([at, at - dropped]);
      }
      before = at;
      return [at - dropped, code, data];
    });
  }

  function translate(t, from, to) {
    let i = cuts.length - 1;
    while (i > 0 && cuts[i][from] > t) i--;
    const [a, b] = [cuts[i], cuts[i + 1]];
    const moved = t - a[from];
    if (b && b[to] - a[to] < 1e-9) return a[to]; // inside a pause that was cut
    return a[to] + moved;
  }
  const toPlayed = (t) => translate(t, 0, 1);
  const toSession = (t) => translate(t, 1, 0);

  function source() {
    const marks = operations().map((op) => [op.at, "m", op.label]);
    const all = recording.events.filter((e) => e[1] !== "m").concat(marks);
    all.sort((a, b) => a[0] - b[0]);
    if (all.length === 0) all.push([0, "o", ""]); // the player refuses a recording without events
    duration = all[all.length - 1][0];
    const events = shorten(all, Number(idle.value)).map(([at, code, data]) => [at * 1000, code, data]);
    return { data: "", parser: () => ({ cols: recording.cols, rows: recording.rows, events }) };
  }

  // ---- the player

  const look = {
    theme: "sallyport", controls: false, cursorMode: "steady", preload: true,
    terminalFontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    terminalLineHeight: 1.35,
  };

  function mount(src, options) {
    player?.dispose();
    stage.hidden = false;
    status.hidden = true;
    const full = document.fullscreenElement === screen;
    // On a phone a wide terminal scrolls sideways rather than shrink until nobody can read it.
    stage.firstChild?.remove();
    const inner = document.createElement("div");
    inner.style.minWidth = full ? "" : `${(recording?.cols || Number(desk.dataset.cols) || 80) * 6}px`;
    inner.style.height = full ? "100%" : "";
    stage.append(inner);
    player = window.AsciinemaPlayer.create(src, inner, { ...look, fit: full ? "both" : "width", ...options });
    const set = (value) => () => { playing = value; showPlaying(); };
    player.addEventListener("play", set(true));
    player.addEventListener("playing", set(true));
    player.addEventListener("pause", set(false));
    player.addEventListener("ended", set(false));
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
    mount(source(), { speed: Number(speed.value), startAt: toPlayed(at), autoPlay: play });
    drawRibbon();
    stage.classList.toggle("sought", at > 0);
    if (!play) player.seek(toPlayed(at)); // startAt alone draws nothing before play
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

  async function load() {
    const res = await fetch(desk.dataset.play, { cache: "no-store", redirect: "error" });
    if (!res.ok) {
      const why = { 401: "You are signed out: reload the page.", 403: "The gate no longer lets you see this recording.",
        404: "There is no recording of this session.", 429: "You have too many recordings open: close some." }[res.status];
      throw new Error(why ?? "The recording could not be read. The gate's log says why.");
    }
    recording = parse(await res.text());
    if (recording.ending === "cut") note("Only the first part is played here: the recording is larger than a page takes. The download has all of it.");
    if (recording.ending === "damaged") note("The recording is damaged: it plays up to where it stops making sense. Verify it to learn where that is.");
  }

  function note(text) {
    if (document.querySelector(".controls ~ .notice")) return;
    const p = document.createElement("p");
    p.className = "notice warn";
    p.textContent = text;
    document.querySelector(".controls").after(p);
  }

  // ---- where we are

  const now = () => (player && !live ? Math.min(toSession(player.getCurrentTime() ?? 0), duration) : 0);

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
    player.seek(toPlayed(Math.max(0, Math.min(t, duration))));
    draw(t);
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
    for (const op of operations()) if (op.at <= t + 0.05) el = op.el;
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
    const times = operations().map((op) => op.at).sort((a, b) => a - b);
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
  for (const el of [speed, idle]) el.addEventListener("change", () => { if (!live && recording) replay(now(), playing); });
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
      const last = list.lastElementChild?.dataset.seq ?? 0;
      try {
        const res = await fetch(`/sessions/${desk.dataset.session}/operations?after=${last}`, { cache: "no-store", redirect: "error" });
        if (!res.ok) return;
        const page = new DOMParser().parseFromString(await res.text(), "text/html");
        const fresh = [...page.querySelectorAll("li")];
        if (fresh.length === 0) return;
        const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
        list.append(...fresh.map((li) => document.adoptNode(li)));
        list.hidden = false;
        by("no-ops")?.remove();
        by("op-count").textContent = list.children.length;
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
