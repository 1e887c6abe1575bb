// @ts-check
/** Texts of the figures of strategies, positions and executions. No DOM. */

import { compare, divide, multiply, subtract } from "../../decimals.js";
import { age, NONE, number } from "../../format.js";
import { split } from "../shared/cell_text.js";

const AMOUNT_PLACES = 2;
const RATIO_PLACES = 3;

/** figure -> why it can be null */
const REASONS = /** @type {Record<string, string>} */ ({
  pnl: "a position has no price, or an amount cannot be converted",
  daily_pnl: "the P&L now or at the begin of the day is not known",
  realized_pnl: "a fee cannot be converted",
  unrealized_pnl: "a position has no price",
  position_notional: "a position has no price",
  win_rate: "no closed round trip",
  profit_factor: "no closed round trip",
  sharpe_ratio: "fewer than 20 days of returns, or returns without deviation",
  fees: "a fee cannot be converted",
  fill_rate: "no finished order",
  avg_latency_ms: "no fill with a latency",
  latency_p50_ms: "no fill with a latency",
  latency_p95_ms: "no fill with a latency",
  latency_p99_ms: "no fill with a latency",
  avg_slippage_bps: "no fill with an arrival price",
  implementation_shortfall_bps: "no order with a decision price",
  market_impact_bps: "no mid price 5 s after a fill",
  total_pnl: "a position has no price",
  latency_ms: "the order was not reported",
  slippage_bps: "no arrival price",
  fill_pnl: "the fill closed nothing",
  liquidity: "not reported",
});

/**
 * A value of the API with all its digits. Null is "–" with the reason in the tooltip.
 * @param {string} name
 * @param {string|number|null|undefined} value
 * @param {number} [places] decimals that are not dim
 * @returns {import("../shared/cell_text.js").CellValue}
 */
export function figure(name, value, places = RATIO_PLACES) {
  if (value === null || value === undefined) return { text: NONE, title: REASONS[name] ?? "not known" };
  const exact = typeof value === "string" || Number.isInteger(value);
  return exact ? { text: number(value) } : split(number(value), places);
}

/**
 * An amount with its sign in the text, and a colour.
 * @param {string} name @param {string|null|undefined} value @returns {import("../shared/cell_text.js").CellValue}
 */
export function amount(name, value) {
  if (value === null || value === undefined) return { ...figure(name, value), rest: "" };
  return { ...split(number(signed(value)), AMOUNT_PLACES), class: tone(value) };
}

/**
 * A price with the decimals that its instrument has, the others dim.
 * @param {string} name @param {string|null|undefined} value @param {string|null|undefined} like
 */
export function priced(name, value, like) {
  if (value === null || value === undefined) return figure(name, value);
  return split(number(value), like?.split(".")[1]?.length ?? value.length);
}

/** @param {string|null|undefined} value the text with "+" if it is above 0 */
function signed(value) {
  return value && compare(value, "0") > 0 ? `+${value}` : value;
}

/** @param {string|null|undefined} value @returns {"trading-up"|"trading-down"|""} */
function tone(value) {
  const sign = value ? compare(value, "0") : 0;
  if (sign === 0) return "";
  return sign > 0 ? "trading-up" : "trading-down";
}

/** "JPY −1200, EUR 3" @param {Record<string, string>} amounts */
export function listed(amounts) {
  return Object.entries(amounts).map(([currency, value]) => `${currency} ${number(value)}`).join(", ");
}

/**
 * "silent 3 min" with the warning mark, or "live".
 * @param {string} state
 * @param {number} since ms of the last report
 * @param {number} now
 */
export function stateOf(state, since, now) {
  if (state !== "silent") return { text: state, class: "" };
  return { text: Number.isFinite(since) ? `! silent ${age(now - since)}` : "! silent", class: "panels-warn" };
}

/**
 * The price at which a position would close now: the bid if it is long, the ask if it is short.
 * @param {{quantity: string}} position
 * @param {{bid: string|null, ask: string|null}|undefined} row
 * @returns {string|null}
 */
export function markOf(position, row) {
  if (!row) return null;
  return compare(position.quantity, "0") > 0 ? row.bid : row.ask;
}

/**
 * (mark − average) · quantity, exactly.
 * @param {string} mark @param {string} average @param {string} quantity
 */
export function unrealised(mark, average, quantity) {
  return multiply(subtract(mark, average), quantity);
}

/**
 * The multiplier of the contract: the quotient of the server's P&L and that of the formula.
 * @param {{mark: string|null, average_price: string|null, quantity: string, unrealized_pnl: string|null}} position
 * @returns {string|null} null if it is 1 or unknown
 */
export function multiplierOf({ mark, average_price: average, quantity, unrealized_pnl: pnl }) {
  if (mark === null || average === null || pnl === null) return null;
  const formula = unrealised(mark, average, quantity);
  if (compare(formula, "0") === 0) return null;
  const factor = divide(pnl, formula, 6);
  return compare(factor, "1") === 0 ? null : factor;
}
