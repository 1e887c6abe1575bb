// @ts-check
/**
 * The candles of one instrument: history from REST, the running bar from the hub. A change of the
 * interval abandons what was requested for the one before. No DOM.
 */

import { Bars, FIRST_PAGE, NEXT_PAGE } from "./candles.js";

const HISTORY_PATH = "candles";

/** @typedef {import("../types.js").App} App */
/** @typedef {import("./candles.js").Bar} Bar */
/** @typedef {import("./candles.js").Candle} Candle */

export class CandleFeed {
  /**
   * @param {App} app
   * @param {string} symbol
   * @param {{changed: (bar: Bar) => void, reset: () => void, reload: () => void, older: (text: string) => void}} listener
   *   `changed`: the last bar or a correction; `reset`: other bars; `reload`: call `load` again;
   *   `older`: the state of the older history, as text
   */
  constructor(app, symbol, listener) {
    this.app = app;
    this.symbol = symbol;
    this.listener = listener;
    this.bars = new Bars("");
    this.abort = new AbortController();
    this.paging = false;
    this.release = () => {};
    /** @type {Candle[]} updates that arrived before the history */
    this.early = [];
    this.loaded = false;
    this.offs = [
      app.hub.on("candle", (/** @type {any} */ body) => this._update(body)),
      app.hub.on("live", () => listener.reload()),
      app.hub.on("gap", (/** @type {any} */ gap) => this._gap(gap)),
      app.hub.on("gap_notice", (/** @type {any} */ { dropped }) => this._key in dropped && listener.reload()),
      app.hub.on("epoch", () => listener.reload()),
    ];
  }

  get interval() {
    return this.bars.interval;
  }

  get _key() {
    return `${this.symbol}|${this.interval}`;
  }

  /** @param {string} interval */
  open(interval) {
    this.abort.abort();
    this.abort = new AbortController();
    const before = this.release;
    this.release = this.app.hub.candles(this.symbol, interval);
    before();
    this.bars = new Bars(interval);
    [this.loaded, this.paging, this.early] = [false, false, []];
    this.listener.reset();
    this.listener.older("");
    this.listener.reload();
  }

  /**
   * The newest candles of the interval that is open when they arrive. Raises RestError.
   * @param {AbortSignal} signal ends all
   */
  async load(signal) {
    for (;;) {
      const { abort, interval } = this;
      try {
        const params = { symbol: this.symbol, interval, order: "desc", limit: FIRST_PAGE };
        const body = await this.app.rest.get(HISTORY_PATH, params, { signal: AbortSignal.any([signal, abort.signal]) });
        if (abort === this.abort) return body;
      } catch (error) {
        if (signal.aborted || abort === this.abort) throw error;
      }
    }
  }

  /** Take an answer of `load`. @param {{interval: string, candles: Candle[]}} body */
  take({ interval, candles }) {
    if (interval !== this.interval) return;
    this.bars.takeNewest(candles);
    this.bars.complete ||= candles.length < FIRST_PAGE && !this.loaded;
    const isIncomplete = this.early.map((candle) => this._misses(this.bars.put(candle))).includes(true);
    [this.loaded, this.early] = [true, []];
    this.listener.reset();
    if (isIncomplete) this._again();
  }

  /** Load the page before the oldest bar, unless one is being loaded. */
  async older() {
    const { abort, bars } = this;
    if (this.paging || !this.loaded || !bars.canGrow) return;
    this.paging = true;
    this.listener.older("Loading older bars …");
    try {
      const params = { symbol: this.symbol, interval: bars.interval, order: "desc", limit: NEXT_PAGE, end: bars.list[0].candle.start_time };
      const { candles } = await this.app.rest.get(HISTORY_PATH, params, { signal: abort.signal });
      if (abort !== this.abort) return;
      bars.addOlder(candles);
      bars.complete ||= candles.length < NEXT_PAGE;
      this.listener.older(bars.complete || bars.canGrow ? "" : "The chart is full: choose a longer interval for older bars.");
      this.listener.reset();
    } catch (error) {
      if (abort === this.abort) this.listener.older(`Older bars: ${/** @type {Error} */ (error).message} Pan again to retry.`);
    } finally {
      if (abort === this.abort) this.paging = false;
    }
  }

  close() {
    this.abort.abort();
    this.release();
    for (const off of this.offs) off();
  }

  /** @param {{instrument: string, interval: string, candle: Candle}} body */
  _update({ instrument, interval, candle }) {
    if (instrument !== this.symbol || interval !== this.interval) return;
    if (!this.loaded) {
      this.early.push(candle);
      return;
    }
    const put = this.bars.put(candle);
    const { bar, kind } = put;
    if (kind === "same") return;
    if (this._misses(put)) this._again();
    if (kind === "inserted" || this.bars.trim()) this.listener.reset();
    else this.listener.changed(bar);
  }

  /**
   * Whether the bar before a new one is still forming: REST was read before its end, and the hub has
   * sent its end before the subscription.
   * @param {{bar: Bar, kind: string}} put
   */
  _misses({ kind }) {
    return kind === "appended" && this.bars.list.at(-2)?.candle.complete === false;
  }

  /** Load after the present task: a load that is just ending does not count. */
  _again() {
    setTimeout(() => this.listener.reload());
  }

  /** A gap of candles is repaired from REST, and not shown. @param {any} gap */
  _gap({ event, topic }) {
    if (event === "candle_update" && topic === this._key) this.listener.reload();
  }
}
