// @ts-check
/** Execution quality of today from the stream, and of each strategy from REST. */

import { figureList } from "../shared/figure_list.js";
import { liveTable } from "../shared/live_table.js";
import { panel } from "../shared/panel.js";
import { figure } from "./figures.js";
import { noReport } from "./portfolio.js";
import { sectionPanel } from "../shared/section.js";

const EVERY_MS = 15_000;
const RATES = [
  { name: "fill_rate", title: "Fill rate", hint: "orders filled completely / finished orders" },
  { name: "avg_latency_ms", title: "Latency ms, mean" },
  { name: "latency_p50_ms", title: "p50 ms" },
  { name: "latency_p95_ms", title: "p95 ms" },
  { name: "latency_p99_ms", title: "p99 ms" },
  { name: "avg_slippage_bps", title: "Slippage bps (+ cost)", hint: "positive: a cost" },
  { name: "implementation_shortfall_bps", title: "Shortfall bps (+ cost)", hint: "positive: a cost" },
  { name: "market_impact_bps", title: "Impact bps", hint: "change of the mid within 5 s after the last fill" },
];
const COUNTS = [
  { name: "orders_today", title: "Orders today" },
  { name: "fills_today", title: "Fills today" },
  { name: "open_orders", title: "Open orders" },
  { name: "cancelled", title: "Cancelled" },
  { name: "rejected", title: "Rejected" },
];
const COLUMNS = [
  { name: "strategy", title: "Strategy" },
  ...RATES.map((field) => ({ ...field, num: true })),
  { name: "rejection_rate", title: "Rejected", num: true, hint: "rejected / submitted orders" },
  { name: "cancellation_rate", title: "Cancelled", num: true, hint: "cancelled / submitted orders" },
];

/** Of all strategies today. @param {import("../../types.js").App} app */
export function quality(app) {
  const fields = [...COUNTS, ...RATES];
  const figures = figureList(fields);
  const show = (/** @type {any} */ section) => {
    figures.show(Object.fromEntries(fields.map(({ name }) => [name, figure(name, section[name])])));
  };
  return sectionPanel(app, { title: "Execution quality, today", name: "execution", none: noReport(), show }, [figures.element]);
}

/**
 * @param {import("../../types.js").App} app
 * @param {import("./filter.js").Filter} filter
 */
export function qualityByStrategy(app, filter) {
  const table = liveTable({ caption: "Execution quality of each strategy, last 24 hours", columns: COLUMNS });
  return panel(app, {
    title: "Execution quality by strategy, 24 h",
    load: (/** @type {AbortSignal} */ signal) =>
      app.rest.get("api/trades/execution/quality", { time_range: "24h" }, { signal }),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => {
      if (table.element.parentNode === null) content.append(table.element);
      table.show(rows(body.by_strategy, filter));
    },
    empty: (/** @type {any} */ body) => Object.keys(body.by_strategy).length === 0 ? "No order has been reported in the last 24 hours." : null,
    every: EVERY_MS,
  });
}

/** @param {Record<string, any>} strategies @param {import("./filter.js").Filter} filter */
function rows(strategies, filter) {
  return Object.entries(strategies)
    .filter(([name]) => filter.strategy === null || filter.strategy === name)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, entry]) => ({
      key: name,
      cells: COLUMNS.map((column) => (column.name === "strategy" ? name : figure(column.name, entry[column.name]))),
    }));
}
