// @ts-check
/** The connection to the hub. The only module that imports tickwire-client and socket.io-client. */
import { io } from "socket.io-client";
import { FXDataPipelineClient } from "tickwire-client";
import { hubAddress } from "./config.js";
import { Interests } from "./shell/interests.js";
import { Topics } from "./topics.js";

const NOT_FOUND_MS = 10_000; // without an answer after load
const CLOCK_PINGS_MS = 30_000;
const REFUSED = new Set(["server_full", "unavailable", "too_many_requests"]);
/** handler of the client -> name for listeners @type {Record<string, string>} */
const PASSED = {
  onCandleUpdate: "candle",
  onAlertTriggered: "triggered",
  onDataReady: "data_ready",
  onInstrumentsChanged: "instruments_changed",
  onGap: "gap",
  onGapNotice: "gap_notice",
  onBook: "book",
  onBookState: "book_state",
  onHeartbeat: "heartbeat",
  onScenarioChanged: "scenario",
  onCredentialsExpiring: "expiring",
  onRefreshed: "refreshed",
};

/** @param {Pick<import("./types.js").App, "config" | "clock" | "session" | "store">} app */
export function createHub(app) {
  return new Hub(app);
}

class Hub {
  #app;
  #topics = new Topics();
  #interests;
  #notFound = 0;
  #everConnected = false;
  #fallback = false; // the client with polling
  /** The reason that the hub has sent before it closes the connection. @type {any} */
  #reason = null;
  /** @type {FXDataPipelineClient | null} */
  client = null;
  /** @type {import("./types.js").HubState} */
  state = "connecting";
  /** The loss, the refusal or the missing hub that the banner shows. @type {import("./types.js").HubAbout} */
  about = { since: null, retryAt: null, error: null, notFound: false };

