// @ts-check
/** A table whose cells are rewritten only if their text differs. Rows keep their elements by key. */

import { h } from "./h.js";

/**
 * @typedef {{name: string, title: string, num?: boolean, hint?: string}} Column
 * @typedef {string | {text: string, title?: string, class?: string, href?: string}} Cell
 * @typedef {{key: string, class?: string, cells: Cell[]}} RowData
 */

/**
 * @param {{caption: string, columns: Column[]}} options
 * @returns {{element: HTMLElement, show(rows: RowData[]): void}}
 */
export function liveTable({ caption, columns }) {
  const body = h("tbody");
  const heads = columns.map(({ title, num, hint }) =>
    h("th", { scope: "col", class: num ? "num" : "", text: title, title: hint ?? null }));
  const table = h("table", { class: "table live-table" },
    h("caption", { class: "live-table-caption", text: caption }), h("thead", {}, h("tr", {}, ...heads)), body);
  const element = h("div", { class: "live-table-region", role: "region", tabindex: "0", "aria-label": caption }, table);
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
    this.columns = columns;
    this.cells = columns.map((column, index) => {
      const element = h(index === 0 ? "th" : "td", { class: column.num ? "num" : "", "data-name": column.name });
      if (index === 0) element.setAttribute("scope", "row");
      return { element, target: element, shown: /** @type {any} */ ({}) };
    });
    this.element = h("tr", {}, ...this.cells.map(({ element }) => element));
    this.class = "";
  }

  /** @param {RowData} data */
  show(data) {
    if (this.class !== (data.class ?? "")) this.element.className = this.class = data.class ?? "";
    data.cells.forEach((cell, index) => {
      const value = typeof cell === "string" ? { text: cell } : cell;
      this._cell(this.cells[index], value, this.columns[index]);
    });
  }

  /**
   * @param {{element: HTMLElement, target: HTMLElement, shown: any}} cell
   * @param {{text: string, title?: string, class?: string, href?: string}} value
   * @param {Column} column
   */
  _cell(cell, value, column) {
    const { shown } = cell;
    if (shown.href !== value.href) link(cell, value.href);
    if (shown.text !== value.text) cell.target.textContent = value.text;
    if (shown.title !== value.title) cell.element.title = value.title ?? "";
    if (shown.class !== value.class) cell.element.className = [column.num ? "num" : "", value.class ?? ""].join(" ").trim();
    cell.shown = value;
  }
}

/**
 * Put the text of the cell into a link, or out of it.
 * @param {{element: HTMLElement, target: HTMLElement, shown: any}} cell
 * @param {string|undefined} href
 */
function link(cell, href) {
  cell.target = href === undefined ? cell.element : h("a", { href });
  cell.shown = {};
  cell.element.replaceChildren(...(href === undefined ? [] : [cell.target]));
}
