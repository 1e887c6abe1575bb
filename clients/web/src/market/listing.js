// @ts-check
/** Which instruments the list shows, and in which order. */

import { MINUS, spread } from "../format.js";

/**
 * @typedef {import("../types.js").Row} Row
 * @typedef {"symbol" | "bid" | "ask" | "spread" | "change" | "age"} Column
 * @typedef {{column: Column, descending: boolean}} Sort
 * @typedef {{kind: string | null, list: string[] | null, find: string, sort: Sort | null}} View
 *   `list`: the symbols of a named list in its manual order; `sort` null: the order of the list
 */

/** Columns whose values change with prices. */
export const LIVE_COLUMNS = new Set(["bid", "ask", "spread", "change", "age"]);
/** The first click on these sorts from high to low. */
const HIGH_FIRST = new Set(["spread", "change", "age"]);

/**
 * @param {Map<string, Row>} rows @param {string[]} symbols all instruments in the order of /symbols
 * @param {View} view @param {string[]} [before] the present order: it decides between equal values
 * @returns {string[]}
 */
export function listing(rows, symbols, view, before = []) {
  const wanted = compact(view.find);
  const shown = (view.list ?? symbols).filter((symbol) => {
    const row = rows.get(symbol);
    return row !== undefined && (view.kind === null || row.kind === view.kind) && matches(row, wanted);
  });
  return view.sort ? sorted(rows, shown, view.sort, before) : shown;
}

/** The kinds of the instruments, in the order of their first instrument. @param {Iterable<Row>} rows */
export function kinds(rows) {
  return [...new Set([...rows].map(({ kind }) => kind))];
}

/** "+" and "−" as a sort in an address: "change" is ascending, "-change" descending. @param {Sort | null} sort */
export function sortText(sort) {
  return sort ? (sort.descending ? "-" : "") + sort.column : null;
}

/** @param {string | null} text @returns {Sort | null} */
export function parseSort(text) {
  const column = /** @type {Column} */ (text?.replace(/^-/, ""));
  return column === "symbol" || LIVE_COLUMNS.has(column) ? { column, descending: text?.startsWith("-") ?? false } : null;
}

/** The sort after a click on a column's header: first direction, other direction, none. @param {Sort | null} sort @param {Column} column @returns {Sort | null} */
export function nextSort(sort, column) {
  const first = HIGH_FIRST.has(column);
  if (sort?.column !== column) return { column, descending: first };
  return sort.descending === first ? { column, descending: !first } : null;
}

/** @param {Row} row @param {string} wanted */
function matches({ symbol, name }, wanted) {
  return wanted === "" || compact(symbol).includes(wanted) || compact(name).includes(wanted);
}

/** Letters and digits alone: "eur/usd" finds EUR_USD. @param {string} text */
function compact(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
}

/** @param {Map<string, Row>} rows @param {string[]} symbols @param {Sort} sort @param {string[]} before */
function sorted(rows, symbols, { column, descending }, before) {
  if (column === "symbol") {
    const names = [...symbols].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    return descending ? names.reverse() : names;
  }
  const places = new Map(before.map((symbol, index) => [symbol, index]));
  const keyed = symbols.map((symbol, index) => {
    const value = key(/** @type {Row} */ (rows.get(symbol)), column);
    return { symbol, value: descending ? -value : value, place: places.get(symbol) ?? before.length + index };
  });
  return keyed.sort(ordered).map(({ symbol }) => symbol);
}

/** Missing values are last in both directions. @param {{value: number, place: number}} a @param {{value: number, place: number}} b */
function ordered(a, b) {
  if (Number.isNaN(a.value) !== Number.isNaN(b.value)) return Number.isNaN(a.value) ? 1 : -1;
  return a.value - b.value || a.place - b.place;
}

/** The number of a cell, NaN if it is empty. @param {Row} row @param {Column} column */
function key(row, column) {
  if (row.mid === null) return NaN;
  if (column === "bid" || column === "ask") return Number(row[column] ?? NaN);
  if (column === "age") return -row.at;
  if (column === "change") return row.reference === null ? NaN : Number(row.mid) / Number(row.reference) - 1;
  return Number(spread(row.bid, row.ask, row.kind).replace(MINUS, "-"));
}
