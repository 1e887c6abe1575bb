// @ts-check
/** The data flow of section "Data flow": what is loaded when, and how messages reach the store. */

const REFRESH_MS = 60_000;
const HEALTH_MS = 5_000;
const FIRST_RETRY_S = 1;
const LAST_RETRY_S = 30;

/** @param {import("../types.js").App} app */
export function startFeed(app) {
  return new Feed(app);
}

class Feed {
  #app;
  #dayTimer = 0;
  #running = false;
  #retry = 0;
  #wait = FIRST_RETRY_S;

  /** @param {import("../types.js").App} app */
  constructor(app) {
    this.#app = app;
    const { hub, store, paint } = app;
    hub.on("price", (/** @type {any} */ body, /** @type {any} */ about) => store.price(body, about));
    hub.on("snapshot", (/** @type {any} */ body) => store.price(body, { replayed: true }));
    hub.on("gap", (/** @type {any} */ gap) => this.#gap(gap));
    hub.on("live", (/** @type {any} */ { again }) => again && this.refresh());
    hub.on("instruments_changed", () => this.refresh());
    hub.on("epoch", () => this.refresh());
    paint.every(REFRESH_MS, () => this.refresh());
    paint.every(HEALTH_MS, () => this.#health());
  }

  start() {
    this.#running = true;
    this.#wait = FIRST_RETRY_S;
    this.#load();
    this.#health();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#retry);
    clearTimeout(this.#dayTimer);
    this.#app.store.clear();
  }

  /** Load again; a hidden tab does so when it is shown. */
  refresh() {
    if (this.#running && !document.hidden) this.#load();
  }

  async #load() {
    clearTimeout(this.#retry);
    try {
      await this.#instruments();
      await this.#market();
      this.#wait = FIRST_RETRY_S;
    } catch (error) {
      this.#later(error);
    }
  }

  async #instruments() {
    const { rest, store } = this.#app;
    try {
      const body = await rest.get("symbols");
      if (this.#running) store.setInstruments(body.symbols);
    } catch (error) {
      store.emit("loaded", error);
      throw error;
    }
    store.emit("loaded", null);
  }

  async #market() {
    if (!this.#running || !this.#app.config.features.includes("market")) return;
    const body = await this.#app.rest.get("market");
    if (!this.#running) return;
    this.#app.store.setMarket(body);
    this.#atDayEnd(body);
  }

  /** Try again, later after each failure. A missing right stays missing. @param {any} error */
  #later(error) {
    if (!this.#running || error.status === 401 || error.status === 403) return;
    clearTimeout(this.#retry);
    this.#retry = window.setTimeout(() => this.refresh(), 1000 * Math.max(this.#wait, error.retryAfter ?? 0));
    this.#wait = Math.min(LAST_RETRY_S, this.#wait * 2);
  }

  /** Load again when the first running day ends. @param {any} body */
  #atDayEnd(body) {
    const { clock } = this.#app;
    const ends = Object.values(body.instruments).map((/** @type {any} */ { day }) => clock.parse(day?.end_time));
    const next = Math.min(...ends.filter((end) => end > clock.now()));
    clearTimeout(this.#dayTimer);
    if (next - clock.now() < 86_400_000) this.#dayTimer = window.setTimeout(() => this.refresh(), next - clock.now() + 1000);
  }

  async #health() {
    if (!this.#running) return;
    try {
      this.#app.store.setHealth(await this.#app.rest.get("health", undefined, { also: [503] }));
    } catch (/** @type {any} */ error) {
      // A sign-out and a limit of requests are no outage.
      if (![401, 429].includes(error.status)) this.#app.store.setHealth(null);
    }
  }

  /** Price messages that were not recovered. At a rate their number is null: the hub skips some. @param {any} gap */
  #gap({ event, instrument, missed, reason }) {
    if (event === "price_update" && missed) this.#app.store.gap(instrument, missed, reason);
  }
}
