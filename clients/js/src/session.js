/**
 * Requests and subscriptions over any number of connections. The session is ready once all
 * subscriptions and alerts are restored; requests wait for that. All received events go to
 * `listener`, in order.
 */
import { Connection } from "./connection.js";
import { TickwireError, isRefusal } from "./errors.js";
import { deadlineOf, limited, pause } from "./limits.js";
import { OwnAlerts } from "./own_alerts.js";
import { checkPayload } from "./payloads.js";
import { Renewal } from "./renewal.js";
import { Subscriptions } from "./subscriptions.js";

const LOST = Symbol("connection lost before the answer");
const BOOK_EVENTS = new Set(["book_snapshot", "book_update", "book_response", "book_state"]);
const BROADCASTS = new Set(["price_update", "candle_update", "volatility_alert", "correlation_alert", "data_ready"]);
const REFUSALS = new Set(["unauthorized", "forbidden"]); // that ended the connection for good
const RESUME_ANSWER_MS = 10_000; // time limit of each answer during the restoration
const [ALERTS_PER_BURST, ALERT_PAUSE_MS] = [150, 25]; // the hub accepts a burst of 200, then 50 per second
const RATE_LIMIT_PAUSE_MS = 500; // after a `too_many_requests`
const BOOK_PAUSE_MS = 1000; // between two requests of the client for the same book
const [MISSING_PAUSE_MS, MAX_MISSING_PAUSE_MS] = [1000, 30_000]; // before missing books are subscribed again
const MAX_LOST_SENDS = 2; // a request that ended two connections may be the cause of their end

/**
 * Methods of `listener` beside those of `Connection`:
 *   event(event, body)                          an event of the hub, unchanged
 *   step({ gap } | { event, body, replayed } | { book })   a step of `Subscriptions`
 *   spaceEvent(event, body)                     an event of the namespace `/metrics`
 *   ready()                                     all is restored on a new connection
 *   problem(error)                              an error that no request or connection has
 */
export class Session {
  #connection;
  #listener;
  #renewal;
  #state = "closed"; // "opening" until all is restored, then "ready"
  #number = 0; // of the current connection
  #waitingForReady = new Set(); // { resolve, reject } of callers that wait for "ready"
  #pendingAnswers = new Set(); // { lost } of requests without an answer
  #pendingSubscribes = []; // { payload, resumed } without an answer, in order
  #greeting = null;
  #lastError = null; // the last reason for a missing connection
  #nextBookRequest = new Map(); // "PAIR|depth" -> time on the monotonic clock
  subscriptions = new Subscriptions();
  alerts = new OwnAlerts();

