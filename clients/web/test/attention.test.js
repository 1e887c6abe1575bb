// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { counts, items, movers } from "../src/market/attention.js";

const NOW = Date.UTC(2025, 10, 18, 12);

/** @param {string} symbol @param {object} [changed] @returns {any} */
const row = (symbol, changed = {}) => ({ symbol, mid: "1.10", at: NOW - 500, marketOpen: true, staleAfter: 15, reference: "1.00", ...changed });
/** @param {any[]} rows @param {object} [more] @returns {any} */
const state = (rows, more = {}) => ({ rows: new Map(rows.map((each) => [each.symbol, each])), health: { sources: { test: { state: "live" } } }, gaps: [], ...more });
/** @param {any} given @param {any[]} [alerts] */
const texts = (given, alerts = []) => items(given, alerts, NOW, true).map(({ mark, text }) => `${mark} ${text}`);

test("each instrument is counted once", () => {
  const rows = [row("A"), row("B", { at: NOW - 60_000 }), row("C", { marketOpen: false }), row("D", { mid: null })];
  assert.deepEqual(counts(rows, NOW, true), { live: 1, stale: 1, closed: 1, none: 1 });
  assert.deepEqual(counts(rows, NOW, false), { live: 2, stale: 0, closed: 1, none: 1 });
});

test("nothing needs attention if all is live", () => {
  assert.deepEqual(texts(state([row("A")], { health: { sources: { synthetic: { state: "live" }, "replay:x": { state: "ended" } } } })), []);
  assert.deepEqual(texts(state([row("A")], { health: null })), []);
});

test("a system without a source says how to get one", () => {
  assert.deepEqual(texts(state([row("A")], { health: { sources: {} } })), ["■ No source is configured. Set SOURCES=… and restart."]);
});

test("sources are first, then alerts by severity, then the oldest prices", () => {
  const alerts = [
    { state: "firing", severity: "warning", message: "AAPL is volatile", time: "2025-11-18T11:58:00.000000Z" },
    { state: "firing", severity: "critical", message: "TSLA is volatile", time: "2025-11-18T11:30:00.000000Z" },
    { state: "acknowledged", severity: "critical", message: "known", time: "2025-11-18T11:59:00.000000Z" },
  ];
  const rows = [row("NEW", { at: NOW - 20_000 }), row("OLD", { at: NOW - 120_000 })];
  const given = state(rows, { health: { failing: ["source:binance", "writer"], sources: { binance: { state: "down", detail: "timeout" }, oanda: { state: "backing_off", detail: null } } }, gaps: [{ symbol: "A", count: 12, at: NOW - 30_000 }] });
  assert.deepEqual(texts(given, alerts), [
    "■ Source binance is down: timeout",
    "! Source oanda is backing off",
    "■ writer is failing",
    "▲▲ Critical: TSLA is volatile · 30 min ago",
    "▲ Warning: AAPL is volatile · 2 min ago",
    "! OLD is stale: last price 2 min ago",
    "! NEW is stale: last price 20 s ago",
    "! A: 12 prices missed",
  ]);
});

test("many items of a kind are summed up, and old gaps are left out", () => {
  const rows = Array.from({ length: 20 }, (_, index) => row(`S${index}`, { at: NOW - 60_000 }));
  const found = texts(state(rows, { gaps: [{ symbol: "A", count: 1, at: NOW - 61_000 }] }));
  assert.equal(found.length, 6);
  assert.equal(found[5], "! and 15 more stale prices");
});

test("movers are the strongest changes of open markets", () => {
  const rows = [
    row("UP", { mid: "1.02" }), row("TOP", { mid: "1.05" }), row("DOWN", { mid: "0.99" }), row("LOW", { mid: "0.90" }),
    row("SAME", { mid: "1.00004" }), row("CLOSED", { mid: "2", marketOpen: false }), row("NEW", { reference: null }), row("NONE", { mid: null }),
  ]; // prettier-ignore
  const names = (/** @type {any[]} */ found) => found.map(({ symbol }) => symbol);
  const { up, down } = movers(rows, 2);
  assert.deepEqual([names(up), names(down)], [["TOP", "UP"], ["LOW", "DOWN"]]);
  assert.deepEqual(names(movers(rows, 1).up), ["TOP"]);
});
