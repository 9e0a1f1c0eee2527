// Before anything is painted: the theme that was chosen last, else the system's.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("kinema-theme"); } catch { /* storage may be forbidden */ }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
