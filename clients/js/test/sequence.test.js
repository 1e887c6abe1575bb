// Order, gaps and resumption of messages, without a hub.
import assert from "node:assert/strict";
import { test } from "node:test";
import { milliseconds, Latency } from "../src/latency.js";
import { NOTHING_YET, judge, judgeReturn } from "../src/sequence.js";
import { Subscriptions } from "../src/subscriptions.js";
import { priceTable } from "../src/table.js";

const at = (seq, epoch = "e") => ({ epoch, seq });
const price = (seq, epoch = "e", instrument = "EUR_USD") => ({
  instrument,
  price: { bid: "1", ask: "1", mid: "1", time: "2025-11-18T12:30:00Z" },
  ...at(seq, epoch),
});
const confirmed = (pairs, more = {}) => ({
  pairs,
  pair_count: pairs.length,
  added: pairs,
  rejected: [],
  snapshot: {},
  recovered: {},
  max_rate: null,
  ...more,
});
const told = (steps) =>
  steps.map(({ gap, body }) =>
    gap ? `${gap.reason} ${gap.from?.seq ?? "-"}..${gap.to?.seq ?? "-"} (${gap.missed ?? "?"})` : `${body.epoch} ${body.seq}`,
  );

function holding(seq, more = {}) {
  const held = new Subscriptions();
  held.confirmed({ payload: { pairs: ["EUR_USD"] } }, confirmed(["EUR_USD"], { snapshot: seq ? { EUR_USD: price(seq) } : {}, ...more }));
  return held;
}

const back = (held, more) => {
  const [entry] = held.resumption(["EUR_USD"]);
  return told(held.confirmed(entry, confirmed(["EUR_USD"], more)));
};

test("judge: repeated message is skipped, missing messages are a gap", () => {
  assert.deepEqual(judge(at(5), at(6)), { fresh: true, gap: null });
  assert.equal(judge(at(5), at(5)).fresh, false);
  assert.equal(judge(at(5), at(2)).fresh, false);
  assert.deepEqual(judge(at(5), at(9)).gap, { from: at(5), to: at(9), missed: 3, reason: "sequence" });
  assert.deepEqual(judge(at(5), at(1, "f")).gap, { from: at(5), to: at(1, "f"), missed: null, reason: "epoch" });
  assert.deepEqual(judge(at(5), at(9), { gapless: false }), { fresh: true, gap: null });
  assert.equal(judge(at(5), at(4), { gapless: false }).fresh, false);
  assert.deepEqual(judge(null, at(9)), { fresh: true, gap: null });
  assert.deepEqual(judge(at(5), { instrument: "EUR_USD" }), { fresh: true, gap: null }); // foreign
  assert.deepEqual(judge(NOTHING_YET, at(1)), { fresh: true, gap: null });
  assert.deepEqual(judge(NOTHING_YET, at(3)).gap, { from: null, to: at(3), missed: 2, reason: "sequence" });
});

test("judgeReturn: snapshot after an outage gives the gap and the new position", () => {
  assert.deepEqual(judgeReturn(at(5), price(9)).gap, { from: at(5), to: at(9), missed: 3, reason: "not_recovered" });
  assert.deepEqual(judgeReturn(at(5), price(2, "f")).gap, { from: at(5), to: at(2, "f"), missed: null, reason: "epoch" });
  assert.deepEqual(judgeReturn(at(5), undefined), {
    fresh: false,
    gap: { from: at(5), to: null, missed: null, reason: "not_recovered" },
    position: null,
  });
  assert.deepEqual(judgeReturn(NOTHING_YET, undefined), { fresh: false, gap: null, position: NOTHING_YET });
  assert.deepEqual(judgeReturn(at(5), price(3)), { fresh: false, gap: null, position: at(5) }); // a hub that is behind
  assert.deepEqual(judgeReturn(at(5), price(6)), { fresh: true, gap: null, position: at(6) });
  assert.equal(judgeReturn(null, price(6)).gap.reason, "not_recovered");
});

