// @ts-check
/** Named figures as a list of terms, rewritten only if their text differs. */

import { CellText } from "./cell_text.js";
import { h } from "../h.js";

/**
 * @param {{name: string, title: string, hint?: string}[]} fields
 * @returns {{element: HTMLElement, show(values: Record<string, string|import("./cell_text.js").CellValue>): void}}
 */
export function figureList(fields) {
  /** @type {Map<string, CellText>} */
  const values = new Map();
  const pairs = fields.map(({ name, title, hint }) => {
    const element = h("dd", { "data-name": name });
    values.set(name, new CellText(element, "num"));
    return h("div", { class: "figures-pair", title: hint ?? null }, h("dt", { text: title }), element);
  });
  return {
    element: h("dl", { class: "figures" }, ...pairs),
    show(all) {
      for (const [name, given] of Object.entries(all)) values.get(name)?.write(given);
    },
  };
}
