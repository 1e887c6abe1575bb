// @ts-check
/** Whether an instrument of an address can be shown, and the note in place of its view if not. */
import { h } from "../h.js";
import { scopeText } from "../shared/panel.js";

/**
 * null if the instrument exists and may be read, or if REST does not answer that now.
 * @param {import("../../types.js").App} app
 * @param {string} symbol
 * @returns {Promise<HTMLElement | null>}
 */
export async function refusalOf({ store, rest }, symbol) {
  if (store.rows.has(symbol)) return null;
  try {
    await rest.get("market", { symbols: symbol }); // without a price it is 200
  } catch (/** @type {any} */ error) {
    if (error.status === 403) return note("forbidden", symbol, scopeText(error));
    if (error.code === "unknown_instrument") return note("empty", "There is no such instrument", error.message);
  }
  return null;
}

/** @param {string} state @param {string} title @param {string} text */
function note(state, title, text) {
  const back = h("a", { href: "#/", text: "Open the market" });
  return h("div", { class: "note", "data-state": state }, h("h2", { text: title }), h("p", { text }), h("p", {}, back));
}
