// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { split } from "../src/parts/shared/cell_text.js";
import { Heartbeats } from "../src/parts/scenarios/heartbeats.js";
import { Rate } from "../src/parts/system/texts.js";
import { amount, figure, listed, markOf, multiplierOf, priced, stateOf, unrealised } from "../src/parts/trading/figures.js";

/** The whole text of a cell. @param {{text: string, rest?: string}} cell */
const whole = ({ text, rest = "" }) => text + rest;

test("a split value keeps all of its digits", () => {
  assert.deepEqual(split("−75.429830859105635", 2), { text: "−75.42", rest: "9830859105635" });
  assert.deepEqual(split("18.4", 2), { text: "18.4", rest: "" });
  assert.deepEqual(split("700", 2), { text: "700", rest: "" });
});

test("an amount has a sign and its own digits", () => {
  assert.equal(whole(amount("pnl", "-0.30000")), "\u22120.30000");
  assert.equal(whole(amount("pnl", "0.3")), "+0.3");
  assert.equal(whole(amount("pnl", "0.00")), "0.00");
  assert.equal(amount("pnl", "0.00").class, "");
  assert.equal(whole(figure("win_rate", 0.30000000000000004)), "0.30000000000000004");
});

test("a value that does not exist has its reason", () => {
  assert.deepEqual(amount("unrealized_pnl", null), { text: "–", title: "a position has no price", rest: "" });
  assert.equal(figure("sharpe_ratio", null).title, "fewer than 20 days of returns, or returns without deviation");
});

// Worked example of docs/observability/figures.md: a short position of 500 at an ask of 1.09390.
test("an open position is marked to the price at which it would close", () => {
  const row = { bid: "1.09380", ask: "1.09390" };
  assert.equal(markOf({ quantity: "-500" }, row), "1.09390");
  assert.equal(markOf({ quantity: "30" }, row), "1.09380");
  assert.equal(unrealised("1.09390", "1.09400", "-500"), "0.05000");
});

test("the multiplier of a contract follows from the server's figure", () => {
  const position = { mark: "100.5", average_price: "100", quantity: "2", unrealized_pnl: "50" };
  assert.equal(multiplierOf(position), "50.000000");
  assert.equal(multiplierOf({ ...position, unrealized_pnl: "1.0" }), null);
  assert.equal(multiplierOf({ ...position, mark: null }), null);
});

test("an average cost has the decimals of the mark first", () => {
  assert.deepEqual(priced("average_price", "1.0628624757375776", "1.06269"), { text: "1.06286", rest: "24757375776" });
});

test("a silent bot has the warning mark and the time since its report", () => {
  assert.deepEqual(stateOf("silent", 0, 185_000), { text: "! silent 3 min", class: "panels-warn" });
  assert.deepEqual(stateOf("live", 0, 185_000), { text: "live", class: "" });
});

test("amounts of several currencies are listed", () => {
  assert.equal(listed({ JPY: "-1200", EUR: "3.50" }), "JPY \u22121200, EUR 3.50");
});

test("a heartbeat is late after three of their usual intervals", () => {
  const heartbeats = new Heartbeats();
  for (const at of [0, 2000, 4000, 9000]) heartbeats.add({}, at);
  assert.equal(heartbeats.interval, 2000);
  assert.equal(heartbeats.late(15_000), false);
  assert.equal(heartbeats.late(15_001), true);
});

test("a rate needs two readings and begins again if the counter does", () => {
  const rate = new Rate();
  assert.equal(rate.read(100, 1000), null);
  assert.equal(rate.read(150, 6000), 10);
  assert.equal(rate.read(150, 6000), 10);
  assert.equal(rate.read(3, 11_000), null);
});
