// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { columns, figures, Ring, RING_POINTS } from "../src/ring.js";

/** @param {Ring} ring @returns {number[][]} */
const points = (ring) =>
  Array.from({ length: ring.length }, (_, index) => [ring.time(index), ring.value(0, index)]);

test("a ring keeps the newest points in the order of their times", () => {
  const ring = new Ring(1, 3);
  for (let ms = 1; ms <= 5; ms += 1) ring.push(ms, [ms * 10]);
  assert.deepEqual(points(ring), [[3, 30], [4, 40], [5, 50]]);
  assert.equal(ring.lastTime(), 5);
});

test("a ring has 3,600 points", () => {
  const ring = new Ring(2);
  for (let ms = 0; ms < 4000; ms += 1) ring.push(ms, [ms, -ms]);
  assert.equal(RING_POINTS, 3600);
  assert.equal(ring.length, 3600);
  assert.equal(ring.time(0), 400);
  assert.equal(ring.value(1, 3599), -3999);
});

test("a point of the same time replaces the last one, an older one is left out", () => {
  const ring = new Ring(1, 4);
  ring.push(1000, [1]);
  ring.push(2000, [2]);
  assert.equal(ring.push(2000, [3]), true);
  assert.equal(ring.push(1500, [9]), false);
  assert.equal(ring.push(NaN, [9]), false);
  assert.deepEqual(points(ring), [[1000, 1], [2000, 3]]);
});

test("a ring finds the first point at or after a time", () => {
  const ring = new Ring(1, 3);
  for (let ms = 10; ms <= 50; ms += 10) ring.push(ms, [0]);
  assert.deepEqual([0, 30, 31, 40, 51].map((ms) => ring.from(ms)), [0, 0, 1, 1, 3]);
});

test("a missing second is a gap, a late one is not", () => {
  const live = new Ring(1);
  for (const ms of [1000, 2100, 4050, 5000]) live.push(ms, [1]);
  const [times, values] = columns(new Ring(1), 300_000, live, 1000, 0, 1);
  assert.deepEqual(times, [1000, 2100, 2101, 4050, 5000]);
  assert.deepEqual(values, [1, 1, null, 1, 1]);
});

test("a missing value is a gap of its line", () => {
  const live = new Ring(2);
  live.push(1000, [1, 2]);
  live.push(2000, [null, 3]);
  assert.deepEqual(columns(new Ring(2), 1, live, 1000, 0, 2), [[1000, 2000], [1, null], [2, 3]]);
});

test("live points follow those of the history, which end where live ones begin", () => {
  const history = new Ring(1);
  for (const ms of [0, 300_000, 600_000, 900_000]) history.push(ms, [ms]);
  const live = new Ring(1);
  live.push(890_000, [7]);
  live.push(891_000, [8]);
  const [times] = columns(history, 300_000, live, 1000, 1, 1);
  assert.deepEqual(times, [300_000, 600_000, 890_000, 891_000]);
});

test("figures leave out missing values", () => {
  assert.deepEqual(figures([null, 2, -4, null, 5, null]), { current: 5, min: -4, mean: 1, max: 5 });
  assert.equal(figures([null, null]), null);
  assert.equal(figures([]), null);
});
