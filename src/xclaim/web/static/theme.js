"use strict";
/* Before anything is painted: the theme that was chosen here, else the system's holds. */
(() => {
  let theme = null;
  try { theme = window.localStorage.getItem("xclaim-theme"); } catch { /* refused in some frames */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
