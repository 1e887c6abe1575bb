// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { add, compare, divide, multiply, parse, subtract, sum, text } from "../src/decimals.js";
import { cases } from "./cases.js";

test("results equal those of Python's Decimal", () => {
  for (const each of cases("decimals")) {
    const { a, b } = each;
    assert.equal(add(a, b), each.sum, `${a} + ${b}`);
    assert.equal(sum([a, b]), each.sum);
    assert.equal(subtract(a, b), each.difference, `${a} - ${b}`);
    assert.equal(multiply(a, b), each.product, `${a} * ${b}`);
    assert.equal(compare(a, b), Number(each.compare), `${a} <> ${b}`);
    if (each.quotient === undefined) assert.throws(() => divide(a, b, 2), RangeError);
    else assert.equal(divide(a, b, Number(each.digits)), each.quotient, `${a} / ${b}`);
  }
});

test("a sum of many texts is exact", () => {
  assert.equal(sum(Array(10).fill("0.1")), "1.0");
  assert.equal(sum([]), "0");
  assert.equal(sum(["0.00000001", "90071992547409930", "-0.00000001"]), "90071992547409930.00000000");
});

test("a text keeps its trailing zeros", () => {
  assert.equal(text(parse("1.09400")), "1.09400");
  assert.equal(divide("2.5", "1", 0), "2");
  assert.equal(divide("-0.004", "1", 2), "0.00");
});

test("another text is refused", () => {
  for (const bad of ["", " ", "1,5", "abc", "NaN", "1.2.3", "0x10", ".5", "--1"]) {
    assert.throws(() => parse(bad), RangeError, bad);
  }
});

test("an exponent moves the point", () => {
  assert.equal(text(parse("1.5e+3")), "1500");
  assert.equal(text(parse("-15E-9")), "-0.000000015");
});
