// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { STARRED, listNamed, listNames, nameProblem, removeList, saveList, symbolsOf, toggleStar } from "../src/market/lists.js";

/** @param {any} lists @returns {any} */
function settings(lists = {}) {
  let value = lists;
  return { get: () => value, set: (/** @type {string} */ _, /** @type {any} */ next) => (value = next) };
}

test("the starred list exists always and is first", () => {
  assert.deepEqual(listNames(settings({ Zulu: [], Alpha: [] })), [STARRED, "Alpha", "Zulu"]);
  assert.deepEqual(symbolsOf(settings(), STARRED), []);
});

test("a star is set and removed, at the end of the list", () => {
  const kept = settings({ [STARRED]: ["A"] });
  assert.equal(toggleStar(kept, "B"), true);
  assert.deepEqual(symbolsOf(kept, STARRED), ["A", "B"]);
  assert.equal(toggleStar(kept, "A"), false);
  assert.deepEqual(symbolsOf(kept, STARRED), ["B"]);
});

test("a list keeps its order, and each symbol once", () => {
  const kept = settings();
  saveList(kept, "Majors", ["USD_JPY", "EUR_USD", "USD_JPY"]);
  assert.deepEqual(symbolsOf(kept, "majors"), ["USD_JPY", "EUR_USD"]);
  removeList(kept, "Majors");
  assert.equal(listNamed(kept, "Majors"), null);
});

test("a name is given once and has a length", () => {
  const kept = settings({ Majors: [] });
  assert.match(nameProblem(kept, "MAJORS") ?? "", /already/);
  assert.equal(nameProblem(kept, "majors", "Majors"), null);
  assert.match(nameProblem(kept, " ") ?? "", /Enter a name/);
  assert.match(nameProblem(kept, "x".repeat(41)) ?? "", /at most 40/);
});

test("values of a foreign form are left out", () => {
  assert.deepEqual(symbolsOf(settings({ Odd: "text", [STARRED]: [1, "A"] }), "Odd"), []);
  assert.deepEqual(symbolsOf(settings({ [STARRED]: [1, "A"] }), STARRED), ["A"]);
});
