// @ts-check
/** What needs attention now, and the movers of the day. */

import { age, counted } from "../format.js";
import { name } from "../freshness.js";

const SHOWN = 6; // items of one kind

/**
 * @typedef {import("../types.js").Row} Row
 * @typedef {{tone: "crit" | "warn", mark: string, text: string, view: string, symbol: string | null}} Item
 * @typedef {{live: number, stale: number, closed: number, none: number}} Counts
 * @typedef {{rows: Map<string, Row>, health: any, gaps: {symbol: string, count: number, at: number}[]}} State
 */

/** The number of instruments in each state. @param {Iterable<Row>} rows @param {number} now @param {boolean} connected @returns {Counts} */
export function counts(rows, now, connected) {
  const found = { live: 0, stale: 0, closed: 0, none: 0 };
  for (const row of rows) found[name(row, now, connected)] += 1;
  return found;
}

/**
 * The most urgent items first.
 * @param {State} state @param {Iterable<any>} alerts open alerts @param {number} now @param {boolean} connected
 * @returns {Item[]}
 */
export function items(state, alerts, now, connected) {
  return [...sources(state.health), ...parts(state.health), ...firing(alerts, now), ...limited(stale(state.rows, now, connected), "stale prices"), ...missed(state.gaps, now)];
}

/**
 * How urgent the state of a source is. A recording that has ended is as it should be.
 * @param {string} state @returns {"ok" | "none" | "warn" | "crit"}
 */
export function sourceTone(state) {
  if (state === "live") return "ok";
  if (state === "ended") return "none";
  return state === "down" ? "crit" : "warn";
}

/** @param {any} health @returns {Item[]} */
function sources(health) {
  if (!health) return [];
  if (Object.keys(health.sources ?? {}).length === 0) {
    return [{ tone: "crit", mark: "■", text: "No source is configured. Set SOURCES=… and restart.", view: "system", symbol: null }];
  }
  return Object.entries(health.sources ?? {}).flatMap(([source, { state, detail }]) => {
    const tone = sourceTone(state);
    const text = `Source ${source} is ${state.replace("_", " ")}${detail ? `: ${detail}` : ""}`;
    return tone === "warn" || tone === "crit" ? [{ tone, mark: tone === "crit" ? "■" : "!", text, view: "system", symbol: null }] : [];
  });
}

/** Parts of the system that fail; a source has its own line. @param {any} health @returns {Item[]} */
function parts(health) {
  return (health?.failing ?? []).filter((/** @type {string} */ part) => !part.startsWith("source:"))
    .map((/** @type {string} */ part) => ({ tone: "crit", mark: "■", text: `${part} is failing`, view: "system", symbol: null }));
}

/** Critical alerts first, then the newest. @param {Iterable<any>} alerts @param {number} now @returns {Item[]} */
function firing(alerts, now) {
  const open = [...alerts].filter(({ state }) => state === "firing");
  open.sort((a, b) => Number(b.severity === "critical") - Number(a.severity === "critical") || (a.time < b.time ? 1 : -1));
  return limited(open.map((alert) => alertItem(alert, now)), "alerts");
}

/** @param {any} alert @param {number} now @returns {Item} */
function alertItem({ severity, message, time }, now) {
  const text = `${severity === "critical" ? "Critical" : "Warning"}: ${message.replace(/\.$/, "")} · ${age(now - Date.parse(time))} ago`;
  if (severity === "critical") return { tone: "crit", mark: "▲▲", text, view: "alerts", symbol: null };
  return { tone: "warn", mark: "▲", text, view: "alerts", symbol: null };
}

/** The oldest price first. @param {Map<string, Row>} rows @param {number} now @param {boolean} connected @returns {Item[]} */
function stale(rows, now, connected) {
  const found = [...rows.values()].filter((row) => name(row, now, connected) === "stale").sort((a, b) => a.at - b.at);
  return found.map(({ symbol, at }) => ({ tone: "warn", mark: "!", text: `${symbol} is stale: last price ${age(now - at)} ago`, view: "instrument", symbol }));
}

/** Price gaps of the last minute. @param {{symbol: string, count: number, at: number}[]} gaps @param {number} now @returns {Item[]} */
function missed(gaps, now) {
  const recent = gaps.filter(({ at }) => now - at < 60_000);
  return limited(
    recent.map(({ symbol, count }) => ({ tone: "warn", mark: "!", text: `${symbol}: ${counted(count, "price")} missed`, view: "instrument", symbol })),
    "gaps",
  );
}

/** @param {Item[]} found @param {string} noun @returns {Item[]} */
function limited(found, noun) {
  if (found.length <= SHOWN) return found;
  const { tone, mark, view } = found[SHOWN - 1];
  const rest = { tone, mark, text: `and ${found.length - SHOWN + 1} more ${noun}`, view: view === "instrument" ? "market" : view, symbol: null };
  return [...found.slice(0, SHOWN - 1), rest];
}

/**
 * The strongest changes since the reference, at most `count` in each direction.
 * @param {Iterable<Row>} rows @param {number} count
 * @returns {{up: Row[], down: Row[]}}
 */
export function movers(rows, count) {
  const moved = [];
  for (const row of rows) {
    if (row.mid === null || row.reference === null || row.marketOpen === false) continue;
    const change = Number(row.mid) / Number(row.reference) - 1;
    if (Math.abs(change) >= 0.00005 && Number.isFinite(change)) moved.push({ row, change });
  }
  moved.sort((a, b) => b.change - a.change);
  const rising = moved.filter(({ change }) => change > 0);
  const falling = moved.filter(({ change }) => change < 0).reverse();
  return { up: rising.slice(0, count).map(({ row }) => row), down: falling.slice(0, count).map(({ row }) => row) };
}
