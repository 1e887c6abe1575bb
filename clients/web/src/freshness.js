// @ts-check
/** The state of the newest price of an instrument, by the hub's clock. */

import { age } from "./format.js";

/**
 * @typedef {"none" | "closed" | "stale" | "live"} Name
 * @typedef {{mid: string | null, at: number | null, marketOpen: boolean | null, staleAfter: number | null}} Priced
 *   `at` in ms: the `timestamp` of the newest message; `staleAfter` in s, null: never stale
 */

/** @param {Priced} row @param {number} now  hub time in ms @param {boolean} connected @returns {Name} */
export function name(row, now, connected) {
  if (row.mid === null || row.at === null) return "none";
  if (row.marketOpen === false) return "closed";
  return connected && row.staleAfter !== null && now - row.at > row.staleAfter * 1000 ? "stale" : "live";
}

/**
 * The state with its text in the list; `age` is without a mark, "" without a price.
 * @param {Priced} row @param {number} now  hub time in ms @param {boolean} connected
 */
export function state(row, now, connected) {
  const found = name(row, now, connected);
  if (found === "none") return { name: found, text: "no price", age: "" };
  const since = age(now - /** @type {number} */ (row.at));
  if (found === "closed") return { name: found, text: "■ closed", age: since };
  return { name: found, text: found === "stale" ? `! ${since}` : since, age: since };
}
