import { Credentials } from "./credentials.js";
import { TickwireError } from "./errors.js";
import { GapFiller } from "./gap_filler.js";
import { Latency } from "./latency.js";
import { checkedOptions, checkedUrl, defined } from "./options.js";
import { Observing } from "./observing.js";
import { verified } from "./order_book.js";
import { joinedAnswer, partsOf } from "./parts.js";
import { Publishing } from "./publishing.js";
import { WAITED_CODES } from "./report_sender.js";
import { Rest } from "./rest.js";
import { Session } from "./session.js";
import { priceTable } from "./table.js";

/** event of the hub -> name of its handler */
const HANDLER_OF = {
  connection_established: "onConnectionEstablished",
  subscription_confirmed: "onSubscriptionConfirmed",
  unsubscription_confirmed: "onUnsubscriptionConfirmed",
  subscriptions_info: "onSubscriptionsInfo",
  price_update: "onPriceUpdate",
  price_response: "onPriceResponse",
  all_prices_response: "onAllPricesResponse",
  candle_update: "onCandleUpdate",
  book_snapshot: "onBookSnapshot",
  book_update: "onBookUpdate",
  book_response: "onBookResponse",
  book_state: "onBookState",
  heartbeat: "onHeartbeat",
  scenario_changed: "onScenarioChanged",
  volatility_alert: "onVolatilityAlert",
  correlation_alert: "onCorrelationAlert",
  alert_triggered: "onAlertTriggered",
  data_ready: "onDataReady",
  server_stats: "onServerStats",
  instruments_changed: "onInstrumentsChanged",
  gap_notice: "onGapNotice",
  credentials_expiring: "onCredentialsExpiring",
  refreshed: "onRefreshed",
};
const EVENTS_HANDLER = "onObservabilityEvent"; // of `/metrics`: the first one joins the channel
const HANDLERS = [...Object.values(HANDLER_OF), "onConnect", "onDisconnect", "onPong", "onError", "onGap", "onBook", EVENTS_HANDLER];
const HISTORY_EVENTS = new Set(["volatility_alert", "correlation_alert", "alert_triggered"]);
const STEP_EVENTS = new Set(["price_update", "candle_update", "data_ready", ...HISTORY_EVENTS]); // passed on as steps, each once

/** Client of a Tickwire hub. See README.md for its use and index.d.ts for its types. */
export class FXDataPipelineClient {
  #options;
  #session;
  #filler;
  #publishing;
  #observing;
  #handlers = new Map(HANDLERS.map((name) => [name, new Set()]));
  #prices = new Map();
  #latency = new Latency();
  #alertHistory = [];
  #connected = 0; // number of connections so far

