// @ts-check
/**
 * Wanted subscriptions of the page, with a count for each. They are applied to the client when it
 * is connected; the client itself restores them on its later connections.
 */

const RATE_UP_TO_1000 = 5;
const RATE_ABOVE_1000 = 1;

export class Interests {
  #hub;
  #store;
  /** topic -> number of its users @type {Map<string, number>} */
  #wanted = new Map();
  /** topics that the client holds @type {Set<string>} */
  #applied = new Set();
  /** @type {any} */
  #client = null; // to which `#applied` belongs
  /** Functions that begin an iterator on the current client. @type {Set<() => void>} */
  #streams = new Set();
  #rate = RATE_UP_TO_1000;

  /** @param {any} hub @param {import("../types.js").Store} store */
  constructor(hub, store) {
    this.#hub = hub;
    this.#store = store;
  }

  /** @param {string} symbol */
  fullRate(symbol) {
    this.#store.fullRate.add(symbol);
    const release = this.#want(`full|${symbol}`);
    return () => {
      release();
      if (!this.#wanted.has(`full|${symbol}`)) this.#store.fullRate.delete(symbol);
    };
  }

  /** @param {string} symbol @param {string} interval */
  candles(symbol, interval) {
    return this.#want(`candles|${symbol}|${interval}`);
  }

  /** @param {string} symbol @param {number} depth */
  book(symbol, depth) {
    return this.#want(`book|${symbol}|${depth}`);
  }

  heartbeat() {
    return this.#want("heartbeat");
  }

  /** All prices and alerts, then all wanted topics. @param {any} client @param {number} count of instruments */
  async apply(client, count) {
    this.#rate = count > 1000 ? RATE_ABOVE_1000 : RATE_UP_TO_1000;
    if (client !== this.#client) {
      this.#client = client;
      this.#applied.clear();
      await this.#everything(client);
      for (const topic of this.#wanted.keys()) this.#send(topic, true);
      for (const begin of this.#streams) begin();
    } else {
      await client.getSubscriptions(); // answered after everything is restored
      this.#settle();
    }
  }

  /** A key without the scope `read` is refused, and the page shows what it may. @param {any} client */
  async #everything(client) {
    try {
      await client.subscribe("all", { maxRate: this.#rate, alerts: "all" });
    } catch (error) {
      if (!client.connected) throw error;
      this.#hub.emit("refused", { topic: "all", error });
    }
  }

  /** The client is closed for good. */
  lost() {
    this.#client = null;
    this.#applied.clear();
  }

  /** @param {string} topic */
  #want(topic) {
    this.#wanted.set(topic, (this.#wanted.get(topic) ?? 0) + 1);
    this.#settle();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = (this.#wanted.get(topic) ?? 1) - 1;
      if (left) this.#wanted.set(topic, left);
      else this.#wanted.delete(topic);
      queueMicrotask(() => this.#settle()); // a new user in the same task keeps the subscription
    };
  }

  #settle() {
    if (!this.#client?.connected) return;
    for (const topic of this.#applied) if (!this.#wanted.has(topic)) this.#send(topic, false);
    for (const topic of this.#wanted.keys()) if (!this.#applied.has(topic)) this.#send(topic, true);
  }

  /** @param {string} topic @param {boolean} on */
  #send(topic, on) {
    if (on) this.#applied.add(topic);
    else this.#applied.delete(topic);
    const client = this.#client;
    this.#request(client, topic, on).catch((error) => {
      if (client !== this.#client) return;
      if (on) this.#applied.delete(topic);
      this.#hub.emit("refused", { topic, error });
    });
  }

  /** @param {any} client @param {string} topic @param {boolean} on @returns {Promise<any>} */
  #request(client, topic, on) {
    const [kind, pair, more] = topic.split("|");
    if (kind === "full") return on ? client.subscribe([pair]) : client.subscribe([pair], { maxRate: this.#rate });
    if (kind === "candles") {
      const candles = [{ pair, interval: more }];
      return on ? client.subscribe(null, { candles }) : client.unsubscribe(null, { candles });
    }
    if (kind === "book") {
      const books = [{ pair, depth: Number(more) }];
      return on ? client.subscribe(null, { books }) : client.unsubscribe(null, { books });
    }
    return on ? client.subscribe(null, { heartbeat: true }) : client.unsubscribe(null, { heartbeat: true });
  }

  /** @param {{channels?: string[], maxRate?: number}} options @param {(snapshot: any, error?: any) => void} fn */
  metrics(options, fn) {
    return this.#stream((client) => client.metrics(options), fn);
  }

  /** @param {(event: any, error?: any) => void} fn */
  events(fn) {
    let off = () => {};
    const begin = () => {
      off = this.#client.onObservabilityEvent(fn, (/** @type {any} */ error) => fn(null, error));
    };
    this.#streams.add(begin);
    if (this.#client?.connected) begin();
    return () => {
      this.#streams.delete(begin);
      off();
    };
  }

  /**
   * Pass on the values of an iterator, on this client and on those after it.
   * @param {(client: any) => AsyncIterableIterator<any>} open
   * @param {(value: any, error?: any) => void} fn
   */
  #stream(open, fn) {
    /** @type {any} */
    let iterator = null;
    let ended = false;
    const begin = async () => {
      const mine = (iterator = open(this.#client));
      try {
        for await (const value of mine) if (!ended) fn(value);
      } catch (error) {
        if (!ended && mine === iterator) fn(null, error);
      }
    };
    this.#streams.add(begin);
    if (this.#client?.connected) begin();
    return () => {
      ended = true;
      this.#streams.delete(begin);
      iterator?.return?.();
    };
  }
}