test("first subscription: snapshot sets the position and is not delivered again", () => {
  const held = holding(5);
  assert.deepEqual(held.positions, { EUR_USD: at(5) });
  assert.deepEqual(told(held.received("price_update", price(5))), []);
  assert.deepEqual(told(held.received("price_update", price(6))), ["e 6"]);
});

test("resumed subscription: missed messages are replayed, then live, each once", () => {
  const held = holding(5);
  assert.deepEqual(held.resumption([])[0].payload, { pairs: ["EUR_USD"], since: { EUR_USD: at(5) } });
  assert.deepEqual(back(held, { snapshot: { EUR_USD: price(7) }, recovered: { EUR_USD: true } }), []);
  const steps = [6, 7, 7, 8].flatMap((seq) => held.received("price_update", price(seq)));
  assert.deepEqual(told(steps), ["e 6", "e 7", "e 8"]);
  assert.deepEqual(
    steps.map(({ replayed }) => replayed),
    [true, true, false],
  );
});

test("resumed subscription, not recovered: gap is reported, snapshot is delivered", () => {
  assert.deepEqual(back(holding(5), { snapshot: { EUR_USD: price(2000) }, recovered: { EUR_USD: false } }), [
    "not_recovered 5..2000 (1994)",
    "e 2000",
  ]);
  assert.deepEqual(back(holding(5), { snapshot: { EUR_USD: price(3, "f") }, recovered: { EUR_USD: false } }), ["epoch 5..3 (?)", "f 3"]);
  const held = holding(5);
  assert.deepEqual(back(held, { recovered: { EUR_USD: false } }), ["not_recovered 5..- (?)"]);
  assert.deepEqual(told(held.received("price_update", price(1, "f"))), ["f 1"]); // reported once
});

test("resumed subscription without prices: resumes at seq 0", () => {
  const held = holding(0);
  held.received("price_update", price(3, "e", "GBP_USD"));
  assert.deepEqual(held.resumption([])[0].payload.since, { EUR_USD: at(0) });
  assert.deepEqual(back(held, { snapshot: { EUR_USD: price(2) }, recovered: { EUR_USD: true } }), []);
  assert.deepEqual(told([1, 2].flatMap((seq) => held.received("price_update", price(seq)))), ["e 1", "e 2"]);
});

test("resumed subscription on a hub that is behind: repetitions are skipped", () => {
  const held = holding(5);
  assert.deepEqual(back(held, { snapshot: { EUR_USD: price(3) }, recovered: { EUR_USD: false } }), []);
  assert.deepEqual(told([4, 5, 6].flatMap((seq) => held.received("price_update", price(seq)))), ["e 6"]);
});

test("subscription with max_rate: skipped messages are no gap", () => {
  const held = holding(5, { max_rate: 5 });
  assert.deepEqual(told([9, 20].flatMap((seq) => held.received("price_update", price(seq)))), ["e 9", "e 20"]);
  assert.deepEqual(held.resumption([])[0].payload, { pairs: ["EUR_USD"], max_rate: 5 });
  assert.deepEqual(back(held, { snapshot: { EUR_USD: price(30) }, max_rate: 5 }), ["not_recovered 20..30 (?)", "e 30"]);
  assert.deepEqual(told(held.noticed({ dropped: { EUR_USD: 4 }, reason: "slow_consumer" })), ["slow_consumer -..- (4)"]);
});

test("gap_notice: reports only messages that no jump of seq has reported", () => {
  const held = holding(5);
  assert.deepEqual(told(held.received("price_update", price(9))), ["sequence 5..9 (3)", "e 9"]);
  assert.deepEqual(held.noticed({ dropped: { EUR_USD: 3 }, reason: "slow_consumer" }), []);
  assert.deepEqual(told(held.noticed({ dropped: { EUR_USD: 3 }, reason: "slow_consumer" })), ["slow_consumer -..- (3)"]);
});

