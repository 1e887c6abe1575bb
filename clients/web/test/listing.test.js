// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { kinds, listing, nextSort, parseSort, sortText } from "../src/market/listing.js";

const ALL = { kind: null, list: null, find: "", sort: null };

/** @param {string} symbol @param {string} kind @param {string | null} mid @param {object} [more] @returns {any} */
const row = (symbol, kind, mid, more = {}) => ({ symbol, name: `${symbol} name`, kind, bid: mid, ask: mid, mid, at: 0, reference: null, ...more });

const ROWS = new Map(
  [
    row("EUR_USD", "fx", "1.1", { name: "Euro / US Dollar", reference: "1.0", at: 3 }),
    row("AUD_JPY", "fx", "99", { reference: "100", at: 9 }),
    row("BTCUSDT", "crypto", "94000", { name: "Bitcoin", at: 5 }),
    row("AAPL", "equity", null, { name: "Apple" }),
  ].map((each) => [each.symbol, each]),
);
const SYMBOLS = [...ROWS.keys()];
const view = (/** @type {object} */ changed) => listing(ROWS, SYMBOLS, { ...ALL, ...changed });
/** @param {string} text */
const by = (text) => view({ sort: parseSort(text) });

test("without a sort the order is that of the instruments or of the list", () => {
  assert.deepEqual(view({}), SYMBOLS);
  assert.deepEqual(view({ list: ["BTCUSDT", "GONE", "EUR_USD"] }), ["BTCUSDT", "EUR_USD"]);
});

test("a kind and a find text restrict the list", () => {
  assert.deepEqual(view({ kind: "fx" }), ["EUR_USD", "AUD_JPY"]);
  assert.deepEqual(view({ find: "eur/usd" }), ["EUR_USD"]);
  assert.deepEqual(view({ find: "BITC" }), ["BTCUSDT"]);
  assert.deepEqual(view({ find: "nothing" }), []);
  assert.deepEqual(kinds(ROWS.values()), ["fx", "crypto", "equity"]);
});

test("missing values are last in both directions", () => {
  assert.deepEqual(by("change"), ["AUD_JPY", "EUR_USD", "BTCUSDT", "AAPL"]);
  assert.deepEqual(by("-change"), ["EUR_USD", "AUD_JPY", "BTCUSDT", "AAPL"]);
  assert.deepEqual(by("-bid"), ["BTCUSDT", "AUD_JPY", "EUR_USD", "AAPL"]);
});

test("the oldest price has the largest age", () => {
  assert.deepEqual(by("-age"), ["EUR_USD", "BTCUSDT", "AUD_JPY", "AAPL"]);
});

test("symbols are sorted by their characters", () => {
  assert.deepEqual(by("symbol"), ["AAPL", "AUD_JPY", "BTCUSDT", "EUR_USD"]);
  assert.deepEqual(by("-symbol"), ["EUR_USD", "BTCUSDT", "AUD_JPY", "AAPL"]);
});

test("equal values keep their present order", () => {
  const rows = new Map(["A", "B", "C"].map((symbol) => [symbol, row(symbol, "fx", "1")]));
  const sort = parseSort("bid");
  assert.deepEqual(listing(rows, ["A", "B", "C"], { ...ALL, sort }, ["C", "A", "B"]), ["C", "A", "B"]);
});

test("clicks give the first direction, the other one, then none", () => {
  const sorts = [];
  let sort = null;
  for (let click = 0; click < 3; click += 1) sorts.push(sortText((sort = nextSort(sort, "change"))));
  assert.deepEqual(sorts, ["-change", "change", null]);
  assert.equal(sortText(nextSort(parseSort("-change"), "symbol")), "symbol");
  assert.equal(parseSort("volume"), null);
  assert.equal(parseSort(null), null);
});
