import assert from "node:assert/strict";
import test from "node:test";
import { fewest, hasRun, inText, nextRun, percent, places, severityOf, sorted } from "../src/analytics/analytics.js";
import { correlation } from "../src/format.js";
import { problemOf, request, stored } from "../src/alerts/own_thresholds.js";

test("the strongest pair is first, and every instrument is there", () => {
  const matrix = [[1, 0.1, null, -0.2], [0.1, 1, 0.3, 0.05], [null, 0.3, 1, -0.9], [-0.2, 0.05, -0.9, 1]];
  assert.deepEqual(places(matrix, "strongest"), [2, 3, 1, 0]);
  assert.deepEqual(places([[1]], "strongest"), [0]);
  assert.deepEqual(places([], "strongest"), []);
});

test("the fewest observations leave the diagonal out", () => {
  assert.equal(fewest([[null, 87, null], [87, null, 120], [null, 120, null]]), 87);
  assert.equal(fewest([[null]]), null);
});

test("texts of figures", () => {
  assert.deepEqual([0.714, -0.62, 0.001, -0.004, null].map(correlation), ["+0.71", "−0.62", "0.00", "0.00", "–"]);
  assert.deepEqual([percent(0.0703), percent(0.00089, 3), percent(undefined)], ["7.03 %", "0.089 %", "–"]);
  assert.deepEqual([-5, 40_000, 720_000, 10_800_000].map(inText), ["0 s", "40 s", "12 min", "3 h"]);
});

test("the next run of a job, if it is known", () => {
  const jobs = { jobs: [{ id: "a", next_run: "2025-11-18T15:00:00Z", last_run: null }, { id: "b", next_run: null, last_run: { outcome: "failed" } }] };
  const now = Date.parse("2025-11-18T12:00:00Z");
  assert.equal(nextRun(jobs, "a", now), "next run in 3 h");
  assert.deepEqual([nextRun(jobs, "b", now), nextRun(jobs, "c", now), nextRun(null, "a", now)], ["", "", ""]);
  assert.deepEqual(["a", "b", "c"].map((id) => hasRun(jobs, id)), [false, true, null]);
});

test("a value equal to the threshold is below it", () => {
  const thresholds = { warning: 0.02, critical: 0.04 };
  assert.deepEqual([0.02, 0.021, 0.04, 0.041].map((value) => severityOf(value, thresholds)), ["", "warning", "warning", "critical"]);
  assert.equal(severityOf(1, undefined), "");
});

test("instruments without the value of a column are last in both directions", () => {
  const lines = [["B", 2], ["A", 1], ["C", undefined]].map(([symbol, annualised]) => ({ symbol, time: "", estimators: annualised ? { ewma: { annualised } } : {} }));
  const names = (descending) => sorted(lines, "ewma", descending).map(({ symbol }) => symbol).join("");
  assert.deepEqual([names(false), names(true)], ["ABC", "BAC"]);
  assert.equal(sorted(lines, "symbol", true).map(({ symbol }) => symbol).join(""), "CBA");
});

test("thresholds are checked when they are read", () => {
  const good = { key: "1", instrument: "EUR_USD", metric: "price", op: ">", value: "1.0945", once: true, triggered: null };
  assert.deepEqual(stored([good, { ...good, value: "0.000" }, { ...good, op: "=" }, null, 7]), [good]);
  assert.deepEqual([stored("x"), stored({}), stored(null)], [[], [], []]);
  assert.deepEqual(request(good), { instrument: "EUR_USD", metric: "price", op: ">", value: "1.0945", once: true });
  assert.equal(request({ ...good, metric: "volatility", value: "0.0217" }).value, 0.0217);
  for (const value of ["", "-1", "1e5", "1,5", "0", ".5", "1."]) assert.match(problemOf({ ...good, value }), /^Threshold/);
  assert.match(problemOf({ ...good, instrument: "a b" }), /^Instrument/);
});
