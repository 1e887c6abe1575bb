// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { spans } from "../src/instrument/market_sessions.js";

const LONDON = { name: "London", zone: "Europe/London", opens: "08:00", closes: "17:00", weekdays: [1, 2, 3, 4, 5] };
const SYDNEY = { name: "Sydney", zone: "Australia/Sydney", opens: "07:00", closes: "16:00", weekdays: [1, 2, 3, 4, 5] };

/** @param {any[]} sessions @param {string} from @param {string} to */
function texts(sessions, from, to) {
  return spans(sessions, Date.parse(from), Date.parse(to)).map((span) =>
    `${span.row} ${span.name} ${[span.from, span.to].map((ms) => new Date(ms).toISOString().slice(0, 16)).join(" ")}`);
}

test("hours follow the clock of the session's place", () => {
  // clocks in London go back on 2025-10-26: 08:00 is 07:00 UTC before, 08:00 UTC after
  assert.deepEqual(texts([LONDON], "2025-10-24T00:00Z", "2025-10-28T00:00Z"), [
    "0 London 2025-10-24T07:00 2025-10-24T16:00",
    "0 London 2025-10-27T08:00 2025-10-27T17:00",
  ]);
});

test("a session of the next local day begins on the UTC day before", () => {
  // Monday 07:00 in Sydney (UTC+11) is Sunday 20:00 UTC
  assert.deepEqual(texts([LONDON, SYDNEY], "2025-11-16T12:00Z", "2025-11-17T12:00Z"), [
    "0 London 2025-11-17T08:00 2025-11-17T17:00",
    "1 Sydney 2025-11-16T20:00 2025-11-17T05:00",
  ]);
});

test("only spans inside the range are returned", () => {
  assert.deepEqual(texts([LONDON], "2025-11-15T00:00Z", "2025-11-16T00:00Z"), []); // a Saturday
});
