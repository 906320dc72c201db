// Tells of requests that wait by a notification of the desktop, after a click has asked for that. A notification says who
// asks on which target, and leads to the page; it answers nothing.
"use strict";
(() => {
  const key = "sallyport-notify";
  const button = document.querySelector("#notify");
  if (!("Notification" in window)) return;
  const on = () => Notification.permission === "granted" && localStorage.getItem(key) === "on";
  const show = () => {
    if (!button) return;
    button.hidden = false;
    button.disabled = Notification.permission === "denied";
    button.setAttribute("aria-pressed", String(on()));
    button.textContent = Notification.permission === "denied" ? "Notifications are blocked in this browser"
      : on() ? "Notifications are on" : "Notify me on this desktop";
  };
  show();
  button?.addEventListener("click", async () => {
    if (on()) {
      localStorage.setItem(key, "off");
    } else if (await Notification.requestPermission() === "granted") {
      localStorage.setItem(key, "on");
    }
    show();
  });

  const told = new Set();
  const tell = (card) => {
    const id = card.dataset?.hold;
    if (!id || told.has(id)) return;
    told.add(id);
    if (!on() || card.dataset.state !== "pending" || !document.hidden && document.hasFocus()) return;
    const note = new Notification("A request waits for an answer", { body: card.querySelector("h2")?.textContent ?? id, tag: `hold-${id}` });
    note.addEventListener("click", () => {
      window.focus();
      note.close();
      location.assign(`/approvals/${encodeURIComponent(id)}`);
    });
  };
  const list = document.querySelector("#holds");
  if (!list) return;
  for (const card of list.querySelectorAll(".request")) told.add(card.dataset.hold);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.matches?.(".request")) tell(node);
  }).observe(list, { childList: true });
})();
