// @ts-check
/** The note in place of the market list: why there is no row. */

import { STARRED } from "../../market/lists.js";
import { scopeText } from "../shared/panel.js";

/**
 * The state before the first list. Without an error, or signed out, it is awaited.
 * @param {any} error the newest refusal of /symbols, or null
 * @returns {"loading" | "error" | "forbidden" | "limited"}
 */
export function stateWithout(error) {
  if (error === null || error.status === 401) return "loading";
  return error.status === 403 ? "forbidden" : error.status === 429 ? "limited" : "error";
}

/** The text before the first list, "" while it is awaited. @param {any} error */
export function textWithout(error) {
  if (stateWithout(error) === "loading") return "";
  return error.status === 403 ? scopeText(error) : `The instruments are not loaded. ${error.message} The page tries again.`;
}

/** The text of a list without a row. @param {{total: number, health: any, find: string, list: string | null}} shown */
export function emptyText({ total, health, find, list }) {
  const sources = health?.sources;
  if (total === 0 && sources && Object.keys(sources).length === 0) return "No source is configured. Set SOURCES=… and restart.";
  if (total === 0) return "There is no instrument: none is enabled, or your key may read none.";
  if (find) return `No instrument matches “${find}”. Esc clears the find field.`;
  if (list === STARRED) return "No instrument has a star. Press s on a row, or its star.";
  return list === null ? "There is no instrument of this kind." : `The list ${list} has no such instrument. Edit it with ✎.`;
}
