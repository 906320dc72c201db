// Runs before the page is drawn, so that a chosen theme does not flash. Without a choice the system's
// preference holds, by the style sheet alone.
"use strict";
(() => {
  const key = "sallyport-theme";
  const root = document.documentElement;
  const order = ["system", "light", "dark"];

  function stored() {
    try {
      const theme = localStorage.getItem(key);
      return order.includes(theme) ? theme : "system";
    } catch {
      return "system"; // storage is denied: the choice lasts as long as the page
    }
  }

  function apply(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  }

  apply(stored());
  window.sallyportTheme = {
    get: () => root.dataset.theme ?? "system",
    next() {
      const theme = order[(order.indexOf(this.get()) + 1) % order.length];
      apply(theme);
      try {
        if (theme === "system") localStorage.removeItem(key);
        else localStorage.setItem(key, theme);
      } catch {} // as above
      return theme;
    },
  };
})();
