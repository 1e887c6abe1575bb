/** Latency statistics over the last 1,000 samples. */

const KEPT_SAMPLES = 1000;

class Samples {
  #values = []; // ms, a ring buffer
  #count = 0;

  add(value) {
    if (!Number.isFinite(value)) return; // from an unreadable time
    this.#values[this.#count % KEPT_SAMPLES] = value;
    this.#count += 1;
  }

  /** null without samples. `count` includes all samples, the rest only the kept ones. */
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
 * Round-trip times of `ping`, and the age of live prices on arrival: since their `time`, and since
 * their `timestamp` (publication). The shortest ping gives the offset of the hub's clock.
 */
export class Latency {
  #roundTrip = new Samples();
  #price = new Samples();
  #delivery = new Samples();
  #offset = null; // ms by which the clock of the hub is ahead
  #shortestRoundTrip = Infinity;

  /** A ping took `latency` ms. `receivedAt` is in ms by the wall clock. */
  pinged(latency, receivedAt, serverTime) {
    this.#roundTrip.add(latency);
    if (latency <= this.#shortestRoundTrip) {
      this.#shortestRoundTrip = latency;
      this.#offset = milliseconds(serverTime) - (receivedAt - latency / 2);
    }
  }

  /** A live `price_update` has arrived. */
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

/** Milliseconds since 1970. Some engines cannot parse microseconds in `Date`. */
export function milliseconds(time) {
  const [, start, fraction = "", zone] = /^(.*?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?$/.exec(time);
  return Date.parse(start + (zone ?? "Z")) + Number(`0.${fraction || 0}`) * 1000;
}
