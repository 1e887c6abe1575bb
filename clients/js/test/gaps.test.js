// Gaps that are filled from REST, without a hub.
import assert from "node:assert/strict";
import { test } from "node:test";
import { GapFiller } from "../src/gap_filler.js";

const TIME = "2025-11-18T12:00:00.000000Z";
const row = (seq) => ({ symbol: "EUR_USD", bid: "1", ask: "1", mid: "1", time: TIME, received: TIME, seq, epoch: "one" });
const price = (seq) => ({ event: "price_update", body: { instrument: "EUR_USD", price: { time: TIME }, seq, epoch: "one" } });
const gap = { event: "price_update", instrument: "EUR_USD", reason: "not_recovered", resumed: true, missed: 3 };
const ends = { from: { epoch: "one", seq: 2 }, to: { epoch: "one", seq: 6 } };

/** Pass a gap of three prices on; return the steps up to the price after it, as numbers and reasons. */
async function filled(answers, timeout = 5_000) {
  const rest = {
    url: "http://rest",
    requests: 0,
    async request() {
      const rows = answers[Math.min(this.requests++, answers.length - 1)];
      if (!rows) throw new Error("no answer");
      return { ticks: rows, next_page_token: null };
    },
  };
  return new Promise((resolve) => {
    const passed = [];
    const filler = new GapFiller(rest, timeout, (step) => {
      passed.push(step.gap ? [step.gap.reason, step.gap.missed] : step.body.seq);
      if (passed.at(-1) === 6) resolve(passed);
    });
    for (const step of [price(2), { gap: { ...gap, ...ends } }, price(6)]) filler.step(step);
  });
}

test("gaps: stored prices come before the next one", async () => {
  assert.deepEqual(await filled([[row(5), row(3), row(4)]]), [2, ["not_recovered", 3], 3, 4, 5, 6]);
});

test("gaps: REST that does not answer adds no gap", async () => {
  assert.deepEqual(await filled([null]), [2, ["not_recovered", 3], 6]);
});

test("gaps: the last answer counts if REST does not answer again", async () => {
  assert.deepEqual(await filled([[row(3)], null]), [2, ["not_recovered", 3], 3, ["not_stored", 2], 6]);
  assert.deepEqual(await filled([[], null]), [2, ["not_recovered", 3], ["not_stored", 3], 6]);
});
