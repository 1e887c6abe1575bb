// @ts-check
/** The legend of a chart with the current, smallest, mean and largest value of each line. */

import { NONE, number } from "../../format.js";
import { CellText, split } from "./cell_text.js";
import { h } from "../h.js";

/** @typedef {{current: number, min: number, mean: number, max: number}|null} Figures */

const PLACES = 4; // decimals of the figures that are computed here
const NAMES = /** @type {const} */ (["current", "min", "mean", "max"]);

/**
 * @param {{label: string, color: string}[]} lines
 * @param {number} seconds the window of the figures
 * @returns {{element: HTMLElement, show(all: Figures[], last: (string|null)[], places: number): void}}
 */
export function summary(lines, seconds) {
  const rows = lines.map((line, index) => row(line, index, lines.length > 1));
  const head = h("tr", {}, h("th", { scope: "col", text: windowText(seconds) }),
    ...NAMES.map((name) => h("th", { scope: "col", class: "num", text: name })));
  const element = h("table", { class: "series-summary" }, h("thead", {}, head),
    h("tbody", {}, ...rows.map((each) => each.element)));
  return {
    element,
    show(all, last, places) {
      all.forEach((each, index) => fill(rows[index].cells, each, last[index], places));
    },
  };
}

/** @param {{label: string, color: string}} line @param {number} index @param {boolean} several */
function row(line, index, several) {
  const cells = NAMES.map(() => new CellText(h("td"), "num"));
  const swatch = h("span", { class: `series-swatch series-swatch-${index}`, "aria-hidden": "true" });
  swatch.style.setProperty("--series-ink", `var(--${line.color})`);
  const name = h("th", { scope: "row" }, several ? swatch : "", line.label);
  return { element: h("tr", {}, name, ...cells.map((cell) => cell.element)), cells };
}

/**
 * @param {CellText[]} cells
 * @param {Figures} figures
 * @param {string|null} last
 * @param {number} places
 */
function fill(cells, figures, last, places) {
  NAMES.forEach((name, index) => {
    cells[index].write(figures === null ? NONE : split(number(exact(name, figures, last, places)), digits(figures[name])));
  });
}

/**
 * The current value has the digits of its source.
 * @param {typeof NAMES[number]} name
 * @param {NonNullable<Figures>} figures
 * @param {string|null} last
 * @param {number} places
 */
function exact(name, figures, last, places) {
  return name === "current" && last !== null ? last : rounded(figures[name], places);
}

/** About five digits, and at most the decimals of the source. @param {number} value @param {number} places */
function rounded(value, places) {
  return value.toFixed(Math.min(places, digits(value)));
}

/** The number of decimals that leaves about five digits. @param {number} value */
function digits(value) {
  return Math.max(0, PLACES - Math.floor(Math.log10(Math.max(1, Math.abs(value)))));
}

/** @param {number} seconds */
function windowText(seconds) {
  return seconds >= 3600 ? `Last ${seconds / 3600} h` : `Last ${seconds / 60} min`;
}
