// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { state } from "../src/freshness.js";

const NOW = Date.UTC(2025, 10, 18, 12);
const row = (/** @type {object} */ changed = {}) => ({ mid: "1.0946", at: NOW - 42_000, marketOpen: true, staleAfter: 15, ...changed });

test("the first condition that matches decides", () => {
  assert.deepEqual(state(row({ mid: null, marketOpen: false }), NOW, true), { name: "none", text: "no price", age: "" });
  assert.deepEqual(state(row({ marketOpen: false }), NOW, true), { name: "closed", text: "■ closed", age: "42 s" });
  assert.deepEqual(state(row(), NOW, true), { name: "stale", text: "! 42 s", age: "42 s" });
  assert.deepEqual(state(row({ at: NOW - 3000 }), NOW, true), { name: "live", text: "3 s", age: "3 s" });
});

test("an age is stale above the limit, not at it", () => {
  assert.equal(state(row({ at: NOW - 15_000 }), NOW, true).name, "live");
  assert.equal(state(row({ at: NOW - 15_001 }), NOW, true).name, "stale");
});

test("without the hub nothing is stale and ages continue", () => {
  assert.deepEqual(state(row(), NOW, false), { name: "live", text: "42 s", age: "42 s" });
});

test("a negative age is now", () => {
  assert.equal(state(row({ at: NOW + 5000 }), NOW, true).text, "now");
});

test("an unknown limit or market state is never stale or closed", () => {
  assert.equal(state(row({ staleAfter: null, marketOpen: null }), NOW, true).name, "live");
});
