/** Iterators over the snapshots of the metrics, and the subscription that all of them share. */

export const SECTIONS = ["market_data", "strategy", "execution", "system"];

/** An async iterator. A slow program receives the newest snapshot in place of those that it missed. */
class SnapshotIterator {
  sections;
  maxRate;
  #begin; // called once, at the first step
  #end;
  #waiting = null; // the newest snapshot that was not passed on
  #steps = []; // { resolve, reject } of steps that wait, oldest first
  #last = { epoch: null, seq: 0 }; // position of the last snapshot
  #state = "new"; // "open" after the first step, then "closed"
  #error = null;

  constructor(sections, maxRate, begin, end) {
    Object.assign(this, { sections, maxRate });
    this.#begin = begin;
    this.#end = end;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    if (this.#state === "new") {
      this.#state = "open";
      this.#begin(this).catch((error) => this.end(error));
    }
    if (this.#waiting) {
      const value = this.#waiting;
      this.#waiting = null;
      return Promise.resolve({ value, done: false });
    }
    if (this.#state === "closed") return this.#ending();
    return new Promise((resolve, reject) => this.#steps.push({ resolve, reject }));
  }

  /** End the iterator and its part of the subscription. `break` in a `for await` calls it. */
  return() {
    this.end(null);
    this.#waiting = null;
    this.#end(this);
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Pass a snapshot on, unless it is older than the last one, as an answer may be that waited for its turn. */
  put(body) {
    const { epoch, seq } = body;
    if (this.#state !== "open" || (epoch === this.#last.epoch && seq <= this.#last.seq)) return;
    this.#last = { epoch, seq };
    const value = Object.fromEntries(Object.entries(body).filter(([name]) => !SECTIONS.includes(name) || this.sections.includes(name)));
    const step = this.#steps.shift();
    if (step) step.resolve({ value, done: false });
    else this.#waiting = value;
  }

  /** No snapshot follows. The next step throws the error, if there is one. */
  end(error) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    for (const step of this.#steps.splice(0)) this.#ending().then(step.resolve, step.reject);
  }

  #ending() {
    const error = this.#error;
    this.#error = null;
    return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
  }
}

export class Snapshots {
  #send; // (event, payload, timeout) -> promise of the body of the answer
  #timeout;
  #iterators = new Set();

  constructor(send, timeout) {
    this.#send = send;
    this.#timeout = timeout;
  }

  /** @throws {TypeError} if there is no such section */
  iterator({ channels = SECTIONS, maxRate } = {}) {
    const sections = typeof channels === "string" ? [channels] : [...channels];
    const unknown = sections.find((name) => !SECTIONS.includes(name));
    if (unknown !== undefined || !sections.length)
      throw new TypeError(`There is no section ${unknown}; there are ${SECTIONS.join(", ")}.`);
    return new SnapshotIterator(
      sections,
      maxRate,
      (iterator) => this.#begin(iterator),
      (iterator) => this.#leave(iterator),
    );
  }

  /** A new connection: subscribe again, if there is an iterator. */
  async resume() {
    if (!this.#iterators.size) return;
    try {
      await this.#subscribe();
    } catch (error) {
      if (error.code === "forbidden") this.end(error);
    }
  }

  received(event, body) {
    if (event === "metrics_update") for (const iterator of this.#iterators) iterator.put(body);
  }

  /** All iterators end, with an error or without one. */
  end(error) {
    for (const iterator of this.#iterators) iterator.end(error);
    this.#iterators.clear();
  }

  async #begin(iterator) {
    this.#iterators.add(iterator);
    try {
      await this.#subscribe();
    } catch (error) {
      this.#iterators.delete(iterator);
      throw error;
    }
  }

  async #subscribe() {
    const rates = [...this.#iterators].map((iterator) => iterator.maxRate);
    const payload = { channels: this.#wanted() };
    if (!rates.includes(undefined)) payload.max_rate = Math.max(...rates); // the highest rate applies to all
    const { snapshot } = await this.#send("subscribe", payload, this.#timeout);
    if (snapshot) this.received("metrics_update", snapshot);
  }

  #wanted() {
    return SECTIONS.filter((name) => [...this.#iterators].some((iterator) => iterator.sections.includes(name)));
  }

  #leave(iterator) {
    if (!this.#iterators.delete(iterator)) return;
    const channels = iterator.sections.filter((name) => !this.#wanted().includes(name));
    // Without an answer the connection is about to end, and the next one subscribes to the others.
    if (channels.length) this.#send("unsubscribe", { channels }, this.#timeout).catch(() => {});
  }
}
