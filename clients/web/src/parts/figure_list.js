// @ts-check
/** Named figures as a list of terms, rewritten only if their text differs. */

import { h } from "./h.js";

/**
 * @typedef {{text: string, title?: string, class?: string}} Figure
 * @param {{name: string, title: string, hint?: string}[]} fields
 * @returns {{element: HTMLElement, show(values: Record<string, string|Figure>): void}}
 */
export function figureList(fields) {
  /** @type {Map<string, {element: HTMLElement, shown: Partial<Figure>}>} */
  const values = new Map();
  const pairs = fields.map(({ name, title, hint }) => {
    const element = h("dd", { class: "num", "data-name": name });
    values.set(name, { element, shown: {} });
    return h("div", { class: "figures-pair", title: hint ?? null }, h("dt", { text: title }), element);
  });
  return {
    element: h("dl", { class: "figures" }, ...pairs),
    show(all) {
      for (const [name, given] of Object.entries(all)) {
        const cell = values.get(name);
        if (cell) write(cell, typeof given === "string" ? { text: given } : given);
      }
    },
  };
}

/** @param {{element: HTMLElement, shown: Partial<Figure>}} cell @param {Figure} value */
function write(cell, value) {
  const { element, shown } = cell;
  if (shown.text !== value.text) element.textContent = value.text;
  if (shown.title !== value.title) element.title = value.title ?? "";
  if (shown.class !== value.class) element.className = `num ${value.class ?? ""}`.trim();
  cell.shown = value;
}
