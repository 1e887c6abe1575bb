// @ts-check
/** The figures of an order book, exact: decimal texts, no floats. Pure. */

import { add, compare, divide, multiply, parse, subtract, text } from "../decimals.js";

export const DEPTHS = /** @type {const} */ ([10, 20, 50]);
export const DEFAULT_DEPTH = 20;
const BPS_DIGITS = 4;
const IMBALANCE_DIGITS = 2;

/**
 * @typedef {[price: string, quantity: string]} Level
 * @typedef {{price: string, size: string, total: string}} Row `total`: sum of the sizes up to here
 * @typedef {{bids: Row[], asks: Row[], largest: string, spread: string|null, bps: string|null,
 *   crossed: boolean, imbalance: string|null}} Figures a figure is null if a side has no level
 */

/**
 * @param {{bids: Level[], asks: Level[]}} book best level first
 * @param {number} depth
 * @returns {Figures}
 */
export function figures(book, depth) {
  const [bids, asks] = [rows(book.bids, depth), rows(book.asks, depth)];
  const [bidSum, askSum] = [bids.at(-1)?.total ?? "0", asks.at(-1)?.total ?? "0"];
  const largest = compare(bidSum, askSum) < 0 ? askSum : bidSum;
  const none = { spread: null, bps: null, crossed: false, imbalance: null };
  if (bids.length === 0 || asks.length === 0) return { bids, asks, largest, ...none };
  const spread = subtract(asks[0].price, bids[0].price);
  // (ask − bid) / mid · 10⁴ with mid = (ask + bid) / 2
  const bps = divide(multiply(spread, "20000"), add(asks[0].price, bids[0].price), BPS_DIGITS);
  return { bids, asks, largest, spread, bps, crossed: compare(spread, "0") < 0, imbalance: imbalance(bidSum, askSum) };
}

/** @param {Level[]} levels @param {number} depth @returns {Row[]} */
function rows(levels, depth) {
  let total = { digits: 0n, scale: 0 };
  return levels.slice(0, depth).map(([price, size]) => {
    const { digits, scale } = parse(size);
    const most = Math.max(total.scale, scale);
    total = { digits: total.digits * power(most - total.scale) + digits * power(most - scale), scale: most };
    return { price, size, total: text(total) };
  });
}

/** @param {number} exponent */
function power(exponent) {
  return exponent === 0 ? 1n : 10n ** BigInt(exponent);
}

/** (ΣB − ΣA) / (ΣB + ΣA), with a sign unless it rounds to 0. @param {string} bids @param {string} asks */
function imbalance(bids, asks) {
  const both = add(bids, asks);
  if (compare(both, "0") === 0) return null;
  const value = divide(subtract(bids, asks), both, IMBALANCE_DIGITS);
  return compare(value, "0") > 0 ? `+${value}` : value;
}

/**
 * The part of the largest sum, 0 to 1, for the width of a bar: a number, as it is drawn.
 * @param {string} total @param {string} largest
 */
export function share(total, largest) {
  return Number(largest) > 0 ? Math.round((200 * Number(total)) / Number(largest)) / 200 : 0;
}

/**
 * Columns of the depth chart: prices rising, the cumulative bid sizes, the cumulative ask sizes.
 * Numbers: they are drawn, not shown.
 * @param {Figures} shown
 * @returns {[number[], (number|null)[], (number|null)[]]}
 */
export function curves({ bids, asks }) {
  const [left, right] = [[...bids].reverse(), asks];
  return [
    [...left, ...right].map(({ price }) => Number(price)),
    [...left.map(({ total }) => Number(total)), ...right.map(() => null)],
    [...left.map(() => null), ...right.map(({ total }) => Number(total))],
  ];
}
