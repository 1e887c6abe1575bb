// @ts-check
/** Theme, palette and density of the page, and the colours for canvases. */

/** @type {Set<() => void>} */
const listeners = new Set();
const light = matchMedia("(prefers-color-scheme: light)");
const forced = matchMedia("(forced-colors: active)");

/** token -> its value until the next change: reading a style lays out the page. @type {Map<string, string>} */
const colors = new Map();

/** The value of a token of app.css, such as "up" or "line". @param {string} token */
export function color(token) {
  const known = colors.get(token);
  if (known !== undefined) return known;
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();
  colors.set(token, value);
  return value;
}

/** Call `listener` after each change of theme, palette or forced colours. @param {() => void} listener */
export function onChange(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** The theme that is shown. @returns {"dark" | "light"} */
export function theme() {
  return document.documentElement.dataset.theme === "light" ? "light" : "dark";
}

/** Apply the settings now and after each of their changes. @param {import("./types.js").Settings} settings */
export function applyAppearance(settings) {
  const apply = () => {
    const { dataset } = document.documentElement;
    const chosen = settings.get("theme");
    dataset.theme = chosen === "system" ? (light.matches ? "light" : "dark") : chosen;
    dataset.palette = settings.get("palette");
    dataset.density = settings.get("density");
    colors.clear();
    for (const listener of [...listeners]) listener();
  };
  for (const name of ["theme", "palette", "density"]) settings.on(name, apply);
  for (const query of [light, forced]) query.addEventListener("change", apply);
  apply();
}
