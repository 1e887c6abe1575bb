// The order of snapshots: the answer to `subscribe` has one too.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Snapshots } from "../src/snapshots.js";

const body = (seq, epoch = "e1") => ({ epoch, seq, strategy: {} });

test("snapshots: an answer that is older than an event is left out", async () => {
  let answer;
  const snapshots = new Snapshots(() => new Promise((resolve) => (answer = resolve)), 1000);
  const iterator = snapshots.iterator();
  const first = iterator.next();
  answer({ snapshot: body(129) });
  snapshots.received("metrics_update", body(130)); // in the same turn as the answer, whose promise comes later
  assert.equal((await first).value.seq, 130);
  await new Promise(setImmediate);
  const second = iterator.next();
  snapshots.received("metrics_update", body(131));
  assert.equal((await second).value.seq, 131);
  const third = iterator.next();
  snapshots.received("metrics_update", body(1, "e2")); // another observer numbers anew
  assert.equal((await third).value.epoch, "e2");
});
