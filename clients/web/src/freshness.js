// @ts-check
/** The state of the newest price of an instrument, by the hub's clock. */

import { age } from "./format.js";

/**
 * @typedef {"none" | "closed" | "stale" | "live"} Name
 * @param {{at: number | null, marketOpen: boolean | null, staleAfter: number | null}} row
 *   `at` in ms: the `timestamp` of the newest message; `staleAfter` in s, null: never stale
 * @param {number} now  hub time in ms
 * @param {boolean} connected
 * @returns {{name: Name, text: string, age: string}}
 */
export function state(row, now, connected) {
  if (row.at === null || row.at === undefined) return { name: "none", text: "no price", age: "" };
  const milliseconds = now - row.at;
  const text = age(milliseconds);
  if (row.marketOpen === false) return { name: "closed", text: "■ closed", age: text };
  if (connected && row.staleAfter !== null && milliseconds > row.staleAfter * 1000) {
    return { name: "stale", text: `! ${text}`, age: text };
  }
  return { name: "live", text, age: text };
}
