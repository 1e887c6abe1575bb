// @ts-check
/** The table of instruments × estimators, with a bar for each value and the threshold of alerts. */
import { ESTIMATORS, percent, severityOf, sorted } from "../../analytics/analytics.js";
import { dateTime, tooltip } from "../../zones.js";
import { h } from "../h.js";
import { roving } from "../shared/roving.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../analytics/analytics.js").VolatilityLine} Line */
/** @typedef {{lines: Line[], thresholds: Record<string, {warning: number, critical: number}>}} Volatilities */
/** @typedef {{column: string, descending: boolean, scale: string}} Choice */

const MARKS = /** @type {Record<string, string>} */ ({ "": "", warning: "▲ ", critical: "▲▲ " });
const ALERT = "alert"; // its values are per day, those of the others per year or hour

/**
 * @param {App} app
 * @param {(column: string, descending: boolean) => void} sort called when the user chooses a column
 */
export function volatilityTable(app, sort) {
  const [head, body] = [h("tr"), h("tbody")];
  const caption = h("caption", { class: "sr-only" });
  const table = h("table", { class: "table vol-table" }, caption, h("thead", {}, head), body);
  const keys = roving(table);
  const columns = { symbol: "Instrument", ...ESTIMATORS, time: "As of" };

  function heads(/** @type {Choice} */ { column, descending }) {
    return Object.entries(columns).map(([name, title]) => {
      const chosen = name === column;
      const next = chosen ? !descending : name !== "symbol";
      const button = h("button", { class: "vol-sort", type: "button", "data-column": name, text: title, onclick: () => sort(name, next) });
      const order = chosen ? (descending ? "descending" : "ascending") : null;
      return h("th", { scope: "col", class: name === "symbol" ? "" : "num", "aria-sort": order }, button);
    });
  }

  return {
    element: h("div", { class: "vol-scroll", role: "region", tabindex: "0", "aria-label": "Volatility table" }, table),
    show(/** @type {Volatilities} */ found, /** @type {Choice} */ choice) {
      const focused = keys.focused();
      const column = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.column : undefined;
      const scale = scales(found, choice.scale);
      caption.textContent = `Volatility of ${found.lines.length} instruments, ${choice.scale === "hour" ? "per hour" : "per year"}; that of alerts per day`;
      head.replaceChildren(...heads(choice));
      const lines = sorted(found.lines, choice.column, choice.descending);
      body.replaceChildren(...lines.map((line) => row(app, line, found.thresholds[line.symbol], scale, choice.scale)));
      keys.refresh(focused);
      if (column) /** @type {HTMLElement | null} */ (head.querySelector(`[data-column="${column}"]`))?.focus();
    },
  };
}

/** The largest values: of the column of alerts, and of all others. @param {Volatilities} found @param {string} scale */
function scales({ lines, thresholds }, scale) {
  const largest = { alert: 0, others: 0 };
  for (const { symbol, estimators } of lines) {
    largest.alert = Math.max(largest.alert, thresholds[symbol]?.warning ?? 0);
    for (const [name, estimate] of Object.entries(estimators)) {
      const part = name === ALERT ? "alert" : "others";
      largest[part] = Math.max(largest[part], valueOf(name, estimate, scale));
    }
  }
  return largest;
}

/** @param {string} name @param {{volatility: number, annualised: number}} estimate @param {string} scale */
function valueOf(name, { volatility, annualised }, scale) {
  return name === ALERT || scale === "hour" ? volatility : annualised;
}

/** @param {App} app @param {Line} line @param {any} thresholds @param {{alert: number, others: number}} largest @param {string} scale */
function row(app, { symbol, time, estimators }, thresholds, largest, scale) {
  const zone = app.settings.get("zone");
  const at = app.clock.parse(time);
  const name = h("a", { href: app.router.href("instrument", symbol), text: symbol });
  const cells = Object.keys(ESTIMATORS).map((estimator) => {
    const key = `${symbol}|${estimator}`;
    const estimate = estimators[estimator];
    if (!estimate) return h("td", { class: "num vol-cell dim", "data-key": key, text: "–", title: "Not available: too few observations" });
    return valueCell(key, estimator, estimate, thresholds, estimator === ALERT ? largest.alert : largest.others, scale);
  });
  return h("tr", {}, h("th", { scope: "row", "data-key": `${symbol}|` }, name), cells,
    h("td", { class: "num dim", "data-key": `${symbol}|time`, text: dateTime(at, zone).slice(0, 16), title: tooltip(at, zone) }));
}

/** @param {string} key @param {string} estimator @param {any} estimate @param {any} thresholds @param {number} largest @param {string} scale */
function valueCell(key, estimator, estimate, thresholds, largest, scale) {
  const value = valueOf(estimator, estimate, scale);
  const severity = estimator === ALERT ? severityOf(value, thresholds) : "";
  const notes = [`${estimate.observations} observations`];
  if (estimator === ALERT && thresholds) notes.push(`warning above ${percent(thresholds.warning)}, critical above ${percent(thresholds.critical)} a day`);
  const bar = h("span", { class: "vol-bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", `${largest ? ((100 * value) / largest).toFixed(1) : 0}%`);
  const text = `${MARKS[severity]}${percent(value, scale === "hour" && estimator !== ALERT ? 3 : 2)}`;
  const cell = h("td", { class: "num vol-cell", "data-key": key, "data-severity": severity, title: notes.join("; ") }, h("span", { text }), bar);
  if (estimator === ALERT && thresholds && largest) {
    const mark = h("span", { class: "vol-mark", "aria-hidden": "true" });
    mark.style.setProperty("--at", `${((100 * thresholds.warning) / largest).toFixed(1)}%`);
    bar.append(mark);
  }
  return cell;
}