  constructor(url = "http://127.0.0.1:5001", options = {}) {
    this.url = checkedUrl(url);
    const { auth, ...others } = checkedOptions(options);
    const credentials = new Credentials(auth);
    this.#options = others;
    this.#filler = new GapFiller(new Rest(others.restUrl, credentials), others.fillTimeout, (step) => this.#step(step));
    this.#publishing = new Publishing(others.restUrl, this.url, credentials);
    this.#session = new Session(this.url, others, credentials, {
      opened: (about) => this.#notify("onConnect", { ...about, reconnected: this.#connected++ > 0 }),
      event: (event, body) => this.#received(event, body),
      step: (step) => this.#filler.step(step),
      spaceEvent: (event, body) => this.#spaceReceived(event, body),
      ready: () => this.#observing.resume(),
      closed: (reason, retryInMs, error) => this.#closed(reason, retryInMs, error),
      failed: (error, retryInMs) => this.#failed(error, retryInMs),
      problem: (error) => this.#notify("onError", error),
    });
    this.#observing = new Observing(this.#session, others, (error) => this.#notify("onError", error));
  }

  static {
    // onPriceUpdate(handler) and the others: each returns a function that removes the handler
    for (const name of HANDLERS.filter((each) => each !== EVENTS_HANDLER)) {
      this.prototype[name] = function (handler) {
        return this.#register(name, handler);
      };
    }
  }

  onObservabilityEvent(handler, refused) {
    const off = this.#register(EVENTS_HANDLER, handler);
    const leave = this.#observing.events.follow(refused);
    return () => {
      off();
      leave();
    };
  }

  // state without a request

  get connected() {
    return this.#session.ready;
  }

  /** instrument -> newest known price, from snapshots, updates and answers */
  get prices() {
    return new Map(this.#prices);
  }

  /** "INSTRUMENT|depth" -> newest book, as `onBook` received it, with its present state */
  get books() {
    return this.#session.subscriptions.books.latest;
  }

  /** instrument -> {epoch, seq} of the last message passed to the user, in the form of `since` */
  get positions() {
    return this.#session.subscriptions.positions;
  }

  get alertHistory() {
    return [...this.#alertHistory];
  }

  get latency() {
    return this.#latency.summary();
  }

  // connection

  connect({ timeout = this.#options.connectTimeout } = {}) {
    return this.#reported(this.#session.connect(timeout), false);
  }

  disconnect() {
    const wasConnected = this.connected;
    this.#session.close();
    this.#filler.stop();
    this.#observing.end(null);
    if (wasConnected) this.#notify("onDisconnect", { reason: "io client disconnect", reconnecting: false, retryInMs: null });
  }

  // requests

  subscribe(pairs, { candles, books, heartbeat, alerts, maxRate, since, timeout } = {}) {
    const others = { candles, books, heartbeat, alerts };
    return this.#reported(this.#subscribe(partsOf(pairs ?? undefined, since), others, maxRate, timeout));
  }

  unsubscribe(pairs, { candles, books, heartbeat, alerts, timeout } = {}) {
    this.#session.subscriptions.books.leaving(books);
    return this.#request("unsubscribe", defined({ pairs: pairs ?? undefined, candles, books, heartbeat, alerts }), timeout);
  }

  getSubscriptions({ timeout } = {}) {
    return this.#request("get_subscriptions", undefined, timeout);
  }

  requestPrice(instrument, { timeout } = {}) {
    return this.#request("request_price", { instrument }, timeout);
  }

  requestBook(instrument, depth = 20, { timeout } = {}) {
    return this.#request("request_book", { instrument, depth }, timeout, verified);
  }

  requestAllPrices({ timeout } = {}) {
    return this.#request("request_all_prices", undefined, timeout);
  }

  getServerStats({ timeout } = {}) {
    return this.#request("get_server_stats", undefined, timeout);
  }

  ping({ timeout } = {}) {
    return this.#reported(this.#ping(timeout));
  }

  setAlert({ instrument, metric = "price", op, value, once = true, timeout } = {}) {
    const payload = { instrument, metric, op, value, once };
    return this.#request("set_alert", payload, timeout, (body) => ({ ...body, alert: this.#session.alerts.set(payload, body) }));
  }

  listAlerts({ timeout } = {}) {
    const { alerts } = this.#session;
    return this.#request("list_alerts", undefined, timeout, (body) => ({
      ...body,
      alerts: body.alerts.map((alert) => ({ ...alert, id: alerts.ownId(alert.id) })),
    }));
  }

  deleteAlert(id, { timeout } = {}) {
    return this.#reported(this.#deleteAlert(id, timeout));
  }

  publish(price, { timeout = this.#options.requestTimeout } = {}) {
    return this.#reported(this.#publishing.one(price, timeout));
  }

  publishMany(prices, { timeout = this.#options.requestTimeout } = {}) {
    return this.#reported(this.#publishing.many(prices, timeout));
  }

  /** The reports without an ack. */
  get unacknowledged() {
    return this.#observing.unacknowledged;
  }

  report(reports, { timeout = this.#options.requestTimeout } = {}) {
    return this.#reported(this.#observing.report(reports, timeout));
  }

  metrics(options) {
    return this.#observing.metrics(options);
  }

  acknowledgeAlert(alertId, { by, comment, timeout = this.#options.requestTimeout } = {}) {
    return this.#reported(this.#observing.request("acknowledge_alert", defined({ alert_id: alertId, by, comment }), timeout));
  }

  /** Print the newest prices known, as a table. */
  printPrices(print = console.log) {
    print(priceTable(this.#prices.values()));
  }

  /** One request after the other; `others` go with the first one. */
  async #subscribe(parts, others, maxRate, timeout = this.#options.requestTimeout) {
    const answers = [];
    for (const [index, part] of parts.entries()) {
      const payload = defined({ ...part, ...(index ? {} : others), max_rate: maxRate });
      answers.push((await this.#session.request("subscribe", payload, timeout)).body);
    }
    return joinedAnswer(answers);
  }

  async #ping(timeout = this.#options.requestTimeout) {
    const { body, sentAt, receivedAt } = await this.#session.request("ping", { timestamp: Date.now() }, timeout);
    const latency = receivedAt - sentAt;
    this.#latency.pinged(latency, Date.now(), body.server_time);
    const pong = { ...body, latency };
    this.#notify("onPong", pong);
    return pong;
  }

  async #deleteAlert(id, timeout = this.#options.requestTimeout) {
    const { alerts } = this.#session;
    const { body } = await this.#session.request("delete_alert", () => ({ id: alerts.hubId(id) }), timeout);
    const deleted = body.deleted.map((each) => alerts.ownId(each));
    for (const each of deleted) alerts.drop(each);
    return { ...body, deleted };
  }

  #request(event, payload, timeout = this.#options.requestTimeout, finish = (body) => body) {
    return this.#reported(this.#session.request(event, payload, timeout).then(({ body }) => finish(body)));
  }

  /**
   * Pass errors of the client to `onError` as well. The attached handler marks the rejection as
   * handled, so that an ignored promise does not end the program. Refusals of the hub reach
   * `onError` through its `error` event.
   */
  #reported(promise, toHandlers = true) {
    promise.catch((error) => {
      if (toHandlers && (error.local || CLIENT_CODES.has(error.code))) this.#notify("onError", error);
    });
    return promise;
  }

  // received messages

  #received(event, body) {
    if (event === "error") this.#notify("onError", TickwireError.from(body));
    if (event === "subscription_confirmed") Object.values(body.snapshot).forEach((each) => this.#snapshot(each));
    if (event === "price_response") this.#prices.set(body.instrument, body);
    if (event === "all_prices_response") this.#storePrices(body.prices);
    if (event in HANDLER_OF && !STEP_EVENTS.has(event)) this.#notify(HANDLER_OF[event], body);
  }

  /** An event of `/metrics`. The client waits for `unavailable` and `too_many_requests` itself. */
  #spaceReceived(event, body) {
    if (event === "error" && !WAITED_CODES.has(body.code)) this.#notify("onError", TickwireError.from(body));
    if (event === "observability_event") this.#notify(EVENTS_HANDLER, body);
    this.#observing.received(event, body);
  }

  #step({ gap, book, event, body, replayed }) {
    if (book) {
      this.#notify("onBook", book);
      return;
    }
    if (gap) {
      const { resumed, ...shown } = gap; // eslint-disable-line no-unused-vars
      this.#notify("onGap", shown);
      return;
    }
    if (event === "price_update") this.#price(body, replayed);
    if (HISTORY_EVENTS.has(event)) this.#storeAlert({ event, receivedAt: new Date().toISOString(), body });
    this.#notify(HANDLER_OF[event], body, { replayed });
  }

  #price(body, replayed) {
    if (!replayed) this.#latency.priced(body, Date.now());
    if (!(replayed && body.seq < this.#prices.get(body.instrument)?.seq)) this.#prices.set(body.instrument, body);
  }

  #snapshot(body) {
    this.#prices.set(body.instrument, body);
    this.#filler.note(body);
  }

  #storePrices(prices) {
    for (const [instrument, price] of Object.entries(prices)) {
      if (this.#prices.get(instrument)?.price.time !== price.time) this.#prices.set(instrument, { instrument, price });
    }
  }

  #storeAlert(alert) {
    this.#alertHistory.push(alert);
    if (this.#alertHistory.length > this.#options.alertHistory) this.#alertHistory.shift();
  }

  #closed(reason, retryInMs, error) {
    this.#notify("onDisconnect", { reason, reconnecting: retryInMs !== null, retryInMs });
    // Later, since a refusal by the close code of the socket is reported after this.
    if (retryInMs === null) queueMicrotask(() => this.#observing.end(error));
  }

  #failed(error, retryInMs) {
    if (retryInMs === null) this.#observing.end(error);
    error.details = { ...error.details, retry_in_ms: retryInMs };
    this.#notify("onError", error);
  }

  #register(name, handler) {
    if (typeof handler !== "function") throw new TypeError(`${name} takes a function.`);
    const handlers = this.#handlers.get(name);
    handlers.add(handler);
    return () => void handlers.delete(handler);
  }

  /** An exception of a handler is thrown later, so that other handlers and the connection go on. */
  #notify(name, ...args) {
    for (const handler of [...this.#handlers.get(name)]) {
      try {
        handler(...args);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

const CLIENT_CODES = new Set(["timeout", "not_connected", "disconnected"]); // codes without an event of the hub
