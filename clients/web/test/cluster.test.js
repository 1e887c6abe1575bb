// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { order } from "../src/cluster.js";
import { cases } from "./cases.js";

test("the order equals that of scipy", () => {
  for (const { matrix, order: expected } of cases("clusters")) assert.deepEqual(order(matrix), expected);
});

test("small matrices have their own order", () => {
  assert.deepEqual(order([]), []);
  assert.deepEqual(order([[1]]), [0]);
});
