// @ts-check
/** The newest bars of a chart as a table, and the legend with the figures of one bar. */

import { change, NONE, number } from "../../format.js";
import { barTime, barTooltip } from "./chart_style.js";
import { h, write } from "../h.js";

const ROWS = 50;
const COLUMNS = ["Time", "Open", "High", "Low", "Close", "Volume", "Change"];

/** @typedef {import("../../instrument/candles.js").Bar} Bar */
/** @typedef {import("../../instrument/candles.js").Bars} Bars */

/** The texts of a bar in the order of the columns. @param {Bar} bar @param {Bar|undefined} before @param {string} interval @param {string} zone */
function texts(bar, before, interval, zone) {
  const { open, high, low, close, volume } = bar.candle;
  const moved = change(close, before?.candle.close ?? null);
  return { cells: [barTime(bar, interval, zone), ...[open, high, low, close, volume].map(number), moved.text], sign: moved.sign };
}

/**
 * The last bars, newest first.
 * @param {import("../../types.js").App} app @param {string} symbol @param {() => Bars} bars
 */
export function barsTable(app, symbol, bars) {
  const body = h("tbody");
  const caption = h("caption");
  const table = h("table", { class: "table bars-table" }, caption,
    h("thead", {}, h("tr", {}, COLUMNS.map((name, index) => h("th", { scope: "col", class: index ? "num" : "", text: name })))), body);
  const element = h("div", { class: "bars-scroll", tabindex: "0", role: "region", "aria-label": "Data table", hidden: true }, table);
  let changed = true;

  function show() {
    if (element.hidden || !changed || app.paint.paused) return;
    changed = false;
    const { list, interval } = bars();
    const zone = app.settings.get("zone");
    const shown = list.slice(-ROWS);
    write(caption, `${symbol}, ${interval}: the last ${shown.length} bars`);
    while (body.rows.length > shown.length) body.lastElementChild?.remove();
    while (body.rows.length < shown.length) body.append(emptyRow());
    shown.reverse().forEach((bar, index) => fill(body.rows[index], bar, shown[index + 1] ?? list[list.length - shown.length - 1], interval, zone));
  }

  const off = app.paint.register(show);
  return {
    element,
    get shown() {
      return !element.hidden;
    },
    /** @param {boolean} flag */
    toggle(flag) {
      element.hidden = !flag;
      this.changed();
    },
    changed() {
      changed = true;
      if (!element.hidden) app.paint.request();
    },
    close: off,
  };
}

function emptyRow() {
  return h("tr", {}, COLUMNS.map((_, index) => h(index ? "td" : "th", index ? { class: "num" } : { scope: "row" })));
}

/** @param {HTMLTableRowElement} row @param {Bar} bar @param {Bar|undefined} before @param {string} interval @param {string} zone */
function fill(row, bar, before, interval, zone) {
  const { cells } = texts(bar, before, interval, zone);
  cells.forEach((text, index) => write(row.cells[index], text));
  const title = barTooltip(bar, zone);
  if (row.title !== title) row.title = title;
  row.dataset.complete = String(bar.candle.complete);
}

/** The legend of one bar: that under the crosshair, else the newest. */
export function barLegend() {
  const time = h("span", { class: "legend-time" });
  const cells = ["O", "H", "L", "C", "V", ""].map((label) => ({ label, value: h("span", { class: "num" }) }));
  const element = h("p", { class: "legend", "aria-label": "Figures of the bar" }, time,
    cells.map(({ label, value }) => h("span", { class: "legend-item" }, label ? h("span", { class: "dim", text: `${label} ` }) : "", value)));
  return {
    element,
    /** @param {Bar|null} bar @param {Bar|undefined} before @param {string} interval @param {string} zone */
    show(bar, before, interval, zone) {
      element.hidden = bar === null;
      if (bar === null) return;
      const { cells: [when, ...shown], sign } = texts(bar, before, interval, zone);
      write(time, when);
      shown.forEach((text, index) => write(cells[index].value, index === shown.length - 1 && text === NONE ? "" : text));
      element.dataset.sign = String(sign);
      element.title = `${barTooltip(bar, zone)}${bar.candle.complete ? "" : " · still forming"}`;
    },
  };
}
