// @ts-check
/** The correlation table. Its colours follow the theme, because the style sheet mixes them. */
import { FADED, FEW_OBSERVATIONS, places } from "../analytics/analytics.js";
import { correlation } from "../format.js";
import { h } from "./h.js";
import { pairLine } from "./analytics/pair_line.js";
import { roving } from "./shared/roving.js";

/** @typedef {import("../types.js").App} App */
/** @typedef {{symbols: string[], matrix: (number | null)[][], observations: (number | null)[][], method: string}} Correlation */

/** @param {App} app */
export function heat(app) {
  const caption = h("caption", { class: "sr-only" });
  const [head, body] = [h("thead"), h("tbody")];
  const table = h("table", { class: "heat-table" }, caption, head, body);
  const scroll = h("div", { class: "heat-scroll", role: "region", tabindex: "0", "aria-label": "Correlation table" }, table);
  const detail = pairLine(app);
  const keys = roving(table);
  /** @type {Correlation | null} */
  let shown = null;

  function chosen(/** @type {Event} */ { target }) {
    const cell = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("td[data-i]")) : null;
    if (!cell || !shown) return;
    const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
    const { symbols, matrix, observations, method } = shown;
    detail.show({ first: symbols[i], second: symbols[j], value: matrix[i][j], observations: observations[i][j] }, method);
  }
  table.addEventListener("focusin", chosen);
  table.addEventListener("pointerover", chosen);

  return {
    element: h("div", { class: "heat" }, detail.element, scroll),
    show(/** @type {Correlation} */ correlation, /** @type {string} */ by) {
      const focused = keys.focused();
      shown = correlation;
      detail.forget();
      const order = places(correlation.matrix, by);
      const { symbols, method } = correlation;
      caption.textContent = `Correlation of ${symbols.length} instruments, ${method}`;
      head.replaceChildren(h("tr", {}, h("td"), order.map((place) => h("th", { scope: "col" }, h("span", { text: symbols[place] })))));
      body.replaceChildren(...order.map((i) => h("tr", {}, h("th", { scope: "row", text: symbols[i] }), order.map((j) => cell(correlation, i, j)))));
      keys.refresh(focused);
    },
    close: detail.close,
  };
}

/** @param {Correlation} correlation @param {number} i @param {number} j */
function cell({ symbols, matrix, observations }, i, j) {
  const key = `${symbols[i]}|${symbols[j]}`;
  if (i === j) return h("td", { class: "heat-diagonal", "data-key": key });
  const value = matrix[i][j];
  const element = h("td", { class: "heat-cell", "data-key": key, "data-i": i, "data-j": j, "aria-describedby": "heat-detail", text: correlation(value) });
  if (value === null || Math.abs(value) < FADED) element.classList.add("heat-faded");
  if (value) element.dataset.sign = value > 0 ? "positive" : "negative";
  if ((observations[i][j] ?? FEW_OBSERVATIONS) < FEW_OBSERVATIONS) element.dataset.few = "";
  element.style.setProperty("--share", `${Math.round(Math.abs(value ?? 0) * 100)}%`);
  return element;
}
