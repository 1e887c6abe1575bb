// @ts-check
/** Numbers and ages as the page shows them: the text of the API, never rounded again. */

import { compare, divide, multiply, parse, subtract } from "./decimals.js";

export const MINUS = "\u2212";
export const NONE = "–"; // instead of a value that does not exist

/**
 * The parts of a price. FX: all before the two digits of the pip, these two, and the fraction of a
 * pip: 1.09|43|8. Other kinds have one size: `big` is the whole text.
 * @param {string | null} text @param {string} kind
 */
export function price(text, kind) {
  if (text === null || text === undefined) return { head: NONE, big: "", small: "" };
  const end = kind === "fx" ? pipEnd(text) : 0;
  if (end === 0) return { head: "", big: number(text), small: "" };
  return { head: number(text.slice(0, end - 2)), big: text.slice(end - 2, end), small: text.slice(end) };
}

/**
 * Ask minus bid: in pips for FX, else in units of the price. Exact.
 * @param {string | null} bid @param {string | null} ask @param {string} kind
 */
export function spread(bid, ask, kind) {
  if (bid === null || bid === undefined || ask === null || ask === undefined) return NONE;
  const difference = subtract(ask, bid);
  return number(kind === "fx" ? shifted(difference, pipDecimals(bid, ask)) : difference);
}

/** A correlation with two decimals and its sign; one that rounds to 0.00 has no sign. @param {number | null} value */
export function correlation(value) {
  if (value === null) return NONE;
  const text = Math.abs(value).toFixed(2);
  return text === "0.00" ? text : `${value < 0 ? MINUS : "+"}${text}`;
}

/**
 * The change since `reference` in percent with two decimals. A change that rounds to 0.00 % has no
 * sign: `sign` is -1, 0 or 1.
 * @param {string | null} mid @param {string | null} reference
 * @returns {{text: string, sign: -1 | 0 | 1}}
 */
export function change(mid, reference) {
  if (!mid || !reference || parse(reference).digits === 0n) return { text: NONE, sign: 0 };
  const percent = divide(multiply(subtract(mid, reference), "100"), reference, 2);
  const sign = compare(percent, "0");
  return { text: `${sign > 0 ? "+" : ""}${number(percent)}%`, sign };
}

/** "now" below 1 s and for negative ages, then whole s, min, h. @param {number} ms */
export function age(ms) {
  const seconds = Math.floor(ms / 1000);
  if (!(seconds >= 1)) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

/** "1 update", "1,200 updates". @param {number} count @param {string} noun */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** The text with the sign U+2212; null is "–". @param {string | number | null | undefined} text */
export function number(text) {
  if (text === null || text === undefined || text === "") return NONE;
  const string = String(text);
  return string.startsWith("-") ? MINUS + string.slice(1) : string;
}

/** The place behind the second digit of the pip in the text of an FX price; 0: no such place. @param {string} text */
function pipEnd(text) {
  const point = text.indexOf(".");
  const decimals = point < 0 ? 0 : text.length - point - 1;
  if (decimals < 2) return 0;
  return point + 1 + (decimals < 4 ? 2 : 4);
}

/**
 * Decimals of one pip: prices with four or more decimals have pips of 0.0001, others of 0.01.
 * @param {string} bid @param {string} ask
 */
function pipDecimals(bid, ask) {
  return Math.max(parse(bid).scale, parse(ask).scale) < 4 ? 2 : 4;
}

/** The value times 10 ** places, with as many decimals fewer. @param {string} value @param {number} places */
function shifted(value, places) {
  const { scale } = parse(value);
  return divide(multiply(value, "1" + "0".repeat(places)), "1", Math.max(0, scale - places));
}
