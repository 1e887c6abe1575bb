/** How long things take, over the last thousand of them. */

const KEPT_SAMPLES = 1000;

class Samples {
  #values = []; // ms, a ring
  #count = 0;

  add(value) {
    if (!Number.isFinite(value)) return; // a time that nobody can read
    this.#values[this.#count % KEPT_SAMPLES] = value;
    this.#count += 1;
  }

  /** null before the first; `count` is of all, the rest of those kept */
  summary() {
    if (this.#count === 0) return null;
    const sorted = [...this.#values].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
    const last = this.#values[(this.#count - 1) % KEPT_SAMPLES];
    return { count: this.#count, last, min: sorted[0], mean, p50: at(0.5), p95: at(0.95), max: sorted.at(-1) };
  }
}

/**
 * Round trips of `ping`, and the age of live prices on arrival by two clocks' difference: of the price's own `time`, and of its
 * `timestamp`, when it was published. The hub's clock is set against ours by the quickest ping there was.
 */
export class Latency {
  #roundTrip = new Samples();
  #price = new Samples();
  #delivery = new Samples();
  #offset = null; // ms that the hub's clock is ahead
  #shortestRoundTrip = Infinity;

  /** A ping that took `latency` ms and was answered at `receivedAt` (ms, wall clock) with the hub's `serverTime`. */
  pinged(latency, receivedAt, serverTime) {
    this.#roundTrip.add(latency);
    if (latency <= this.#shortestRoundTrip) {
      this.#shortestRoundTrip = latency;
      this.#offset = milliseconds(serverTime) - (receivedAt - latency / 2);
    }
  }

  /** A price_update that has just come, live. */
  priced(body, receivedAt) {
    const now = receivedAt + (this.#offset ?? 0);
    this.#price.add(now - milliseconds(body.price.time));
    if (body.timestamp) this.#delivery.add(now - milliseconds(body.timestamp));
  }

  summary() {
    return {
      roundTrip: this.#roundTrip.summary(),
      price: this.#price.summary(),
      delivery: this.#delivery.summary(),
      clockOffset: this.#offset,
    };
  }
}

/** Milliseconds since 1970 of a time with microseconds, which not every engine's Date reads. */
export function milliseconds(time) {
  const [, start, fraction = "", zone] = /^(.*?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?$/.exec(time);
  return Date.parse(start + (zone ?? "Z")) + Number(`0.${fraction || 0}`) * 1000;
}