test("changed max_rate: delayed price is delivered from the snapshot", () => {
  const held = holding(5, { max_rate: 1 });
  const steps = held.confirmed({ payload: { pairs: "EUR_USD" } }, confirmed(["EUR_USD"], { snapshot: { EUR_USD: price(8) } }));
  assert.deepEqual(told(steps), ["e 8"]);
  assert.deepEqual(told(held.received("price_update", price(9))), ["e 9"]);
  assert.deepEqual(held.resumption([])[0].payload.since, { EUR_USD: at(9) });
});

test("alerts: gaps are reported while one of their instruments is subscribed", () => {
  const alert = (seq) => ({ instrument1: "EUR_USD", instrument2: "GBP_USD", ...at(seq) });
  const held = holding(5);
  assert.deepEqual(told([3, 3, 4, 6].flatMap((seq) => held.received("correlation_alert", alert(seq)))), [
    "e 3",
    "e 4",
    "sequence 4..6 (1)",
    "e 6",
  ]);
  held.unsubscribed({ pairs: [], removed: ["EUR_USD"] });
  assert.deepEqual(told(held.received("correlation_alert", alert(20))), ["e 20"]);
  assert.deepEqual(held.resumption(["EUR_USD"]), []);
});

test("all alerts: resumed until they end, with the numbers of each topic", () => {
  const held = new Subscriptions();
  const alert = (seq) => ({ instrument: "EUR_USD", volatility: 0.03, severity: "warning", ...at(seq) });
  const told = (seq) => held.received("volatility_alert", alert(seq)).map(({ gap, body }) => gap?.missed ?? body.seq);
  held.confirmed({ payload: { alerts: "all" } }, confirmed([], { alerts: "all" }));
  assert.deepEqual(told(1), [1]);
  held.unsubscribed({ pairs: [], removed: [], alerts: "all" });
  assert.deepEqual([told(1), told(3)], [[], [1, 3]]);
  assert.deepEqual(held.resumption([]), [{ payload: { alerts: "all" }, resumed: true }]);
  held.left(["alerts"]);
  assert.deepEqual(held.resumption([]), []);
  held.confirmed({ payload: { alerts: "all" } }, confirmed([], { alerts: "all" }));
  held.unsubscribed({ pairs: [], removed: [], alerts: null });
  assert.deepEqual([held.resumption([]), told(3)], [[], [3]]);
});

test("subscription to all: resumes with new instruments until one is unsubscribed", () => {
  const held = new Subscriptions();
  held.confirmed({ payload: { pairs: "all" } }, confirmed(["EUR_USD"], { snapshot: { EUR_USD: price(1) } }));
  assert.deepEqual(held.resumption(["EUR_USD", "NEW_ONE"])[0].payload.pairs, ["EUR_USD", "NEW_ONE"]);
  held.unsubscribed({ pairs: [], removed: ["EUR_USD"] });
  assert.deepEqual(held.resumption(["EUR_USD", "NEW_ONE"]), []);
});

test("subscription to all: repeated for added instruments, with the rates of single ones", () => {
  const held = new Subscriptions();
  assert.deepEqual(held.allAgain(), []);
  const payload = { pairs: "all", max_rate: 5 };
  held.confirmed({ payload }, confirmed(["AAPL", "EUR_USD", "GBP_USD"], { max_rate: 5 }));
  assert.deepEqual(held.allAgain(), [payload]);
  held.confirmed({ payload: { pairs: ["EUR_USD"] } }, confirmed(["AAPL", "EUR_USD", "GBP_USD"]));
  held.confirmed({ payload: { pairs: ["AAPL"] } }, confirmed(["AAPL", "EUR_USD", "GBP_USD"], { max_rate: 1 }));
  assert.deepEqual(held.allAgain(), [payload, { pairs: ["AAPL"], max_rate: 1 }, { pairs: ["EUR_USD"] }]);
});

