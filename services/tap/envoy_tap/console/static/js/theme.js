// Dark, light, or as the system has it; the choice is kept in this browser.

const KEY = "envoy-tap-theme";
const NAMES = { system: "Theme: as the system", dark: "Theme: dark", light: "Theme: light" };

function chosen() {
  const found = localStorage.getItem(KEY);
  return found in NAMES ? found : "system";
}

export function themeName() {
  return NAMES[chosen()];
}

export function applyTheme() {
  if (chosen() === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = chosen();
}

export function nextTheme() {
  const names = Object.keys(NAMES);
  localStorage.setItem(KEY, names[(names.indexOf(chosen()) + 1) % names.length]);
  applyTheme();
}
