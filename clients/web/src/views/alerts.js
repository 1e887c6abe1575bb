// @ts-check
import { h } from "../parts/h.js";

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {import("../types.js").Route} route */
export function open(app, root, route) {
  root.append(h("div", { class: "note" }, h("h2", { text: route.symbol ?? route.view })));
  return { close() {} };
}
