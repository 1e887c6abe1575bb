// @ts-check
/** Texts of an alert's figures, and the filters of the list. Pure. */
import { correlation, MINUS, NONE } from "../format.js";

/** @typedef {import("./alerts.js").Alert} Alert */
/** @typedef {{type: string, severity: string, state: string, symbol: string, start: string}} Filter */

export const TYPES = ["volatility", "correlation", "system", "strategy", "execution"];
export const SEVERITIES = ["warning", "critical"];
export const STATES = ["firing", "acknowledged", "resolved"];
/** Choices of the time filter -> hours. @type {Record<string, number>} */
export const HOURS = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };
const PERCENT = new Set(["cpu", "memory", "disk"]); // subjects whose value is percent

/** ▲ and ▲▲, so that the severity does not depend on the colour. */
export function severityMark(/** @type {string} */ severity) {
  return severity === "critical" ? "▲▲" : "▲";
}

/** The value of an alert with its unit. */
export function valueText(/** @type {Alert} */ alert) {
  if (alert.value === null) return NONE;
  if (alert.type === "correlation") return alert.previous === null ? correlation(alert.value) : `${correlation(alert.value)}, was ${correlation(alert.previous)}`;
  return measured(alert, alert.value);
}

/** The threshold that the value, or the change of a correlation, exceeds. */
export function thresholdText(/** @type {Alert} */ alert) {
  if (alert.threshold === null) return NONE;
  return alert.type === "correlation" ? `change ${plain(alert.threshold)}` : measured(alert, alert.threshold);
}

function measured(/** @type {Alert} */ { type, subject }, /** @type {number} */ value) {
  if (type === "volatility" || subject === "reject_rate") return `${plain(value * 100)} %`;
  if (PERCENT.has(subject)) return `${plain(value)} %`;
  if (subject.startsWith("process:") || type === "strategy") return `${plain(value)} s`;
  return value.toLocaleString("en-US", { maximumFractionDigits: 2 });
}

function plain(/** @type {number} */ value) {
  return String(Number(value.toPrecision(4))).replace("-", MINUS);
}

/** The filter of an address. Unknown values are left out. @returns {Filter} */
export function filterOf(/** @type {URLSearchParams} */ query, /** @type {number} */ now) {
  const known = (/** @type {string} */ name, /** @type {string[]} */ values) => {
    const value = query.get(name) ?? "";
    return values.includes(value) ? value : "";
  };
  const hours = HOURS[query.get("since") ?? ""];
  return {
    type: known("type", TYPES),
    severity: known("severity", SEVERITIES),
    state: known("state", STATES),
    symbol: query.get("symbol") ?? "",
    start: hours ? new Date(now - hours * 3_600_000).toISOString() : "",
  };
}

/** The arguments of `GET /alerts` for a filter; null values are not sent. */
export function argumentsOf(/** @type {Filter} */ filter) {
  return Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, value || null]));
}

export function matches(/** @type {Alert} */ alert, /** @type {Filter} */ { type, severity, state, symbol, start }) {
  if ((type && alert.type !== type) || (severity && alert.severity !== severity) || (state && alert.state !== state)) return false;
  if (symbol && alert.symbol !== symbol && alert.symbol2 !== symbol) return false;
  return !start || Date.parse(alert.time) >= Date.parse(start);
}
