// @ts-check
/** Settings of this browser in localStorage. Unreadable values fall back to the default. */
import { Topics } from "./topics.js";

const PREFIX = "tickwire.";

/** name -> [default, check of a stored value] @type {Record<string, [any, (value: any) => boolean]>} */
const SETTINGS = {
  zone: ["UTC", (value) => typeof value === "string" && isZone(value)],
  theme: ["system", (value) => ["system", "dark", "light"].includes(value)],
  palette: ["blue-orange", (value) => ["blue-orange", "green-red"].includes(value)],
  density: ["normal", (value) => ["normal", "compact"].includes(value)],
  lists: [{}, isObject], // name -> symbols; the form belongs to the market view
  thresholds: [[], Array.isArray],
  name: ["", (value) => typeof value === "string"],
  sound: [false, (value) => typeof value === "boolean"],
  notify: [false, (value) => typeof value === "boolean"],
  shortcuts: [true, (value) => typeof value === "boolean"],
};

/** @param {any} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {string} name "browser" means the zone of this browser */
function isZone(name) {
  try {
    return name === "browser" || Boolean(new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}

/** @returns {import("./types.js").Settings} */
export function createSettings() {
  const topics = new Topics();
  const values = new Map(Object.keys(SETTINGS).map((name) => [name, stored(name)]));
  addEventListener("storage", ({ key }) => {
    const name = key?.slice(PREFIX.length) ?? "";
    if (!key?.startsWith(PREFIX) || !(name in SETTINGS)) return;
    values.set(name, stored(name));
    topics.emit(name, values.get(name));
  });
  return {
    get: (name) => values.get(name),
    set(name, value) {
      if (!SETTINGS[name]?.[1](value)) throw new TypeError(`There is no such setting: ${name}.`);
      values.set(name, value);
      try {
        localStorage.setItem(PREFIX + name, JSON.stringify(value));
      } catch {
        // Storage is full or blocked: the setting holds for this page.
      }
      topics.emit(name, value);
    },
    on: (name, listener) => topics.on(name, listener),
  };
}

/** @param {string} name */
function stored(name) {
  const [fallback, check] = SETTINGS[name];
  try {
    const value = JSON.parse(localStorage.getItem(PREFIX + name) ?? "");
    return check(value) ? value : structuredClone(fallback);
  } catch {
    return structuredClone(fallback);
  }
}
