// @ts-check
import { h } from "../parts/h.js";

/** @param {import("../types.js").App} app @param {HTMLElement} root */
export function list(app, root) {
  const rows = h("ul");
  root.append(rows);
  const off = app.paint.register(() => {
    rows.replaceChildren(...app.store.symbols.map((name) => h("li", { text: `${name} ${app.store.rows.get(name)?.mid ?? "no price"}` })));
  });
  return { close: off };
}

/** @param {import("../types.js").App} app @param {HTMLElement} root */
export function open(app, root) {
  root.append(h("h2", { text: "Market" }));
  return { close() {} };
}
