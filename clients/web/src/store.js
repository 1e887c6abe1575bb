// @ts-check
/** Rows of all instruments, the newest price of each, and what REST adds to it. No DOM. */
import { Ring } from "./ring.js";
import { Topics } from "./topics.js";

const SPARK_POINTS = 24;
const GAP_MARK_MS = 60_000;
const BACKLOG_POINTS = 180; // 15 min, one each 5 s
const MAX_GAPS = 200; // in the list of the system view

/**
 * @param {import("./types.js").Clock} clock
 * @param {(symbol: string, updates?: number) => void} mark called for each changed row
 * @returns {import("./types.js").Store}
 */
export function createStore(clock, mark) {
  return new Store(clock, mark);
}

class Store {
  #topics = new Topics();
  #clock;
  #mark;
  /** Prices of instruments that are not yet in the list. @type {Map<string, any>} */
  #early = new Map();
  /** @type {Map<string, import("./types.js").Row>} */
  rows = new Map();
  /** @type {string[]} */
  symbols = [];
  /** Instruments without `max_rate`: each change of them may be tinted. @type {Set<string>} */
  fullRate = new Set();
  /** The last answer of /health. @type {any} */
  health = null;
  /** Price gaps since load, oldest first. @type {{symbol: string, count: number, at: number, reason: string}[]} */
  gaps = [];
  gapCount = 0;
  /** Accepted prices that are not stored yet, of each answer of /health of the last 15 minutes. */
  backlog = new Ring(1, BACKLOG_POINTS);

  /** @param {import("./types.js").Clock} clock @param {(symbol: string, updates?: number) => void} mark */
  constructor(clock, mark) {
    this.#clock = clock;
    this.#mark = mark;
  }

  /** @param {string} topic @param {Function} listener */
  on(topic, listener) {
    return this.#topics.on(topic, listener);
  }

  /** @param {string} topic @param {any[]} values */
  emit(topic, ...values) {
    this.#topics.emit(topic, ...values);
  }

  /** @param {any[]} list entries of /symbols */
  setInstruments(list) {
    const names = list.map(({ symbol }) => symbol);
    const changed = names.length !== this.symbols.length || names.some((name, index) => name !== this.symbols[index]);
    const listed = new Set(names);
    for (const symbol of [...this.rows.keys()]) if (!listed.has(symbol)) this.rows.delete(symbol);
    for (const entry of list) this.#instrument(entry);
    this.symbols = names;
    if (changed) this.emit("instruments");
    for (const [symbol, body] of [...this.#early]) if (listed.has(symbol)) this.price(body, { replayed: true });
    this.#early.clear();
  }

  /** @param {any} entry */
  #instrument(entry) {
    const row = this.rows.get(entry.symbol) ?? emptyRow(entry.symbol);
    row.name = entry.name ?? entry.symbol;
    row.kind = entry.kind;
    row.marketOpen = entry.market_open ?? null;
    row.staleAfter = entry.stale_after ?? row.staleAfter;
    this.rows.set(entry.symbol, row);
    this.#mark(entry.symbol);
  }

  /** @param {any} body answer of /market */
  setMarket(body) {
    for (const [symbol, entry] of Object.entries(body.instruments)) {
      const row = this.rows.get(symbol);
      if (!row) continue;
      row.reference = entry.reference;
      row.day = entry.day;
      row.spark = (entry.spark ?? []).slice(-SPARK_POINTS).map(Number);
      row.marketOpen = entry.market_open;
      row.staleAfter = entry.stale_after;
      const { bid, ask, mid, time, timestamp, seq, epoch } = entry;
      if (mid !== null) this.price({ instrument: symbol, price: { bid, ask, mid, time }, timestamp, seq, epoch }, { replayed: true });
      this.#mark(symbol);
    }
    this.emit("market");
  }

  /**
   * A price of the hub. `replayed`: it may be older than the one shown, and is not tinted.
   * @param {any} body
   * @param {{replayed?: boolean}} [about]
   */
  price(body, { replayed = false } = {}) {
    const row = this.rows.get(body.instrument);
    if (!row) {
      this.#early.set(body.instrument, body);
      return;
    }
    const sent = this.#clock.parse(body.timestamp);
    const at = Number.isFinite(sent) ? sent : this.#clock.now();
    if (isOld(row, body, at, replayed)) return;
    const { bid, ask, mid, time } = body.price;
    const step = row.mid === null ? 0 : Number(mid) - Number(row.mid);
    if (step) row.direction = step > 0 ? 1 : -1;
    const least = this.fullRate.has(row.symbol) ? 0 : Number(ask) - Number(bid);
    row.tintable = !replayed && step !== 0 && Math.abs(step) >= least;
    Object.assign(row, { bid, ask, mid, time, at });
    row.timestamp = body.timestamp ?? null;
    row.seq = body.seq ?? null;
    row.epoch = body.epoch ?? null;
    this.#mark(row.symbol, 1);
  }

  /** Price messages were not recovered. @param {string} symbol @param {number} count @param {string} reason */
  gap(symbol, count, reason) {
    const now = this.#clock.now();
    const row = this.rows.get(symbol);
    this.gapCount += count;
    this.gaps.push({ symbol, count, at: now, reason });
    if (this.gaps.length > MAX_GAPS) this.gaps.shift();
    if (row) {
      const before = row.gap && row.gap.until > now ? row.gap.count : 0;
      row.gap = { count: before + count, until: now + GAP_MARK_MS };
      this.#mark(symbol);
    }
    this.emit("gaps");
  }

  /** @param {any} body answer of /health; null if it is unknown */
  setHealth(body) {
    this.health = body;
    if (body) this.backlog.push(this.#clock.parse(body.timestamp), [body.writer?.unstored ?? null]);
    this.emit("sources");
  }

  /** Forget everything: the user has signed out. */
  clear() {
    this.rows.clear();
    this.#early.clear();
    this.fullRate.clear();
    this.backlog.clear();
    [this.symbols, this.gaps, this.gapCount, this.health] = [[], [], 0, null];
    this.emit("cleared");
    this.emit("instruments");
    this.emit("sources");
  }
}

/** @param {import("./types.js").Row} row @param {any} body @param {number} at @param {boolean} replayed */
function isOld(row, body, at, replayed) {
  if (row.mid === null) return false;
  if (typeof body.seq === "number" && row.seq !== null && body.epoch === row.epoch) return body.seq <= row.seq;
  return replayed && at <= row.at;
}

/** @param {string} symbol @returns {import("./types.js").Row} */
function emptyRow(symbol) {
  return {
    symbol,
    name: symbol,
    kind: "fx",
    bid: null,
    ask: null,
    mid: null,
    time: null,
    timestamp: null,
    seq: null,
    epoch: null,
    at: 0,
    direction: 0,
    tintable: false,
    reference: null,
    day: null,
    spark: [],
    marketOpen: null,
    staleAfter: null,
    gap: null,
  };
}
