// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { bar, Bars, drawnPart, MAX_BARS, MAX_SET } from "../src/instrument/candles.js";

const BEGIN = Date.parse("2025-11-18T00:00:00Z");

/** A candle of one minute. @param {number} minute @param {object} [more] */
function candle(minute, more = {}) {
  const [start_time, end_time] = [minute, minute + 1].map((each) => new Date(BEGIN + each * 60_000).toISOString().replace("000Z", "000000Z"));
  return { start_time, end_time, open: "1.10", high: "1.20", low: "1.00", close: "1.10", volume: "3", complete: true, ...more };
}

/** @param {number} from @param {number} to */
const range = (from, to) => Array.from({ length: to - from }, (_, index) => candle(from + index));

/** @param {Bars} bars */
const minutes = (bars) => bars.list.map(({ start }) => (start - BEGIN) / 60_000);

test("the running bar is replaced, the next one appended", () => {
  const bars = new Bars("1m");
  bars.takeNewest(range(0, 3).reverse());
  assert.equal(bars.put(candle(2)).kind, "same");
  assert.equal(bars.put(candle(2, { close: "1.11" })).kind, "changed");
  assert.equal(bars.put(candle(3)).kind, "appended");
  assert.equal(bars.put(candle(0, { close: "1.05" })).kind, "changed"); // a correction
  assert.deepEqual(minutes(bars), [0, 1, 2, 3]);
  assert.deepEqual(bars.list.map((each) => each.candle.close), ["1.05", "1.10", "1.11", "1.10"]);
});

test("a missing bar is inserted at its place", () => {
  const bars = new Bars("1m");
  bars.takeNewest([candle(0), candle(2)]);
  assert.equal(bars.put(candle(1)).kind, "inserted");
  assert.deepEqual(minutes(bars), [0, 1, 2]);
});

test("older pages come before, up to the limit", () => {
  const bars = new Bars("1m");
  bars.takeNewest(range(6000, 6300));
  assert.equal(bars.addOlder(range(5500, 6001)), 500); // the page overlaps by one bar
  assert.equal(minutes(bars)[0], 5500);
  while (bars.canGrow) {
    const first = minutes(bars)[0];
    bars.addOlder(range(first - 500, first));
  }
  assert.equal(bars.list.length, MAX_BARS);
  assert.equal(minutes(bars)[0], 6300 - MAX_BARS);
});

test("new bars push out the oldest", () => {
  const bars = new Bars("1m");
  bars.takeNewest(range(0, MAX_BARS));
  assert.equal(bars.trim(), false);
  bars.put(candle(MAX_BARS));
  assert.equal(bars.trim(), true);
  assert.ok(bars.list.length < MAX_BARS);
  assert.equal(minutes(bars).at(-1), MAX_BARS);
});

test("after an outage, bars before a hole are dropped", () => {
  const bars = new Bars("1m");
  bars.takeNewest(range(0, 10));
  bars.takeNewest(range(5, 20));
  assert.deepEqual(minutes(bars), range(0, 20).map((_, index) => index));
  bars.takeNewest(range(50, 60));
  assert.deepEqual(minutes(bars), range(50, 60).map((_, index) => index + 50));
});

test("a bar of a day lies at its trading day", () => {
  const day = { ...candle(0), start_time: "2025-11-17T22:00:00.000000Z", end_time: "2025-11-18T22:00:00.000000Z" };
  assert.equal(bar(day, "1d").at, BEGIN / 1000);
  const utc = { ...candle(0), start_time: "2025-11-18T00:00:00.000000Z", end_time: "2025-11-19T00:00:00.000000Z" };
  assert.equal(bar(utc, "1d").at, BEGIN / 1000);
});

test("the chart is given at most 2,000 bars", () => {
  assert.deepEqual(drawnPart(1500, null), { from: 0, to: 1500 });
  assert.deepEqual(drawnPart(4000, null), { from: 2000, to: 4000 });
  assert.deepEqual(drawnPart(4000, { from: 3800, to: 3990 }), { from: 2000, to: 4000 });
  for (const from of [-100, 0, 900, 2000, 3300]) {
    const part = drawnPart(4000, { from, to: from + 150 });
    assert.equal(part.to - part.from, MAX_SET);
    assert.ok(part.from <= Math.max(0, from) && part.to >= from + 150);
  }
});
