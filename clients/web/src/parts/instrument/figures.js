// @ts-check
/** Panels of one instrument: its volatility by estimator, and its latest alerts. */

import { number } from "../../format.js";
import { dateTime, tooltip } from "../../zones.js";
import { h } from "../h.js";
import { panel } from "../shared/panel.js";

const ALERTS = 8;
const EVERY_MS = 60_000;
const SEVERITIES = /** @type {Record<string, string>} */ ({ warning: "▲ warning", critical: "▲▲ critical" });
const NAMES = /** @type {Record<string, string>} */ ({
  close_to_close: "Close to close", parkinson: "Parkinson", garman_klass: "Garman–Klass",
  rogers_satchell: "Rogers–Satchell", yang_zhang: "Yang–Zhang", ewma: "EWMA", alert: "Sum of squares (alerts)",
});
const DAY_FACTOR = Math.sqrt(24); // the figures are per hour, `alert` is per day

/** @typedef {import("../../types.js").App} App */

/**
 * Volatility a day by estimator as bars, with the threshold of alerts.
 * @param {App} app @param {string} symbol
 */
export function volatilityPanel(app, symbol) {
  const part = panel(app, {
    title: "Volatility a day",
    every: EVERY_MS,
    load: (signal) => app.rest.get("volatility/latest", { symbols: symbol }, { signal }),
    empty: ({ volatility }) => (volatility[symbol] ? null : "No volatility yet: it is computed each hour, from complete hours."),
    show: ({ volatility, thresholds }, content) =>
      content.replaceChildren(...(volatility[symbol] ? volatilityContent(app, volatility[symbol], thresholds[symbol].warning) : [])),
  });
  const off = app.hub.on("data_ready", (/** @type {any} */ body) => body.data_type === "volatility" && part.reload());
  return { element: part.element, close: () => (off(), part.close()) };
}

/** @param {App} app @param {any} figures @param {number} threshold */
function volatilityContent(app, figures, threshold) {
  const rows = Object.entries(figures.estimators).map(([name, each]) => ({
    name: NAMES[name] ?? name, daily: each.volatility * (name === "alert" ? 1 : DAY_FACTOR), observations: each.observations, isAlert: name === "alert",
  }));
  const largest = Math.max(threshold, ...rows.map(({ daily }) => daily)) || 1;
  const zone = app.settings.get("zone");
  const at = app.clock.parse(figures.time);
  const list = h("table", { class: "volatility-table" },
    h("caption", { class: "sr-only", text: "Volatility a day by estimator" }),
    h("tbody", {}, rows.map((row) => volatilityRow(row, largest, threshold))));
  const note = `┃ alerts above ${percent(threshold)} a day`;
  return [list, h("p", { class: "note dim" }, note, " · ", h("span", { text: `as of ${dateTime(at, zone).slice(0, 16)}`, title: tooltip(at, zone) }))];
}

/** @param {{name: string, daily: number, observations: number, isAlert: boolean}} row @param {number} largest @param {number} threshold */
function volatilityRow({ name, daily, observations, isAlert }, largest, threshold) {
  const bar = h("span", { class: "volatility-bar", "aria-hidden": "true" });
  bar.style.setProperty("--width", `${(100 * daily) / largest}%`);
  bar.style.setProperty("--limit", `${(100 * threshold) / largest}%`);
  const isAbove = isAlert && daily > threshold;
  bar.dataset.above = String(isAbove);
  return h("tr", { title: `${observations} observations` },
    h("th", { scope: "row", text: name }), h("td", { class: "volatility-cell" }, bar),
    h("td", { class: "num", text: `${isAbove ? "! " : ""}${percent(daily)}` }));
}

/** @param {number} fraction */
function percent(fraction) {
  return `${(fraction * 100).toFixed(2)}%`;
}

/** @param {App} app @param {string} symbol */
export function alertsPanel(app, symbol) {
  const more = h("a", { href: app.router.href("alerts", null, { symbol }), text: "All alerts" });
  const part = panel(app, {
    title: "Latest alerts",
    every: EVERY_MS,
    actions: [more],
    load: (signal) => app.rest.get("alerts", { symbol, order: "desc", limit: ALERTS }, { signal }),
    empty: ({ alerts }) => (alerts.length ? null : `No alerts of ${symbol}.`),
    show: ({ alerts }, content) => content.replaceChildren(alertsTable(app, symbol, alerts)),
  });
  const concerns = (/** @type {any} */ body) => [body.instrument, body.instrument1, body.instrument2].includes(symbol);
  const offs = [
    app.hub.on("alert", (/** @type {any} */ { body }) => concerns(body) && part.reload()),
    app.hub.events((/** @type {any} */ event) => String(event?.type ?? "").startsWith("alert") && part.reload()),
  ];
  return { element: part.element, close: () => (offs.forEach((off) => off()), part.close()) };
}

/** @param {App} app @param {string} symbol @param {any[]} alerts */
function alertsTable(app, symbol, alerts) {
  const zone = app.settings.get("zone");
  const rows = alerts.map((alert) => {
    const at = app.clock.parse(alert.time);
    const other = [alert.symbol, alert.symbol2].filter((each) => each && each !== symbol).join(" ");
    return h("tr", { title: alert.message, "data-state": alert.state },
      h("td", { class: `severity-${alert.severity}`, text: SEVERITIES[alert.severity] ?? alert.severity }),
      h("td", { text: dateTime(at, zone).slice(5, 16), title: tooltip(at, zone) }),
      h("td", { text: other ? `${alert.type} ${other}` : alert.type }),
      h("td", { class: "num", text: valueText(alert) }),
      h("td", { text: alert.state }));
  });
  return h("table", { class: "table alerts-table" }, h("caption", { class: "sr-only", text: `Latest alerts of ${symbol}` }),
    h("thead", {}, h("tr", {}, ["Severity", "Time", "Type", "Value", "State"].map((text) => h("th", { scope: "col", class: text === "Value" ? "num" : "", text })))),
    h("tbody", {}, rows));
}

/** @param {any} alert */
function valueText({ type, value }) {
  if (value === null || value === undefined) return "–";
  return type === "volatility" ? percent(value) : number(type === "correlation" ? value.toFixed(2) : String(value));
}
