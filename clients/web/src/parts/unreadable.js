// @ts-check
/** An address with an instrument that the caller may not read, or that does not exist. */

import { h } from "./h.js";

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {string} symbol */
export function forbidden(app, root, symbol) {
  root.append(h("section", { class: "panel", "data-state": "forbidden", "aria-label": symbol },
    h("div", { class: "panel-head" }, h("h1", { class: "quote-symbol", text: symbol })),
    h("div", { class: "panel-body" },
      h("p", { class: "note", text: `${symbol} does not exist, or your key does not read it.` }),
      h("a", { href: app.router.href("market"), text: "Back to the market" }))));
  return { update() {}, close() {} };
}
