// @ts-check
/** Named lists of instruments in the setting `lists`: {name: symbols}, each in its manual order. */

export const STARRED = "Starred"; // the list that the stars of the rows edit
const MAX_NAME = 40;

/** The list and the kind that the market shows; null: all. @type {{list: string | null, kind: string | null}} */
export const current = { list: null, kind: null };

/** @typedef {import("../types.js").Settings} Settings */

/** The names, the starred list first. @param {Settings} settings @returns {string[]} */
export function listNames(settings) {
  const others = Object.keys(settings.get("lists")).filter((name) => name !== STARRED);
  return [STARRED, ...others.sort((a, b) => a.localeCompare(b))];
}

/** The list of that name, in any case of letters; null if there is none. @param {Settings} settings @param {string | null} name */
export function listNamed(settings, name) {
  const wanted = name?.toLowerCase();
  return listNames(settings).find((each) => each.toLowerCase() === wanted) ?? null;
}

/** @param {Settings} settings @param {string | null} name @returns {string[]} */
export function symbolsOf(settings, name) {
  const found = listNamed(settings, name);
  const symbols = found === null ? [] : settings.get("lists")[found];
  return Array.isArray(symbols) ? symbols.filter((symbol) => typeof symbol === "string") : [];
}

/** @param {Settings} settings @param {string} name @param {string[]} symbols */
export function saveList(settings, name, symbols) {
  settings.set("lists", { ...settings.get("lists"), [name]: [...new Set(symbols)] });
}

/** @param {Settings} settings @param {string} name */
export function removeList(settings, name) {
  const { [name]: _, ...rest } = settings.get("lists");
  settings.set("lists", rest);
}

/**
 * The problem of a new name, null if there is none.
 * @param {Settings} settings @param {string} name @param {string | null} [current] the name that it replaces
 */
export function nameProblem(settings, name, current = null) {
  if (!name.trim()) return "Enter a name for the list.";
  if (name.length > MAX_NAME) return `A name has at most ${MAX_NAME} characters.`;
  if (name === "__proto__") return "Choose another name.";
  const taken = listNamed(settings, name);
  return taken !== null && taken !== current ? `There is a list ${taken} already.` : null;
}

/** Whether the instrument has a star now. @param {Settings} settings @param {string} symbol */
export function toggleStar(settings, symbol) {
  const starred = symbolsOf(settings, STARRED);
  const has = starred.includes(symbol);
  saveList(settings, STARRED, has ? starred.filter((each) => each !== symbol) : [...starred, symbol]);
  return !has;
}
