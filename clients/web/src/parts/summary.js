// @ts-check
/** The legend of a chart with the current, smallest, mean and largest value of each line. */

import { NONE, number } from "../format.js";
import { h } from "./h.js";

/** @typedef {{current: number, min: number, mean: number, max: number}|null} Figures */

const NAMES = /** @type {const} */ (["current", "min", "mean", "max"]);

/**
 * @param {{label: string, color: string}[]} lines
 * @param {string} unit
 * @param {number} seconds the window of the figures
 * @returns {{element: HTMLElement, show(all: Figures[], last: (string|null)[], places: number): void}}
 */
export function summary(lines, unit, seconds) {
  const rows = lines.map((line, index) => row(line, index, lines.length > 1));
  const head = h("tr", {}, h("th", { scope: "col", text: windowText(seconds) }),
    ...NAMES.map((name) => h("th", { scope: "col", class: "num", text: name })));
  const element = h("table", { class: "series-summary" }, h("thead", {}, head),
    h("tbody", {}, ...rows.map((each) => each.element)));
  return {
    element,
    show(all, last, places) {
      all.forEach((each, index) => fill(rows[index].cells, each, last[index], places, unit));
    },
  };
}

/** @param {{label: string, color: string}} line @param {number} index @param {boolean} several */
function row(line, index, several) {
  const cells = NAMES.map(() => h("td", { class: "num", text: NONE }));
  const swatch = h("span", { class: `series-swatch series-swatch-${index}`, "aria-hidden": "true" });
  swatch.style.setProperty("--series-ink", `var(--${line.color})`);
  const name = h("th", { scope: "row" }, several ? swatch : "", line.label);
  return { element: h("tr", {}, name, ...cells), cells };
}

/**
 * @param {HTMLElement[]} cells
 * @param {Figures} figures
 * @param {string|null} last
 * @param {number} places
 * @param {string} unit
 */
function fill(cells, figures, last, places, unit) {
  NAMES.forEach((name, index) => {
    const shown = figures === null ? NONE : withUnit(exact(name, figures, last, places), unit);
    if (cells[index].textContent !== shown) cells[index].textContent = shown;
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
  return name === "current" && last !== null ? last : figures[name].toFixed(places);
}

/** @param {string} text @param {string} unit */
function withUnit(text, unit) {
  return unit === "" ? number(text) : `${number(text)} ${unit}`;
}

/** @param {number} seconds */
function windowText(seconds) {
  return seconds >= 3600 ? `Last ${seconds / 3600} h` : `Last ${seconds / 60} min`;
}
