// Order books: client rule, checksum, repair, reconnections, without a hub.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Books } from "../src/books.js";
import { checksum, crc32, verified } from "../src/order_book.js";
import { Subscriptions } from "../src/subscriptions.js";

const TOPIC = { pair: "BTCUSDT", depth: 20 };
const BIDS = [["61837.63000000", "3.78826000"], ["61837.62000000", "0.00018000"]]; // prettier-ignore
const ASKS = [["61837.64000000", "1.43377000"], ["61838.00000000", "0.05000000"], ["61838.01000000", "0.31000000"]]; // prettier-ignore

function snapshot(seq, { bids = BIDS, asks = ASKS, epoch = "e", ...more } = {}) {
  const complete = { bids: 2, asks: 3, from: null, to: null };
  const book = { instrument: "BTCUSDT", depth: 20, state: "live", reason: "start", bids, asks, complete, seq, epoch };
  return { ...book, checksum: checksum(bids, asks, 20), ...more };
}
const update = (seq, bids, asks, after, more = {}) => ({
  ...{ instrument: "BTCUSDT", depth: 20, bids, asks, seq, epoch: "e" },
  checksum: checksum(...after, 20),
  ...more,
});
const confirmed = (books, more = {}) => ({ pairs: [], rejected: [], snapshot: {}, recovered: {}, max_rate: null, books, ...more });

function joined(seq = 1) {
  const held = new Subscriptions();
  const steps = held.confirmed({ payload: { books: [TOPIC] } }, confirmed([TOPIC], { book_snapshot: [snapshot(seq)] }));
  assert.deepEqual(steps, [{ book: verified(snapshot(seq)) }]);
  return held;
}

test("crc32: the check value of the algorithm, and an unsigned result", () => {
  assert.equal(crc32("123456789"), 0xcbf43926);
  assert.equal(crc32(""), 0);
});

test("checksum: bid and ask in turns, at most ten levels, a shorter side skipped", () => {
  const many = Array.from({ length: 12 }, (_, place) => [`${place}`, "1"]);
  assert.equal(checksum([["2", "5"]], [["3", "6"], ["4", "7"]], 20), crc32("2:5:3:6:4:7")); // prettier-ignore
  assert.equal(checksum(many, [], 20), crc32(many.slice(0, 10).flat().join(":")));
  assert.equal(checksum(many, [], 5), crc32(many.slice(0, 5).flat().join(":")));
});

test("book: updates change, remove and insert levels", () => {
  const { books } = joined();
  const bids = [["61837.635", "1"], BIDS[1]]; // prettier-ignore
  const asks = [ASKS[0], ["61838.00000000", "9"], ASKS[2]]; // prettier-ignore
  const change = update(2, [["61837.635", "1"], [BIDS[0][0], "0"]], [["61838.00000000", "9"]], [bids, asks]); // prettier-ignore
  const [{ book }] = books.received("book_update", change);
  assert.deepEqual([book.bids, book.asks, book.verified, book.state, book.seq], [bids, asks, true, "live", 2]);
  assert.deepEqual(books.latest.get("BTCUSDT|20"), book);
  assert.deepEqual(books.received("book_update", change), []); // a repetition
  assert.deepEqual(books.takeBroken(), []);
});

for (const [name, event, body] of [
  ["a missing message", "book_update", update(3, [], [], [BIDS, ASKS])],
  ["another epoch", "book_update", update(2, [], [], [BIDS, ASKS], { epoch: "f" })],
  ["a wrong checksum", "book_update", update(2, [], [], [BIDS, ASKS], { checksum: 1 })],
  ["a wrong checksum of a snapshot", "book_snapshot", snapshot(2, { checksum: 1 })],
]) {
  test(`book: after ${name}, it is marked and requested until a snapshot replaces it`, () => {
    const { books } = joined();
    const steps = books.received(event, body);
    assert.deepEqual(steps, [{ book: { ...verified(snapshot(1)), verified: false } }]);
    assert.deepEqual(books.takeBroken(), [TOPIC]);
    assert.deepEqual(books.received("book_update", update(4, [], [], [BIDS, ASKS])), []);
    assert.deepEqual(books.takeBroken(), [TOPIC]);
    assert.deepEqual(books.received("book_response", snapshot(4)), [{ book: verified(snapshot(4)) }]);
    assert.equal(books.received("book_update", update(5, [], [], [BIDS, ASKS])).length, 1);
    assert.deepEqual(books.takeBroken(), []);
  });
}

