/**
 * Fills the gap of a resumption that the hub could not fill, from `GET /ticks` of REST.
 *
 * The gap is passed on at once. The later prices of its instrument wait until the stored prices
 * have been passed on, at most `timeout` ms, so that the order stays.
 */
import { pause } from "./limits.js";

const RETRY_MS = 200; // the store is about a second behind the hub
const TIME_MARGIN_MS = 5 * 60_000; // the time of a late price may lie so far outside the times of its neighbours
const ROWS_PER_PAGE = 10_000;

export class GapFiller {
  #rest;
  #timeout;
  #pass;
  #held = new Map(); // instrument -> steps that wait for its stored prices
  #times = new Map(); // instrument -> time of the last price that was passed on

  /** `rest` is the `Rest` of the option `restUrl`; `pass(step)` receives all steps, in order. */
  constructor(rest, timeout, pass) {
    this.#rest = rest;
    this.#timeout = timeout;
    this.#pass = pass;
  }

  /** Pass on a step of `Subscriptions`, now or after the stored prices of its instrument. */
  step(step) {
    const instrument = priceOf(step);
    if (this.#held.has(instrument)) {
      this.#held.get(instrument).push(step);
      return;
    }
    if (step.event === "price_update") this.#times.set(instrument, step.body.price.time);
    this.#pass(step);
    if (this.#rest.url && step.gap?.resumed && step.gap.from && step.gap.to && this.#times.has(instrument)) this.#begin(step.gap);
  }

  /** A snapshot: the time of an instrument of which no price was passed on. */
  note(body) {
    if (!this.#times.has(body.instrument)) this.#times.set(body.instrument, body.price.time);
  }

  /** Pass on all steps that wait, without their stored prices. */
  stop() {
    for (const instrument of [...this.#held.keys()]) this.#release(instrument);
  }

  async #begin(gap) {
    const held = [];
    this.#held.set(gap.instrument, held);
    await null; // the snapshot, which ends the gap, is the next step
    const found = await this.#read(gap, held);
    if (this.#held.get(gap.instrument) !== held) return; // stopped
    if (found) this.#passFound(gap, found);
    this.#release(gap.instrument);
  }

  /** The stored prices of the gap by the last answer of REST, or null if REST does not answer. */
  async #read(gap, held) {
    const times = [this.#times.get(gap.instrument), held[0].body.price.time].map((time) => Date.parse(time));
    const query = {
      symbol: gap.instrument,
      start: new Date(Math.min(...times) - TIME_MARGIN_MS).toISOString(),
      end: new Date(Math.max(...times) + TIME_MARGIN_MS).toISOString(),
      limit: ROWS_PER_PAGE,
    };
    const deadline = performance.now() + this.#timeout;
    let last = null;
    for (;;) {
      let rows;
      try {
        rows = await this.#rows(query, deadline);
      } catch {
        return last;
      }
      const prices = between(gap, rows);
      const complete = prices.length === gap.missed || rows.some(({ epoch, seq }) => epoch === gap.to.epoch && seq === gap.to.seq);
      last = { prices, complete };
      if (complete || performance.now() + RETRY_MS > deadline) return last;
      await pause(RETRY_MS);
    }
  }

  async #rows(query, deadline) {
    const rows = [];
    for (let token; token !== null; ) {
      const parameters = new URLSearchParams(token ? { ...query, page_token: token } : query);
      const timeout = Math.max(1, deadline - performance.now());
      const body = await this.#rest.request(`/ticks?${parameters}`, { timeout });
      rows.push(...body.ticks);
      token = body.next_page_token ?? null;
    }
    return rows;
  }

  #passFound(gap, { prices, complete }) {
    for (const body of prices) this.#pass({ event: "price_update", body, replayed: true });
    const missed = gap.missed === null ? (complete ? 0 : null) : gap.missed - prices.length;
    if (missed !== 0) this.#pass({ gap: { ...gap, resumed: false, missed, reason: "not_stored" } });
  }

  #release(instrument) {
    const held = this.#held.get(instrument);
    this.#held.delete(instrument);
    for (const step of held) this.step(step);
  }
}

/** The instrument of a price or of a gap between prices; null for other steps, such as books. */
function priceOf({ gap, event, body }) {
  if (gap) return gap.event === "price_update" ? gap.instrument : null;
  return event === "price_update" ? body.instrument : null;
}

/** The prices between both ends of the gap, in the order of the bus. */
function between({ from, to }, rows) {
  const same = from.epoch === to.epoch;
  const old = same ? [] : rows.filter(({ epoch, seq }) => epoch === from.epoch && seq > from.seq);
  const fresh = rows.filter(({ epoch, seq }) => epoch === to.epoch && seq < to.seq && seq > (same ? from.seq : 0));
  const bySeq = (a, b) => a.seq - b.seq;
  return [...old.sort(bySeq), ...fresh.sort(bySeq)].map(({ symbol, bid, ask, mid, time, received, seq, epoch }) => ({
    instrument: symbol,
    price: { bid, ask, mid, time },
    timestamp: received,
    seq,
    epoch,
  }));
}
