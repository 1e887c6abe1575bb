import assert from "node:assert/strict";
import test from "node:test";
import { filterOf, matches, severityMark, thresholdText, valueText } from "../src/alerts/alert_text.js";
import { inOrder, supersedes } from "../src/alerts/alerts.js";
import { ofChange, ofMarket, summary } from "../src/alerts/alert_notices.js";

const alert = {
  alert_id: "a", type: "volatility", subject: "EUR_USD", severity: "warning", state: "firing", symbol: "EUR_USD", symbol2: null,
  time: "2025-11-18T12:00:00.000000Z", updated_at: "2025-11-18T12:00:00.000000Z", value: 0.0228, previous: null, threshold: 0.02,
};

test("values have the unit of their type", () => {
  assert.equal(valueText(alert), "2.28 %");
  assert.equal(valueText({ ...alert, type: "correlation", value: 0.5, previous: 0.875 }), "+0.50, was +0.88");
  assert.equal(thresholdText({ ...alert, type: "correlation", threshold: 0.2 }), "change 0.2");
  assert.equal(valueText({ ...alert, type: "system", subject: "disk", value: 96.1 }), "96.1 %");
  assert.equal(valueText({ ...alert, type: "system", subject: "writer_lag", value: 12345 }), "12,345");
  assert.equal(valueText({ ...alert, type: "system", subject: "process:hub", value: 7.25 }), "7.25 s");
  assert.equal(valueText({ ...alert, type: "execution", subject: "reject_rate", value: 0.25 }), "25 %");
  assert.equal(valueText({ ...alert, value: null }), "–");
  assert.deepEqual(["warning", "critical"].map(severityMark), ["▲", "▲▲"]);
});

test("a filter ignores unknown values of an address", () => {
  const now = Date.parse("2025-11-18T12:00:00Z");
  const filter = filterOf(new URLSearchParams("type=volatility&state=nope&since=24h&symbol=EUR_USD"), now);
  assert.deepEqual(filter, { type: "volatility", severity: "", state: "", symbol: "EUR_USD", start: "2025-11-17T12:00:00.000Z" });
  assert.ok(matches(alert, filter));
  assert.ok(!matches({ ...alert, time: "2025-11-17T11:59:59.999999Z" }, filter));
  assert.ok(matches({ ...alert, symbol: "AAPL", symbol2: "EUR_USD" }, filter));
  assert.ok(!matches({ ...alert, symbol: "AAPL" }, filter));
});

test("firing alerts come first, the newest of them before the others", () => {
  const make = (alert_id, state, time) => ({ ...alert, alert_id, state, time });
  const list = [make("r", "resolved", "4"), make("k", "acknowledged", "3"), make("f1", "firing", "1"), make("f2", "firing", "2")];
  assert.deepEqual(list.sort(inOrder).map(({ alert_id }) => alert_id), ["f2", "f1", "k", "r"]);
});

test("an older state never replaces a newer one", () => {
  const acknowledged = { ...alert, state: "acknowledged", updated_at: "2025-11-18T12:01:00.000000Z" };
  assert.ok(supersedes(acknowledged, alert));
  assert.ok(!supersedes(alert, acknowledged));
  assert.ok(!supersedes(acknowledged, { ...alert, state: "resolved" }));
  assert.ok(supersedes(alert, undefined));
});

test("an alert that arrives in both ways has one key", () => {
  const market = ofMarket({ event: "volatility_alert", body: { instrument: "EUR_USD", severity: "warning", message: "m" } });
  const change = ofChange({ event_type: "system_alert", details: alert });
  assert.equal(market.key, change.key);
  assert.equal(ofChange({ event_type: "system_alert", details: { ...alert, state: "resolved" } }), null);
  assert.equal(ofChange({ event_type: "trade_executed" }), null);
  assert.equal(summary([market, { ...market, critical: true }]), "2 new alerts, 1 critical");
  assert.equal(summary([market]), "1 new alert");
});