test("resumed candles: changed candles are delivered from the snapshot, after the gap", () => {
  const candle = (seq, epoch) => ({ instrument: "EUR_USD", interval: "1m", candle: {}, ...at(seq, epoch) });
  const [held, room] = [new Subscriptions(), { pair: "EUR_USD", interval: "1m" }];
  const answer = (bodies) => confirmed([], { candles: [room], candle_snapshot: bodies });
  assert.deepEqual(held.confirmed({ payload: { candles: [room] } }, answer([candle(7), candle(5)])), []);
  assert.deepEqual(told([7, 8].flatMap((seq) => held.received("candle_update", candle(seq)))), ["e 8"]);
  const [entry] = held.resumption([]);
  assert.deepEqual(entry, { payload: { candles: [room] }, resumed: true });
  assert.deepEqual(told(held.confirmed(entry, answer([candle(12), candle(11)]))), ["not_recovered 8..11 (2)", "e 11", "e 12"]);
  const [{ gap }] = held.noticed({ dropped: { "EUR_USD|1m": 2 }, reason: "slow_consumer" });
  assert.deepEqual([gap.event, gap.instrument, gap.interval, gap.topic], ["candle_update", "EUR_USD", "1m", "EUR_USD|1m"]);
});

test("resumption of 1,200 instruments: split into requests of 500", () => {
  const pairs = Array.from({ length: 1200 }, (_, number) => `P${number}`);
  const held = new Subscriptions();
  held.confirmed(
    { payload: { pairs } },
    confirmed(pairs, { snapshot: Object.fromEntries(pairs.map((pair) => [pair, price(1, "e", pair)])) }),
  );
  const parts = held.resumption([]);
  assert.deepEqual(
    parts.map(({ payload }) => payload.pairs.length),
    [500, 500, 200],
  );
  assert.deepEqual(
    parts.flatMap(({ payload }) => Object.keys(payload.since)),
    pairs,
  );
});

test("latency: times with microseconds are parsed, statistics are correct", () => {
  assert.equal(milliseconds("1970-01-01T00:00:01.234567Z"), 1234.567);
  assert.equal(milliseconds("1970-01-01T01:00:01+01:00"), 1000);
  const latency = new Latency();
  assert.deepEqual(latency.summary(), { roundTrip: null, price: null, delivery: null, clockOffset: null });
  latency.pinged(10, 1000, "1970-01-01T00:00:02.000Z"); // the hub is 1005 ms ahead
  latency.pinged(30, 2000, "1970-01-01T00:00:09.000Z"); // a longer round trip, which does not change the offset
  latency.priced({ price: { time: "1970-01-01T00:00:04.000Z" }, timestamp: "garbage" }, 3000);
  const { roundTrip, price: age, delivery, clockOffset } = latency.summary();
  assert.deepEqual([clockOffset, age.last, delivery, roundTrip.mean, roundTrip.p95, roundTrip.count], [1005, 5, null, 20, 30, 2]);
});

test("price table: one aligned line per instrument, sorted", () => {
  assert.equal(priceTable([]), "no prices yet");
  const lines = priceTable([price(1), { ...price(1), instrument: "AUD_USD" }]).split("\n");
  assert.deepEqual(
    lines.map((line) => line.split(/ +/)[0]),
    ["instrument", "AUD_USD", "EUR_USD"],
  );
});

test("an instrument without a message resumes in the epoch that the hub has sent for it", () => {
  const subscriptions = new Subscriptions();
  const pairs = ["EUR_USD", "GBP_USD", "USD_JPY"];
  const answer = confirmed(pairs, { snapshot: { GBP_USD: price(4, "other", "GBP_USD") }, positions: { EUR_USD: at(0, "own") } });
  subscriptions.confirmed({ payload: { pairs }, resumed: false }, answer);
  const [{ payload }] = subscriptions.resumption(pairs);
  // An older hub sends no positions: then the epoch of another instrument is the only known one.
  assert.deepEqual(payload.since, { EUR_USD: at(0, "own"), GBP_USD: at(4, "other"), USD_JPY: at(0, "other") });
});
