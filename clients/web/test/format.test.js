// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { MINUS, age, change, counted, number, price, spread } from "../src/format.js";

test("an FX price is split at its pip", () => {
  assert.deepEqual(price("1.09438", "fx"), { head: "1.09", big: "43", small: "8" });
  assert.deepEqual(price("101.320", "fx"), { head: "101.", big: "32", small: "0" });
  assert.deepEqual(price("1.0943", "fx"), { head: "1.09", big: "43", small: "" });
  assert.deepEqual(price("101.32", "fx"), { head: "101.", big: "32", small: "" });
  assert.deepEqual(price("101", "fx"), { head: "", big: "101", small: "" });
});

test("the parts of a price are its text", () => {
  for (const text of ["1.09438", "0.6500", "151.235", "94512.10", "1.5", "12", "1.094450"]) {
    for (const kind of ["fx", "crypto", "equity", "metal"]) {
      assert.equal(Object.values(price(text, kind)).join(""), text);
    }
  }
});

test("other kinds have one size", () => {
  assert.deepEqual(price("94512.10", "crypto"), { head: "", big: "94512.10", small: "" });
  assert.deepEqual(price(null, "equity"), { head: "–", big: "", small: "" });
});

test("a spread is in pips for FX, in units of the price for others", () => {
  assert.equal(spread("1.09438", "1.09452", "fx"), "1.4");
  assert.equal(spread("101.320", "101.334", "fx"), "1.4");
  assert.equal(spread("1.0943", "1.0945", "fx"), "2");
  assert.equal(spread("231.10", "231.12", "equity"), "0.02");
  assert.equal(spread("10.2", "10.1", "crypto"), `${MINUS}0.1`);
  assert.equal(spread(null, "1", "fx"), "–");
});

test("a change that rounds to 0.00 % has no sign", () => {
  assert.deepEqual(change("1.09445", "1.09310"), { text: "+0.12%", sign: 1 });
  assert.deepEqual(change("99.73", "100"), { text: `${MINUS}0.27%`, sign: -1 });
  assert.deepEqual(change("1.00004", "1"), { text: "0.00%", sign: 0 });
  assert.deepEqual(change("0.99996", "1"), { text: "0.00%", sign: 0 });
  assert.deepEqual(change("1", null), { text: "–", sign: 0 });
  assert.deepEqual(change("1", "0.00"), { text: "–", sign: 0 });
});

test("an age has one unit", () => {
  const ages = [[-50, "now"], [0, "now"], [999, "now"], [1000, "1 s"], [59_999, "59 s"], [60_000, "1 min"], [3_599_999, "59 min"],
    [3_600_000, "1 h"], [200 * 3_600_000, "200 h"], [NaN, "now"]]; // prettier-ignore
  for (const [ms, text] of ages) assert.equal(age(Number(ms)), text);
});

test("a number has the sign U+2212 and keeps its digits", () => {
  assert.equal(number("-12.50"), "\u221212.50");
  assert.equal(number("3.10"), "3.10");
  assert.equal(number(null), "–");
});

test("a noun has an s unless there is one", () => {
  assert.deepEqual([0, 1, 12_345].map((count) => counted(count, "client")), ["0 clients", "1 client", "12,345 clients"]);
});
