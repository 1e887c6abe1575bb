/** One order book, kept from snapshots and updates and verified after each message. Pure. */

const CHECKED_LEVELS = 10; // a side
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** The unsigned CRC32 of an ASCII text, as in zlib. */
export function crc32(text) {
  let value = 0xffffffff;
  for (let at = 0; at < text.length; at += 1) value = (value >>> 8) ^ TABLE[(value ^ text.charCodeAt(at)) & 0xff];
  return (value ^ 0xffffffff) >>> 0;
}

/** CRC32 of `bid price:bid quantity:ask price:ask quantity` in turns, joined by `:`. */
export function checksum(bids, asks, depth) {
  const turns = [];
  for (let at = 0; at < Math.min(CHECKED_LEVELS, depth); at += 1)
    for (const level of [bids[at], asks[at]]) if (level) turns.push(`${level[0]}:${level[1]}`);
  return crc32(turns.join(":"));
}

/** The body of a `book_snapshot` or `book_response`, with `verified`. */
export function verified(body) {
  return { ...body, verified: checksum(body.bids, body.asks, body.depth) === body.checksum };
}

/**
 * The book of one instrument and depth.
 *
 * An update follows the message with `seq` - 1 of the same epoch. If one is missing, or a checksum
 * differs, the chain is broken: updates are skipped up to the next snapshot.
 */
export class OrderBook {
  topic; // { pair, depth }
  rate;
  broken = false;
  last = null; // the last book that was passed on
  #position = null; // { epoch, seq }; null: any snapshot may follow
  #sides = [new Map(), new Map()]; // bids and asks: number -> [price, quantity]

  constructor(pair, depth, rate) {
    this.topic = { pair, depth };
    this.rate = rate;
  }

  /** The connection has ended. */
  lost() {
    this.#position = null;
  }

  /** The book after a snapshot; null if the snapshot is older than the book. */
  snapshot(body) {
    const own = this.#position;
    if (own && !this.broken && body.epoch === own.epoch && body.seq < own.seq) return null;
    return this.#take([applied(new Map(), body.bids), applied(new Map(), body.asks)], body, body);
  }

  /** The book after an update; null if the chain is broken or the book contains it already. */
  update(body) {
    const own = this.#position;
    if (!own || this.broken) {
      this.broken = true;
      return null;
    }
    if (body.epoch === own.epoch && body.seq <= own.seq) return null;
    if (body.epoch !== own.epoch || body.seq !== own.seq + 1) return this.#break();
    const [bids, asks] = this.#sides;
    return this.#take([applied(bids, body.bids), applied(asks, body.asks)], body, this.last);
  }

  /** The state of the book has changed. */
  changed({ state, reason }) {
    if (this.last) this.last = { ...this.last, state, reason };
  }

  #take(sides, body, { state, reason, complete }) {
    const [bids, asks] = [best(sides[0], -1), best(sides[1], 1)];
    const agrees = checksum(bids, asks, body.depth) === body.checksum;
    if (!agrees && this.last) return this.#break();
    this.broken = !agrees;
    this.#position = { epoch: body.epoch, seq: body.seq };
    this.#sides = sides;
    this.last = { ...body, state, reason, bids, asks, complete, verified: agrees };
    return this.last;
  }

  #break() {
    this.broken = true;
    if (!this.last?.verified) return null;
    this.last = { ...this.last, verified: false };
    return this.last;
  }
}

/** A side after changes: quantity 0 removes a level. */
function applied(side, levels) {
  const after = new Map(side);
  for (const [price, quantity] of levels) {
    if (Number(quantity)) after.set(Number(price), [price, quantity]);
    else after.delete(Number(price));
  }
  return after;
}

function best(side, direction) {
  return [...side].sort(([a], [b]) => direction * (a - b)).map(([, level]) => level);
}
