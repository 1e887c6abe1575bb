// @ts-check
/** The table of strategies. */

import { number } from "../../format.js";
import { split } from "../shared/cell_text.js";
import { liveTable } from "../shared/live_table.js";
import { amount, figure, listed, stateOf } from "./figures.js";
import { noReport, nothing } from "./portfolio.js";
import { sectionPanel } from "../shared/section.js";

const COLUMNS = [
  { name: "strategy", title: "Strategy" },
  { name: "state", title: "State" },
  { name: "pnl", title: "P&L", num: true },
  { name: "daily_pnl", title: "Today", num: true },
  { name: "realized_pnl", title: "Realised", num: true },
  { name: "unrealized_pnl", title: "Unrealised", num: true },
  { name: "positions", title: "Positions", num: true },
  { name: "position_notional", title: "Notional", num: true },
  { name: "signals", title: "Signals", num: true },
  { name: "signals_approved", title: "Approved", num: true, hint: "approved signals" },
  { name: "signals_rejected", title: "Rejected", num: true, hint: "rejected signals" },
  { name: "win_rate", title: "Win rate", num: true, hint: "wins / closed round trips" },
  { name: "profit_factor", title: "Profit factor", num: true, hint: "sum of wins / sum of losses" },
  { name: "sharpe_ratio", title: "Sharpe", num: true },
  { name: "max_drawdown", title: "Max drawdown", num: true },
  { name: "fees", title: "Fees (+ paid)", num: true, hint: "positive: paid, a cost; negative: a rebate" },
  { name: "currency", title: "Currency" },
  { name: "bots", title: "Bots" },
  { name: "last_report", title: "Last report" },
];
const AMOUNTS = new Set(["pnl", "daily_pnl", "realized_pnl", "unrealized_pnl"]);
const SUMS = new Set(["position_notional", "max_drawdown", "fees"]);

/**
 * @param {import("../../types.js").App} app
 * @param {import("./filter.js").Filter} filter
 * @param {(ms: number) => {text: string, title: string}} when
 */
export function strategies(app, filter, when) {
  const table = liveTable({ caption: "Strategies", columns: COLUMNS });
  const show = (/** @type {any} */ section, /** @type {any} */ state) => {
    const rows = Object.entries(section.strategies)
      .filter(([name, entry]) => matches(filter, name, entry))
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([name, entry]) => ({ key: name, cells: cells(app, name, entry, state.now, when) }));
    table.show(rows);
  };
  return sectionPanel(app, { title: "Strategies", name: "strategy", none: noReport(), show, empty: nothing }, [table.element]);
}

/** @param {import("./filter.js").Filter} filter @param {string} name @param {any} entry */
function matches(filter, name, entry) {
  return (filter.strategy === null || filter.strategy === name) && (filter.bot === null || entry.bots.includes(filter.bot));
}

/**
 * @param {import("../../types.js").App} app
 * @param {string} name
 * @param {any} entry
 * @param {number} now
 * @param {(ms: number) => {text: string, title: string}} when
 */
function cells(app, name, entry, now, when) {
  const reported = app.clock.parse(entry.last_report);
  /** @type {Record<string, any>} */
  const special = {
    strategy: { text: name, href: app.router.href("trading", null, { strategy: name }) },
    state: stateOf(entry.state, reported, now),
    pnl: withNote(amount("pnl", entry.pnl), entry.pnl_complete ? "" : "incomplete", incompleteTitle(entry)),
    unrealized_pnl: withNote(amount("unrealized_pnl", entry.unrealized_pnl), entry.mark_stale ? "!" : "", "the price of a position is old"),
    profit_factor: entry.no_losses ? { text: "–", title: "no losses" } : figure("profit_factor", entry.profit_factor),
    fees: { ...plain("fees", entry.fees), title: listed(entry.fees_by_currency) },
    bots: entry.bots.join(", "),
    last_report: Number.isFinite(reported) ? when(reported) : "–",
  };
  return COLUMNS.map(({ name: column }) => {
    if (special[column] !== undefined) return special[column];
    if (AMOUNTS.has(column)) return amount(column, entry[column]);
    return SUMS.has(column) ? plain(column, entry[column]) : figure(column, entry[column]);
  });
}

/** An amount without a colour. @param {string} name @param {string|null} value */
function plain(name, value) {
  return value === null ? { ...figure(name, value), rest: "" } : split(number(value), 2);
}

/** @param {import("../shared/cell_text.js").CellValue} cell @param {string} note @param {string} title */
export function withNote(cell, note, title) {
  return note === "" ? cell : { ...cell, text: `${note} ${cell.text}`, title };
}

/** @param {any} entry */
function incompleteTitle(entry) {
  return `an amount cannot be converted; fees: ${listed(entry.fees_by_currency)}`;
}
