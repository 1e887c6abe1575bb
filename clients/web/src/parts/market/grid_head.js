// @ts-check
/** The head of the market list: a button for each column that sorts. */

import { nextSort } from "../../market/listing.js";
import { h } from "../h.js";

/** @typedef {import("../../market/listing.js").Column} Column @typedef {import("../../market/listing.js").Sort} Sort */

/** @type {[Column | null, string, string, string][]} column, label, class, full name */
const COLUMNS = [
  [null, "★", "grid-mark", "Star"],
  ["symbol", "Instrument", "grid-name", "Instrument"],
  ["bid", "Bid", "grid-price num", "Bid"],
  ["ask", "Ask", "grid-price num", "Ask"],
  ["spread", "Spr", "grid-spread num", "Spread: pips for FX, else units of the price"],
  ["change", "Change", "grid-change num", "Change since the close of the day before"],
  [null, "24 h", "grid-chart", "Hourly closes of the last 24 hours and the live price"],
  ["age", "Age", "grid-age num", "Age of the newest price"],
];

/** @param {(sort: Sort | null) => void} choose */
export function gridHead(choose) {
  /** @type {Sort | null} */
  let current = null;
  const cells = COLUMNS.map(([column, label, name, title]) => {
    const props = { class: name, role: "columnheader", title };
    if (column === null) return h("div", props, h("span", { "aria-hidden": "true" }, label), h("span", { class: "sr-only" }, title));
    const button = h("button", { class: "grid-sort", type: "button", onclick: () => choose(nextSort(current, column)) }, label);
    return h("div", { ...props, "data-column": column, "aria-sort": "none" }, button);
  });
  const row = h("div", { class: "grid-columns", role: "row", "aria-rowindex": "1" }, cells);
  return {
    element: h("div", { class: "grid-head", role: "rowgroup" }, row),
    /** @param {Sort | null} sort */
    show(sort) {
      current = sort;
      for (const cell of cells) {
        if (!cell.dataset.column) continue;
        const sorted = sort?.column === cell.dataset.column;
        cell.setAttribute("aria-sort", !sorted ? "none" : sort.descending ? "descending" : "ascending");
      }
    },
  };
}
