// @ts-check
/** The data flow of section "Data flow": what is loaded when, and how messages reach the store. */

const REFRESH_MS = 60_000;
const HEALTH_MS = 5_000;

/** @param {import("../types.js").App} app */
export function startFeed(app) {
  return new Feed(app);
}

class Feed {
  #app;
  #dayTimer = 0;
  #running = false;
  #retry = 0;
  /** The newest refusal of /symbols; null if it has answered. @type {any} */
  error = null;

  /** @param {import("../types.js").App} app */
  constructor(app) {
    this.#app = app;
    const { hub, store, paint } = app;
    hub.on("price", (/** @type {any} */ body, /** @type {any} */ about) => store.price(body, about));
    hub.on("snapshot", (/** @type {any} */ body) => store.price(body, { replayed: true }));
    hub.on("gap", (/** @type {any} */ gap) => this.#gap(gap));
    hub.on("live", (/** @type {any} */ { again }) => again && this.refresh());
    hub.on("instruments_changed", () => this.refresh());
    hub.on("epoch", () => this.#market());
    paint.every(REFRESH_MS, () => this.refresh());
    paint.every(HEALTH_MS, () => this.#health());
  }

  start() {
    this.#running = true;
    this.refresh();
    this.#health();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#retry);
    clearTimeout(this.#dayTimer);
    this.#app.store.clear();
  }

  async refresh() {
    clearTimeout(this.#retry);
    if (!this.#running) return;
    try {
      const body = await this.#app.rest.get("symbols");
      if (!this.#running) return;
      this.#app.store.setInstruments(body.symbols);
      this.error = null;
    } catch (error) {
      this.error = error;
      this.#later(error);
    }
    this.#app.store.emit("loaded", this.error);
    await this.#market();
  }

  /** Try again soon if there is no list yet. @param {any} error */
  #later(error) {
    if (this.#app.store.symbols.length || error.status === 401) return;
    this.#retry = window.setTimeout(() => this.refresh(), 1000 * Math.max(2, error.retryAfter ?? 0));
  }

  async #market() {
    if (!this.#running || !this.#app.config.features.includes("market")) return;
    try {
      const body = await this.#app.rest.get("market");
      if (!this.#running) return;
      this.#app.store.setMarket(body);
      this.#atDayEnd(body);
    } catch {
      // Prices continue without the change; the next refresh tries again.
    }
  }

  /** Load again when the first running day ends. @param {any} body */
  #atDayEnd(body) {
    const { clock } = this.#app;
    const ends = Object.values(body.instruments).map((/** @type {any} */ { day }) => clock.parse(day?.end_time));
    const next = Math.min(...ends.filter((end) => end > clock.now()));
    clearTimeout(this.#dayTimer);
    if (next - clock.now() < 86_400_000) this.#dayTimer = window.setTimeout(() => this.#market(), next - clock.now() + 1000);
  }

  async #health() {
    if (!this.#running) return;
    try {
      this.#app.store.setHealth(await this.#app.rest.get("health", undefined, { also: [503] }));
    } catch {
      this.#app.store.setHealth(null);
    }
  }

  /** Price messages that were not recovered. At a rate their number is null: the hub skips some. @param {any} gap */
  #gap({ event, instrument, missed, reason }) {
    if (event === "price_update" && missed) this.#app.store.gap(instrument, missed, reason);
  }
}
