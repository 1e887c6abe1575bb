// @ts-check
/** P&L of the last 24 hours: the stored history, then the stream. */

import { sum } from "../../decimals.js";
import { h } from "../h.js";
import { panel } from "../shared/panel.js";
import { series } from "../series.js";
import { nothing } from "./portfolio.js";

const STEP_MS = 300_000; // 5 min
const DAY_SECONDS = 86_400;
const MAX_PAGES = 10; // of 10,000 rows
const FIGURES = [
  { name: "total_pnl", column: "pnl", label: "Total P&L", color: "focus" },
  { name: "daily_pnl", column: "daily_pnl", label: "P&L today", color: "focus" },
];

/** @param {import("../../types.js").App} app */
export function pnlCharts(app) {
  const charts = FIGURES.map(({ label, color }) =>
    series(app, { label, lines: [{ label, color }], seconds: DAY_SECONDS, height: 150 }));
  const content = h("div", { class: "panels-charts" }, ...charts.map(({ element }) => element));
  let reported = false; // since the view was opened
  const made = panel(app, {
    title: "Profit and loss, 24 h",
    load: () => history(app),
    empty: (/** @type {any[]} */ rows) => (rows.length || reported ? null : "No profit or loss of the last 24 hours: no strategy has reported."),
    show: (/** @type {any[]} */ rows, /** @type {HTMLElement} */ place) => {
      if (content.parentNode === null) place.append(content);
      FIGURES.forEach(({ column }, index) => charts[index].set(points(rows, column, app.clock.parse), STEP_MS));
    },
    every: STEP_MS,
  });
  return {
    element: made.element,
    /** @param {any} body a snapshot */
    receive({ timestamp, strategy }) {
      if (!strategy?.timestamp || (!reported && nothing(strategy))) return;
      if (!reported) {
        reported = true;
        made.reload();
      }
      const ms = app.clock.parse(timestamp);
      FIGURES.forEach(({ name }, index) => charts[index].push(ms, [strategy.stale ? null : strategy[name]]));
    },
    close() {
      made.close();
      charts.forEach((chart) => chart.close());
    },
  };
}

/** @param {import("../../types.js").App} app @returns {Promise<any[]>} rows of all strategies and bots, oldest first */
async function history(app) {
  const rows = [];
  const query = { time_range: "24h", metric_types: ["strategy"], interval: "5m", limit: 10_000 };
  let token = null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    /** @type {any} */
    const body = await app.rest.post("api/metrics/history", token === null ? query : { ...query, page_token: token });
    rows.push(...body.data);
    token = body.next_page_token;
    if (token === null) break;
  }
  return rows;
}

/**
 * Sums over strategies and bots. A row has the last value of its 5 minutes, so its point is at their
 * end. If one value is unknown, so is the sum.
 * @param {any[]} rows
 * @param {string} column
 * @param {(text: string) => number} parse
 * @returns {(number|string|null)[][]}
 */
function points(rows, column, parse) {
  /** @type {Map<string, (string|null)[]>} */
  const values = new Map();
  for (const row of rows) {
    const all = values.get(row.timestamp) ?? [];
    all.push(row[column] === null ? null : String(row[column]));
    values.set(row.timestamp, all);
  }
  return [...values].map(([timestamp, all]) => {
    const known = all.every((value) => value !== null);
    return [parse(timestamp) + STEP_MS, known ? sum(/** @type {string[]} */ (all)) : null];
  });
}
