// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

import { ZONES, date, dateTime, dayStart, dayStarts, minute, names, offset, resolved, time, tooltip, tradingDay, valid } from "../src/zones.js";
import { cases } from "./cases.js";

const HOUR = 3_600_000;

test("times and days equal those of zoneinfo, around the clock changes too", () => {
  for (const { ms, zone, text, offset: expected, day_start: start } of cases("zones")) {
    assert.equal(dateTime(ms, zone), text, `${ms} ${zone}`);
    assert.equal(date(ms, zone), text.slice(0, 10));
    assert.equal(time(ms, zone), text.slice(11));
    assert.equal(minute(ms, zone), text.slice(11, 16));
    assert.equal(offset(ms, zone), expected, `${ms} ${zone}`);
    assert.equal(dayStart(ms, zone), start, `day of ${text} ${zone}`);
  }
});

test("17:00 New York is the end of the trading day all year", () => {
  for (const { ms, date: day } of cases("new_york_closes")) {
    assert.equal(dateTime(ms, "America/New_York"), `${day} 17:00:00`);
    assert.equal(tradingDay(ms), day);
  }
});

test("a day that ends at 00:00 UTC has the date of its content", () => {
  assert.equal(tradingDay(Date.UTC(2025, 10, 19)), "2025-11-18");
});

test("days of 23 and 25 hours have one start each", () => {
  const starts = dayStarts(Date.UTC(2025, 10, 1), Date.UTC(2025, 10, 5), "America/New_York");
  assert.deepEqual(starts.map((ms) => dateTime(ms, "America/New_York").slice(5)), [
    "11-01 00:00:00", "11-02 00:00:00", "11-03 00:00:00", "11-04 00:00:00",
  ]);
  assert.equal(starts[2] - starts[1], 25 * HOUR);
});

test("a tooltip contains UTC as well", () => {
  const ms = Date.UTC(2025, 6, 1, 12);
  assert.equal(tooltip(ms, "UTC"), "2025-07-01 12:00:00 UTC");
  assert.equal(tooltip(ms, "Asia/Tokyo"), "2025-07-01 21:00:00 Asia/Tokyo · 2025-07-01 12:00:00 UTC");
});

test("zones are found by their IANA names", () => {
  assert.ok(ZONES.every(({ name }) => valid(name)));
  assert.ok(names().includes("Europe/Paris") && names()[0] === "UTC");
  assert.equal(valid("Atlantis/Capital"), false);
  assert.equal(offset(0, "Atlantis/Capital"), 0);
  assert.equal(resolved("browser"), Intl.DateTimeFormat().resolvedOptions().timeZone);
});
