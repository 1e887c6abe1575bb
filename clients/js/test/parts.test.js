// Subscriptions in several requests, without a hub.
import assert from "node:assert/strict";
import { test } from "node:test";
import { joinedAnswer, partsOf } from "../src/parts.js";

const names = (count) => Array.from({ length: count }, (_, number) => `P${number}`);
const positions = (pairs) => Object.fromEntries(pairs.map((pair) => [pair, { epoch: "e", seq: 7 }]));
const answer = (more) => ({ pairs: [], added: [], rejected: [], rejected_count: 0, snapshot: {}, recovered: {}, max_rate: 5, ...more });

test("parts: what one request holds stays whole", () => {
  for (const pairs of [undefined, "EUR_USD", "all", names(1000)]) assert.deepEqual(partsOf(pairs), [{ pairs, since: undefined }]);
  const since = positions(names(500));
  for (const pairs of ["all", names(500)]) assert.deepEqual(partsOf(pairs, since), [{ pairs, since }]);
});

test("parts: each pair and each position is in one request, in order", () => {
  const pairs = names(1201);
  const parts = partsOf(pairs, positions(["P3", "P700"]));
  assert.deepEqual(parts.map((part) => part.pairs.length), [500, 500, 201]); // prettier-ignore
  assert.deepEqual(parts.flatMap((part) => part.pairs), pairs); // prettier-ignore
  assert.deepEqual(parts.map((part) => part.since && Object.keys(part.since)), [["P3"], ["P700"], undefined]); // prettier-ignore
});

test("parts: all instruments come after those with a position", () => {
  const since = positions(names(1100));
  const parts = partsOf("all", since);
  assert.deepEqual(parts.map((part) => part.pairs.length), [500, 500, 100, "all".length]); // prettier-ignore
  assert.deepEqual(Object.assign({}, ...parts.map((part) => part.since)), since); // prettier-ignore
  assert.deepEqual(parts.at(-1), { pairs: "all", since: undefined });
});

test("joined answer: sums and unions, the held rooms of the last answer", () => {
  const rejected = Array.from({ length: 20 }, (_, place) => ({ pair: `X${place}` }));
  const first = answer({ pairs: ["A"], added: ["A"], snapshot: { A: 1 }, recovered: { A: true }, rejected, rejected_count: 30, candle_snapshot: [1] });
  const last = answer({ pairs: ["A", "B"], added: ["B"], snapshot: { B: 2 }, rejected: [{ pair: "Y" }], rejected_count: 1, candle_snapshot: [] });
  assert.deepEqual(joinedAnswer([first]), first);
  assert.deepEqual(joinedAnswer([first, last]), {
    ...last,
    added: ["A", "B"],
    snapshot: { A: 1, B: 2 },
    recovered: { A: true },
    rejected,
    rejected_count: 31,
    candle_snapshot: [1],
  });
});
