// The shared subscription to events of `/metrics`, without a hub.
import assert from "node:assert/strict";
import { test } from "node:test";
import { TickwireError } from "../src/errors.js";
import { Events } from "../src/events.js";

/** A client whose hub answers with these errors first, then with success. */
function connected(...errors) {
  const [sent, problems, state] = [[], [], { open: true }];
  const send = async (event, payload) => {
    sent.push(`${event} ${payload.channels}`);
    const error = errors.shift();
    if (error) throw error;
    return {};
  };
  const events = new Events(send, 1000, () => state.open, (error) => problems.push(error.code)); // prettier-ignore
  return { events, sent, problems, state };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));
const refusal = (code, details = {}) => new TickwireError(code, "No.", { event: "subscribe", details });

test("events: the first handler subscribes, the last one unsubscribes, a new connection repeats it", async () => {
  const { events, sent } = connected();
  const [first, second] = [events.follow(), events.follow()];
  await settled();
  assert.deepEqual(sent, ["subscribe events"]);
  events.resume();
  await settled();
  first();
  first();
  await settled();
  assert.deepEqual(sent.splice(0), ["subscribe events", "subscribe events"]);
  second();
  events.follow()(); // the unsubscribe is not answered yet
  await settled();
  assert.deepEqual(sent.splice(0), ["unsubscribe events"]);
  events.resume();
  await settled();
  assert.deepEqual(sent, []);
});

test("events: without a connection nothing is sent", async () => {
  const { events, sent, state } = connected();
  state.open = false;
  events.follow();
  await settled();
  assert.deepEqual(sent, []);
  state.open = true;
  events.resume();
  await settled();
  assert.deepEqual(sent, ["subscribe events"]);
});

test("events: lost answers and limits are repeated", async () => {
  const { events, sent, problems } = connected(refusal("timeout"), refusal("disconnected"), refusal("too_many_requests", { retry_after: 0 }));
  const found = [];
  events.follow((error) => found.push(error.code));
  while (sent.length < 4) await settled();
  await settled();
  assert.deepEqual([sent.length, found, problems], [4, [], []]);
});

test("events: a refusal reaches each handler, and another handler tries again", async () => {
  const local = Object.assign(refusal("forbidden"), { local: true });
  const { events, sent, problems } = connected(local, refusal("forbidden"));
  const found = [];
  const follow = () => events.follow((error) => found.push(error.code));
  follow();
  await settled();
  assert.deepEqual([found, problems], [["forbidden"], ["forbidden"]]);
  follow();
  await settled();
  assert.deepEqual(found, ["forbidden", "forbidden", "forbidden"]);
  assert.deepEqual(problems, ["forbidden"]); // the second one arrives as an `error` event
  follow();
  await settled();
  assert.deepEqual([sent.length, found.length], [3, 3]);
});