  /** @param {Pick<import("./types.js").App, "config" | "clock" | "session" | "store">} app */
  constructor(app) {
    this.#app = app;
    this.#interests = new Interests(this, app.store);
    setInterval(() => this.#ping(), CLOCK_PINGS_MS);
  }

  get address() {
    return hubAddress(this.#app.config, document.baseURI);
  }

  /** @param {string} name @param {Function} listener @returns {() => void} */
  on(name, listener) {
    return this.#topics.on(name, listener);
  }

  /** @param {string} name @param {any[]} values */
  emit(name, ...values) {
    this.#topics.emit(name, ...values);
  }

  connect() {
    [this.#everConnected, this.#fallback] = [false, false];
    this.about = { since: null, retryAt: null, error: null, notFound: false };
    this.#become("connecting");
    clearTimeout(this.#notFound);
    this.#notFound = window.setTimeout(() => this.#nobody(), NOT_FOUND_MS);
    this.#open(["websocket"]);
  }

  /** Close for good, until `connect`. @param {import("./types.js").HubState} [state] */
  close(state = "signed-out") {
    clearTimeout(this.#notFound);
    const { client } = this;
    this.client = null;
    client?.disconnect();
    this.#interests.lost();
    this.#become(state);
  }

  /** @param {string} symbol */
  fullRate(symbol) {
    return this.#interests.fullRate(symbol);
  }

  /** @param {string} symbol @param {string} interval */
  candles(symbol, interval) {
    return this.#interests.candles(symbol, interval);
  }

  /** @param {string} symbol @param {number} depth */
  book(symbol, depth) {
    return this.#interests.book(symbol, depth);
  }

  heartbeat() {
    return this.#interests.heartbeat();
  }

  /** @param {{channels?: string[], maxRate?: number}} options @param {(snapshot: any, error?: any) => void} fn */
  metrics(options, fn) {
    return this.#interests.metrics(options, fn);
  }

  /** @param {(event: any, error?: any) => void} fn */
  events(fn) {
    return this.#interests.events(fn);
  }

  /** Median delay of deliveries in ms, null if unknown. */
  get delay() {
    return this.state === "live" ? (this.client?.latency.delivery?.p50 ?? null) : null;
  }

  /** @param {string[]} transports */
  #open(transports) {
    const { origin, path } = this.address;
    const { session } = this.#app;
    const auth = session.signedIn ? () => session.credential() : undefined;
    const client = new FXDataPipelineClient(origin, {
      transports,
      auth,
      connectTimeout: 0,
      socketOptions: { path },
      io,
    });
    this.client = client;
    this.#listen(client);
    client.connect().catch(() => {}); // `onError` has it
  }

  /** Pass on what the client receives, as long as it is the current one. @param {any} client */
  #listen(client) {
    /** @param {(...args: any[]) => void} handle */
    const current =
      (handle) =>
      /** @param {any[]} args */
      (...args) => {
        if (client === this.client) handle(...args);
      };
    for (const [handler, name] of Object.entries(PASSED)) client[handler](current((...args) => this.emit(name, ...args)));
    client.onPriceUpdate(current((body, about) => this.emit("price", body, about)));
    client.onVolatilityAlert(current((body) => this.emit("alert", { event: "volatility_alert", body })));
    client.onCorrelationAlert(current((body) => this.emit("alert", { event: "correlation_alert", body })));
    client.onSubscriptionConfirmed(current((body) => this.#snapshot(body)));
    client.onGap(current((gap) => gap.reason === "epoch" && this.emit("epoch", gap)));
    client.onConnectionEstablished(current((body) => this.#established(body)));
    client.onRefreshed(current((body) => this.#app.session.setScopes(body.scopes)));
    client.onDisconnect(current((about) => this.#lost(about)));
    client.onError(current((error) => this.#failed(error)));
  }

  /** @param {any} body */
  #snapshot(body) {
    for (const price of Object.values(body.snapshot ?? {})) this.emit("snapshot", price);
  }

  /** The greeting: what follows is restored by the client before the first answer to a ping. @param {any} body */
  async #established(body) {
    const { client } = this;
    this.#app.clock.setOffset(this.#app.clock.parse(body.server_time) - this.#app.clock.local());
    this.#app.session.setScopes(body.scopes ?? null);
    try {
      await this.#interests.apply(client, body.available_pairs?.length ?? 0);
    } catch {
      return; // lost again: the next greeting follows
    }
    if (client !== this.client || !client?.connected) return;
    clearTimeout(this.#notFound);
    const again = this.#everConnected;
    this.#everConnected = true;
    this.about = { since: null, retryAt: null, error: null, notFound: false };
    this.#become("live");
    this.emit("live", { again });
    this.#ping();
  }

  /** @param {{reason: string, reconnecting: boolean, retryInMs: number | null}} about */
  #lost({ reconnecting, retryInMs }) {
    const error = this.#reason;
    this.#reason = null;
    if (!reconnecting) return; // the error that follows has the reason
    const now = this.#app.clock.now();
    this.about = { ...this.about, since: this.about.since ?? now, retryAt: now + (retryInMs ?? 0), error };
    this.#become(error ? "refused" : "reconnecting");
  }

  /** @param {any} error */
  #failed(error) {
    this.emit("error", error);
    if (error.code === "unauthorized") return this.#unauthorized(error);
    if (error.event !== "connect" && error.event !== "disconnect" && error.code !== "unreachable") return;
    if (error.event === "disconnect" && REFUSED.has(error.code)) this.#reason = error;
    const wait = error.details?.retry_in_ms;
    if (this.#everConnected === false && !this.#fallback && error.code === "unreachable") return this.#fallBack();
    if (typeof wait !== "number") return;
    const now = this.#app.clock.now();
    this.about = { ...this.about, since: this.about.since ?? (this.#everConnected ? now : null), retryAt: now + wait, error };
    if (REFUSED.has(error.code)) this.#become("refused");
    else this.#become(this.#everConnected ? "reconnecting" : "connecting");
  }

  /** The very first attempt has failed: a proxy may not support WebSocket. */
  #fallBack() {
    this.#fallback = true;
    const { client } = this;
    this.client = null;
    client?.disconnect();
    this.#open(["polling", "websocket"]);
  }

  /** @param {any} error */
  #unauthorized(error) {
    const { session } = this.#app;
    const reason = error.details?.reason;
    if (error.event === "disconnect" && reason) session.ended(reason);
    else if (error.event === "connect" || error.event === "disconnect") session.unauthorized(session.credential());
  }

  #nobody() {
    if (this.#everConnected || this.state === "refused") return;
    this.about = { ...this.about, notFound: true };
    this.#become("connecting");
  }

  /** @param {import("./types.js").HubState} state */
  #become(state) {
    this.state = state;
    this.emit("state", state);
  }

  async #ping() {
    const { client } = this;
    if (this.state !== "live" || !client || document.hidden) return;
    try {
      await client.ping();
      this.#app.clock.setOffset(client.latency.clockOffset);
    } catch {
      // The connection is lost or slow: its state shows that.
    }
  }
}