  constructor(url, options, credentials, listener) {
    this.#listener = listener;
    this.#connection = new Connection(url, options, credentials, {
      opened: (about) => listener.opened(about),
      message: (event, body) => this.#message(event, body),
      spaceMessage: (event, body) => this.#spaceMessage(event, body),
      closed: (reason, retryInMs, error) => this.#closed(reason, retryInMs, error),
      failed: (error, retryInMs) => this.#failed(error, retryInMs),
    });
    this.#renewal = new Renewal(credentials, {
      send: (token) => this.#refresh(token),
      reconnect: () => this.#connection.reconnect("there is a new credential"),
      failed: (error) => listener.problem(error),
    });
  }

  get ready() {
    return this.#state === "ready";
  }

  /** Whether the client is connected, or tries to be. */
  get open() {
    return this.#state !== "closed";
  }

  /** Open unless open; resolves to the greeting. A timeout of 0 or Infinity means no limit. */
  async connect(timeout) {
    const begun = this.#state === "closed";
    if (begun) {
      this.#state = "opening";
      this.#lastError = null;
      this.#connection.open();
    }
    try {
      await this.#whenReady("connect", deadlineOf(timeout));
    } catch (error) {
      if (begun && error.code === "timeout") this.close();
      throw error;
    }
    return this.#greeting;
  }

  /** Close. A later `connect` restores the subscriptions and alerts. */
  close() {
    this.#state = "closed";
    this.#connection.close();
    this.#lastError = new TickwireError("disconnected", "The client was disconnected.");
    this.#forgetAnswers();
    this.#release(this.#lastError);
  }

  /**
   * Send a request and return `{ body, sentAt, receivedAt }` of its answer, on the monotonic clock.
   *
   * If the connection is lost, the request is sent again on the next one, once. All requests may be
   * repeated without harm. A `payload` that depends on the connection is a function.
   * @throws {TickwireError} a refusal of the hub, `invalid_payload` if the payload cannot be sent,
   *   `timeout`, `disconnected` or `not_connected`; `unauthorized` or `forbidden` after the hub has
   *   refused the client for good
   */
  async request(event, payload, timeout, { space = false } = {}) {
    const deadline = deadlineOf(timeout);
    this.checkOpen(event);
    checkPayload(event, typeof payload === "function" ? payload() : payload, this.#connection.maxPayload);
    for (let attempts = 0; attempts < MAX_LOST_SENDS; ) {
      await this.#whenReady(event, deadline);
      if (!this.ready) continue; // lost again in the same tick
      if (space && (await this.#joined(event, deadline)) === LOST) continue;
      const answer = await this.#exchange(event, payload, deadline, { space });
      if (answer !== LOST) return accepted(answer);
      attempts += 1;
    }
    if (this.#state === "closed") throw this.#lastError;
    const message = `The connection was lost ${MAX_LOST_SENDS} times before an answer to ${event}.`;
    throw new TickwireError("disconnected", message, { event, details: { attempts: MAX_LOST_SENDS } });
  }

  /** @throws {TickwireError} if the client is not connected and does not try to be */
  checkOpen(event) {
    if (this.#state === "closed" && REFUSALS.has(this.#lastError?.code)) throw this.#lastError;
    if (this.#state === "closed") throw new TickwireError("not_connected", "Not connected: call connect() first.", { event });
  }

  /** Join `/metrics`, unless that was done on this connection. Throws the refusal of the hub. */
  #joined(event, deadline) {
    return limited(
      deadline,
      () => this.#timeoutError(event),
      (resolve, reject) => {
        const waiter = { lost: () => resolve(LOST) };
        this.#pendingAnswers.add(waiter);
        this.#connection.join().then(resolve, reject);
        return () => this.#pendingAnswers.delete(waiter);
      },
    );
  }

  #whenReady(event, deadline) {
    if (this.#state === "ready") return Promise.resolve();
    if (this.#state === "closed") return Promise.reject(this.#lastError);
    return limited(
      deadline,
      () => this.#timeoutError(event),
      (resolve, reject) => {
        const waiter = { resolve, reject };
        this.#waitingForReady.add(waiter);
        return () => this.#waitingForReady.delete(waiter);
      },
    );
  }

  #timeoutError(event) {
    if (this.#lastError)
      return new TickwireError("timeout", this.#lastError.reason, {
        event,
        details: { ...this.#lastError.details, cause: this.#lastError.code },
      });
    return new TickwireError("timeout", `No connection to the hub in time for ${event}.`, { event });
  }

  #exchange(event, payload, deadline, { resumed = false, space = false } = {}) {
    const timeoutError = () => new TickwireError("timeout", `The hub did not answer ${event} in time.`, { event });
    return limited(deadline, timeoutError, (resolve) => {
      const waiter = { lost: () => resolve(LOST) };
      this.#pendingAnswers.add(waiter);
      if (event === "subscribe" && !space) this.#pendingSubscribes.push({ payload, resumed });
      const sentAt = performance.now();
      const data = typeof payload === "function" ? payload() : payload;
      this.#connection.emit(event, data, (body) => resolve({ body, sentAt, receivedAt: performance.now() }), space);
      return () => this.#pendingAnswers.delete(waiter);
    });
  }

  // received messages

  #message(event, body) {
    if (event === "error") this.#refused(body);
    this.#listener.event(event, body);
    if (event === "connection_established") this.#greeted(body);
    else if (event === "subscription_confirmed")
      this.#passSteps(this.subscriptions.confirmed(this.#pendingSubscribes.shift() ?? { payload: {} }, body));
    else if (event === "unsubscription_confirmed") this.subscriptions.unsubscribed(body);
    else if (event === "instruments_changed") this.#instrumentsChanged(body);
    else if (event === "credentials_expiring") this.#renewal.expiring(body);
    else if (event === "refreshed") this.subscriptions.left(body.removed);
    else if (event === "gap_notice") this.#passSteps(this.subscriptions.noticed(body));
    else if (BOOK_EVENTS.has(event)) this.#passSteps(this.subscriptions.books.received(event, body));
    else if (BROADCASTS.has(event)) this.#passSteps(this.subscriptions.received(event, body));
    else if (event === "alert_triggered") this.#passSteps([{ event, body: this.alerts.fired(body), replayed: false }]);
    for (const topic of this.subscriptions.books.takeBroken()) this.#requestBook(topic);
  }

  /** Errors of the whole session may come in this namespace, without one in the main namespace. */
  #spaceMessage(event, body) {
    if (event === "error" && body.event === "disconnect") this.#connection.refused(TickwireError.from(body));
    this.#listener.spaceEvent(event, body);
  }

  /** A subscription to all instruments holds those of its moment: repeat it for added ones. */
  async #instrumentsChanged({ added, removed }) {
    this.subscriptions.dropped(removed);
    if (!added.length) return;
    const number = this.#number;
    const waiting = this.subscriptions.allAgain();
    try {
      while (waiting.length) {
        const answer = await this.#exchange("subscribe", waiting[0], deadlineOf(RESUME_ANSWER_MS));
        if (answer === LOST) return;
        if (answer.body.code === "too_many_requests") await pause(RATE_LIMIT_PAUSE_MS);
        else waiting.shift();
        if (number !== this.#number) return; // the new connection has subscribed to them
      }
    } catch {
      // No answer in time: the connection is about to end, and the next one subscribes to them.
    }
  }

  /** Request a broken book, unless that was done within the last second. */
  #requestBook({ pair, depth }) {
    const [key, now] = [`${pair}|${depth}`, performance.now()];
    if (this.#state === "closed" || now < (this.#nextBookRequest.get(key) ?? 0)) return; // its next message asks again
    this.#nextBookRequest.set(key, now + BOOK_PAUSE_MS);
    this.#connection.emit("request_book", { instrument: pair, depth }, () => {});
  }

  /** Subscribe to the books that this hub does not have yet, until it has them. */
  async #awaitBooks() {
    const { books } = this.subscriptions;
    const number = this.#number;
    for (let wait = MISSING_PAUSE_MS; books.hasMissing; wait = Math.min(2 * wait, MAX_MISSING_PAUSE_MS)) {
      await pause(wait);
      if (number !== this.#number) return; // the next connection subscribes to all
      for (const { payload } of books.missingAgain()) await this.#resend("subscribe", payload).catch(() => {});
    }
  }

  #refused(body) {
    if (body.event === "subscribe") this.#pendingSubscribes.shift();
    if (body.event === "disconnect") this.#connection.refused(TickwireError.from(body)); // the hub closes next
  }

  /** Exchange the token of this connection. The body of the answer; null if the connection is lost. */
  async #refresh(token) {
    try {
      const answer = await this.#exchange("refresh", { token }, deadlineOf(RESUME_ANSWER_MS));
      return answer === LOST ? null : answer.body;
    } catch (error) {
      return error.toJSON(); // no answer in time
    }
  }

  #passSteps(steps) {
    for (const step of steps) this.#listener.step(step);
  }

  async #greeted(greeting) {
    if (this.#state !== "opening") return; // a handler has called disconnect()
    const number = this.#number;
    this.#greeting = greeting;
    this.#connection.greeted();
    try {
      await this.#resume(greeting);
    } catch (error) {
      if (number === this.#number) this.#connection.discard(error);
      return;
    }
    if (number !== this.#number || this.#state !== "opening") return;
    this.#state = "ready";
    this.#lastError = null;
    this.#connection.settled();
    this.#release(null);
    this.#listener.ready();
    this.#awaitBooks();
  }

  /** Restore subscriptions and alerts. The subscribes are sent before any other request. */
  async #resume(greeting) {
    const number = this.#number;
    const answers = this.subscriptions.resumption(greeting.available_pairs).map((entry) => this.#resend("subscribe", entry.payload));
    for (const answer of await Promise.all(answers)) if (answer !== LOST && !this.#isWithoutHeartbeat(answer)) accepted(answer);
    for (const [index, [id, payload]] of this.alerts.toSetAgain().entries()) {
      if (index >= ALERTS_PER_BURST) await pause(ALERT_PAUSE_MS);
      const answer = await this.#setAgain(payload, number);
      if (number !== this.#number || answer === LOST) return;
      if (isRefusal(answer.body)) this.alerts.drop(id);
      else this.alerts.set(payload, answer.body, id);
    }
  }

  /** Whether the credential may no longer receive heartbeats; the subscription to them ends. */
  #isWithoutHeartbeat({ body }) {
    const { books } = this.subscriptions;
    if (!books.heartbeat || !body.details?.scope?.includes("observe")) return false;
    books.heartbeat = false;
    return true;
  }

  async #setAgain(payload, number) {
    for (;;) {
      const answer = await this.#resend("set_alert", payload);
      const rateLimited = answer !== LOST && answer.body.code === "too_many_requests" && answer.body.details?.limit === undefined;
      if (!rateLimited) return answer;
      await pause(RATE_LIMIT_PAUSE_MS);
      if (number !== this.#number) return LOST;
    }
  }

  #resend(event, payload) {
    return this.#exchange(event, payload, deadlineOf(RESUME_ANSWER_MS), { resumed: true });
  }

  // connection

  #closed(reason, retryInMs, error = new TickwireError("disconnected", `The connection is lost: ${reason}.`)) {
    this.#connectionGone(error, retryInMs);
    this.#listener.closed(reason, retryInMs, error);
  }

  #failed(error, retryInMs) {
    this.#connectionGone(error, retryInMs);
    this.#listener.failed(error, retryInMs);
  }

  #connectionGone(error, retryInMs) {
    this.#state = retryInMs === null ? "closed" : "opening";
    this.#lastError = error;
    this.#forgetAnswers();
    if (retryInMs === null) this.#release(error);
  }

  #forgetAnswers() {
    this.#number += 1;
    this.#renewal.stop();
    this.#pendingSubscribes = [];
    for (const waiter of [...this.#pendingAnswers]) waiter.lost();
  }

  #release(error) {
    for (const waiter of [...this.#waitingForReady]) error ? waiter.reject(error) : waiter.resolve();
  }
}

function accepted(answer) {
  if (isRefusal(answer.body)) throw TickwireError.from(answer.body);
  return answer;
}
