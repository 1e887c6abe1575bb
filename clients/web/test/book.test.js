// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { curves, figures, share } from "../src/instrument/book.js";

/** @type {{bids: [string, string][], asks: [string, string][]}} */
const BOOK = {
  bids: [["100.10", "0.1"], ["100.00", "0.20000000"], ["99.90", "30"]],
  asks: [["100.30", "0.2"], ["100.40", "0.1"]],
};

test("sums of sizes are exact", () => {
  const { bids, asks, largest } = figures(BOOK, 10);
  assert.deepEqual(bids.map(({ total }) => total), ["0.1", "0.30000000", "30.30000000"]); // 0.1 + 0.2 as floats is 0.30000000000000004
  assert.deepEqual(asks.map(({ total }) => total), ["0.2", "0.3"]);
  assert.equal(largest, "30.30000000");
});

test("spread, basis points and imbalance", () => {
  const { spread, bps, imbalance, crossed } = figures(BOOK, 2);
  // 0.20 / 100.20 · 10⁴ = 19.96007…; (0.3 − 0.3) / 0.6 = 0
  assert.deepEqual([spread, bps, imbalance, crossed], ["0.20", "19.9601", "0.00", false]);
  assert.equal(figures(BOOK, 10).imbalance, "+0.98"); // 30.0 / 30.6
});

test("a crossed book keeps its sign", () => {
  const { spread, bps, crossed, imbalance } = figures({ bids: [["10.1", "1"]], asks: [["9.9", "2"]] }, 10);
  assert.deepEqual([spread, bps, crossed, imbalance], ["-0.2", "-200.0000", true, "-0.33"]);
});

test("without one side there are no figures", () => {
  const { spread, bps, imbalance, largest } = figures({ bids: [], asks: [["9.9", "2"]] }, 10);
  assert.deepEqual([spread, bps, imbalance, largest], [null, null, null, "2"]);
  assert.equal(figures({ bids: [], asks: [] }, 10).largest, "0");
  assert.equal(share("0", "0"), 0);
});

test("shares and curves", () => {
  const shown = figures(BOOK, 10);
  assert.equal(share("15.15", shown.largest), 0.5);
  assert.deepEqual(curves(shown), [
    [99.9, 100, 100.1, 100.3, 100.4],
    [30.3, 0.3, 0.1, null, null],
    [null, null, null, 0.2, 0.3],
  ]);
});
