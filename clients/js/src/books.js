/** The subscribed order books of a client, and its subscription to heartbeats. Pure. */
import { OrderBook } from "./order_book.js";

const BOOKS_PER_REQUEST = 500; // the hub accepts 1,000

export class Books {
  /** "PAIR|depth" -> OrderBook */
  #books = new Map();
  /**
   * Books that a hub has refused with `no_book` after a reconnection: that hub, or Redis, may have
   * started before the process that keeps the books.
   */
  #missing = new Set();
  #broken = new Set(); // books to request
  heartbeat = false;

  /** "PAIR|depth" -> the newest book */
  get latest() {
    return new Map([...this.#books].filter(([, { last }]) => last).map(([key, { last }]) => [key, last]));
  }

  get hasMissing() {
    return this.#missing.size > 0;
  }

  /** Whether "PAIR|depth" is a book; candles have an interval in place of the depth. */
  static isKey(key) {
    return /\|\d+$/.test(key);
  }

  /** The subscribe requests for a new connection. */
  resumption() {
    this.#missing.clear();
    this.#broken.clear();
    for (const book of this.#books.values()) book.lost();
    const requests = this.#requests([...this.#books.values()]);
    return this.heartbeat ? [...requests, { payload: { heartbeat: true }, resumed: true }] : requests;
  }

  /** The requests that subscribe to the missing books again. */
  missingAgain() {
    return this.#requests([...this.#missing].map((key) => this.#books.get(key)));
  }

  #requests(books) {
    return [...new Set(books.map(({ rate }) => rate))].flatMap((rate) => {
      const topics = books.filter((book) => book.rate === rate).map(({ topic }) => topic);
      const parts = [];
      for (let at = 0; at < topics.length; at += BOOKS_PER_REQUEST) parts.push(topics.slice(at, at + BOOKS_PER_REQUEST));
      const more = rate === null ? {} : { max_rate: rate };
      return parts.map((some) => ({ payload: { books: some, ...more }, resumed: true }));
    });
  }

  /** `subscription_confirmed`, the answer to `{ payload, resumed }`. The steps of its snapshots. */
  confirmed({ payload, resumed }, body) {
    const held = new Set((body.books ?? []).map(keyOf));
    if (payload.heartbeat) this.heartbeat = Boolean(body.heartbeat);
    for (const item of payload.books ?? []) {
      const key = keyOf(item);
      if (held.has(key)) this.#join(key, item, body.max_rate);
      else if (resumed && this.#books.has(key) && mayReturn(key, body)) this.#missing.add(key);
      else this.#drop(key);
    }
    return (body.book_snapshot ?? []).flatMap((each) => this.received("book_snapshot", each));
  }

  #join(key, { pair, depth }, rate) {
    this.#missing.delete(key);
    const book = this.#books.get(key);
    if (book) book.rate = rate;
    else this.#books.set(key, new OrderBook(pair, depth, rate));
  }

  #drop(key) {
    this.#books.delete(key);
    this.#missing.delete(key);
    this.#broken.delete(key);
  }

  /** A request to unsubscribe is sent: drop the missing books, which its answer cannot name. */
  leaving(books) {
    for (const key of books === "all" ? [...this.#missing] : (books ?? []).map(keyOf)) if (this.#missing.has(key)) this.#drop(key);
  }

  /** `unsubscription_confirmed`: drop all books that are no longer subscribed. */
  unsubscribed(body) {
    const held = new Set((body.books ?? []).map(keyOf));
    this.heartbeat &&= Boolean(body.heartbeat);
    for (const key of [...this.#books.keys()]) if (!held.has(key) && !this.#missing.has(key)) this.#drop(key);
  }

  /** Drop the books of instruments that are gone. */
  dropped(instruments) {
    for (const [key, { topic }] of [...this.#books]) if (instruments.has(topic.pair)) this.#drop(key);
  }

  /** The client has left a room for want of rights: `book_PAIR_DEPTH` or `heartbeat`. */
  left(room) {
    const [, pair, depth] = /^book_(.+)_(\d+)$/.exec(room) ?? [];
    if (room === "heartbeat") this.heartbeat = false;
    if (pair) this.#drop(`${pair}|${depth}`);
  }

  /** The books after a message, as steps. */
  received(event, body) {
    if (event === "book_state") {
      for (const book of this.#books.values()) if (book.topic.pair === body.instrument) book.changed(body);
      return [];
    }
    const key = `${body.instrument}|${body.depth}`;
    const book = this.#books.get(key);
    if (!book) return [];
    const after = event === "book_update" ? book.update(body) : book.snapshot(body);
    if (book.broken) this.#broken.add(key);
    else this.#broken.delete(key);
    return after ? [{ book: after }] : [];
  }

  /** The books to request, each once: `{ pair, depth }`. */
  takeBroken() {
    const topics = [...this.#broken].map((key) => this.#books.get(key).topic);
    this.#broken.clear();
    return topics;
  }
}

function keyOf(item) {
  return `${item?.pair}|${item?.depth}`;
}

/** Whether the hub may have the book later. It lists its first 20 refusals. */
function mayReturn(key, { rejected = [] }) {
  const refusal = rejected.find((item) => keyOf(item) === key);
  return !refusal || refusal.code === "no_book";
}
