// @ts-check
/** A table whose cells are rewritten only if their text differs. Rows keep their elements by key. */

import { CellText } from "./cell_text.js";
import { h } from "../h.js";

/**
 * @typedef {{name: string, title: string, num?: boolean, hint?: string}} Column
 * @typedef {{key: string, class?: string, cells: (string | import("./cell_text.js").CellValue)[]}} RowData
 */

/**
 * `tall`: more rows than fit scroll below fixed titles.
 * @param {{caption: string, columns: Column[], tall?: boolean}} options
 * @returns {{element: HTMLElement, show(rows: RowData[]): void}}
 */
export function liveTable({ caption, columns, tall = false }) {
  const body = h("tbody");
  const heads = columns.map(({ title, num, hint }) =>
    h("th", { scope: "col", class: num ? "num" : "", text: title, title: hint ?? null }));
  const table = h("table", { class: "table live-table" },
    h("caption", { class: "sr-only", text: caption }), h("thead", {}, h("tr", {}, ...heads)), body);
  const element = h("div", { class: tall ? "live-table-region live-table-tall" : "live-table-region", role: "region", tabindex: "0", "aria-label": caption }, table);
  /** @type {Map<string, LiveRow>} */
  const kept = new Map();
  return {
    element,
    show(rows) {
      const present = new Set(rows.map(({ key }) => key));
      for (const [key, row] of kept) {
        if (present.has(key)) continue;
        row.element.remove();
        kept.delete(key);
      }
      rows.forEach((data, place) => {
        const row = kept.get(data.key) ?? new LiveRow(columns);
        kept.set(data.key, row);
        row.show(data);
        if (body.children[place] !== row.element) body.insertBefore(row.element, body.children[place] ?? null);
      });
    },
  };
}

class LiveRow {
  /** @param {Column[]} columns */
  constructor(columns) {
    this.cells = columns.map((column, index) => {
      const element = h(index === 0 ? "th" : "td", { "data-name": column.name, scope: index === 0 ? "row" : null });
      return new CellText(element, column.num ? "num" : "");
    });
    this.element = h("tr", {}, ...this.cells.map(({ element }) => element));
    this.class = "";
  }

  /** @param {RowData} data */
  show(data) {
    if (this.class !== (data.class ?? "")) this.element.className = this.class = data.class ?? "";
    data.cells.forEach((cell, index) => this.cells[index].write(cell));
  }
}