test("book: its state follows book_state, and an older snapshot is skipped", () => {
  const { books } = joined(5);
  books.received("book_state", { instrument: "BTCUSDT", state: "gap", reason: "overflow" });
  assert.deepEqual([books.latest.get("BTCUSDT|20").state, books.latest.get("BTCUSDT|20").reason], ["gap", "overflow"]);
  assert.deepEqual(books.received("book_snapshot", snapshot(4)), []);
  assert.equal(books.received("book_snapshot", snapshot(5))[0].book.state, "live");
});

test("resumption: books by rate, then the heartbeat; any snapshot may follow", () => {
  const held = joined(9);
  const eth = { pair: "ETHUSDT", depth: 5 };
  held.confirmed({ payload: { books: [eth], heartbeat: true } }, confirmed([TOPIC, eth], { heartbeat: true, max_rate: 5 }));
  const requests = held.resumption([]);
  const payloads = [{ books: [TOPIC] }, { books: [eth], max_rate: 5 }, { heartbeat: true }];
  assert.deepEqual(requests, payloads.map((payload) => ({ payload, resumed: true }))); // prettier-ignore
  const steps = held.confirmed(requests[0], confirmed([TOPIC], { book_snapshot: [snapshot(3)] }));
  assert.deepEqual(steps, [{ book: verified(snapshot(3)) }]);
});

test("resumption: a book that the hub does not have yet is subscribed again", () => {
  const held = joined();
  const rejected = [{ ...TOPIC, code: "no_book", message: "" }];
  held.confirmed(held.resumption([])[0], confirmed([], { rejected }));
  assert.ok(held.books.hasMissing);
  held.unsubscribed({ pairs: [], removed: [] }); // of a price
  const [request] = held.books.missingAgain();
  assert.deepEqual(request.payload, { books: [TOPIC] });
  held.confirmed(request, confirmed([TOPIC], { book_snapshot: [snapshot(1, { epoch: "f" })] }));
  assert.ok(!held.books.hasMissing);
  assert.equal(held.books.latest.get("BTCUSDT|20").epoch, "f");
});

test("books: end with a refusal, an unsubscription, lost rights, their instrument", () => {
  const ends = [
    (held) => held.unsubscribed({ pairs: [], removed: [], books: [] }),
    (held) => held.left(["book_BTCUSDT_20"]),
    (held) => held.dropped(["BTCUSDT"]),
    (held) => held.confirmed(held.resumption([])[0], confirmed([], { rejected: [{ ...TOPIC, code: "forbidden" }] })),
    (held) => {
      held.confirmed(held.resumption([])[0], confirmed([], { rejected: [{ ...TOPIC, code: "no_book" }] }));
      held.books.leaving([TOPIC]);
    },
  ];
  for (const end of ends) {
    const held = joined();
    end(held);
    assert.deepEqual(held.resumption([]), []);
    assert.deepEqual(held.books.received("book_update", update(2, [], [], [BIDS, ASKS])), []);
  }
});

test("gap_notice: books need no gap, since a snapshot has replaced their updates", () => {
  assert.deepEqual(joined().noticed({ dropped: { "BTCUSDT|20": 12 }, reason: "slow_consumer" }), []);
  assert.ok(Books.isKey("BTCUSDT|20") && !Books.isKey("BTCUSDT|1m") && !Books.isKey("BTCUSDT"));
});
