/**
 * One socket at a time to the hub. A lost socket is reopened with back-off, or after the
 * `retry_after` of the hub. Each attempt has a socket of its own, so that events of an earlier one
 * are ignored.
 */
import { io } from "socket.io-client";
import { TickwireError, connectionError } from "./errors.js";

const PERMANENT_CODES = new Set(["unauthorized", "invalid_payload"]); // codes of refusals that a retry cannot change
const FLOOD_CLOSE_CODE = 4429; // the hub closes a client that keeps sending above its rate
const MIN_FLOOD_RETRY_MS = 1000;

/**
 * Methods of `listener`:
 *   opened({ id, transport })        the hub answers; its greeting follows
 *   message(event, body)             an event of the hub
 *   closed(reason, retryInMs)        an open connection is lost
 *   failed(error, retryInMs)         an attempt has failed
 * `retryInMs` is null if no further attempt follows.
 */
export class Connection {
  #url;
  #options;
  #listener;
  #socket = null;
  #open = false;
  #attempts = 0;
  #retryAfter = null; // ms, from the hub's `unavailable`
  #timer = null; // of the next attempt, or of the time limit of this one

  /** `options` are those of the client; times in ms. */
  constructor(url, options, listener) {
    this.#url = url;
    this.#options = options;
    this.#listener = listener;
  }

  /** Start the first attempt. */
  open() {
    this.#attempts = 0;
    this.#attempt();
  }

  /** Close without calling the listener. */
  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    if (!socket) return;
    socket.offAny();
    socket.off();
    socket.disconnect();
  }

  /** The hub has sent its greeting: stop the time limit of the attempt. */
  greeted() {
    clearTimeout(this.#timer);
  }

  /** All subscriptions are restored: reset the back-off. */
  settled() {
    this.#attempts = 0;
    this.#retryAfter = null;
  }

  /** Close an unusable connection and schedule the next attempt. */
  discard(error) {
    if (this.#socket) this.#failed(error);
  }

  /** Wait so long before the next attempt, as the hub requested. */
  retryAfter(seconds) {
    if (Number.isFinite(seconds)) this.#retryAfter = seconds * 1000;
  }

  /** The largest message in bytes that the hub accepts; undefined before its handshake. */
  get maxPayload() {
    const bytes = this.#socket?.io.engine?._maxPayload;
    return bytes > 0 ? bytes : undefined;
  }

  /** Send an event. `answer` is called with the body of the ack, unless the connection is lost. */
  emit(event, payload, answer) {
    if (payload === undefined) this.#socket.emit(event, answer);
    else this.#socket.emit(event, payload, answer);
  }

  #attempt() {
    const { attemptTimeout, auth, socketOptions, transports } = this.#options;
    const connect = this.#options.io ?? io;
    const socket = connect(this.#url, { ...socketOptions, auth, transports, forceNew: true, reconnection: false, autoConnect: false });
    this.#socket = socket;
    const ifCurrent =
      (handle) =>
      (...args) => {
        if (socket === this.#socket) handle(...args);
      };
    socket.on(
      "connect",
      ifCurrent(() => this.#opened()),
    );
    socket.on(
      "connect_error",
      ifCurrent((error) => this.#failed(connectionError(this.#url, error))),
    );
    socket.on(
      "disconnect",
      ifCurrent((reason, cause) => this.#lost(reason, cause?.context?.code)),
    );
    socket.onAny(ifCurrent((event, body) => this.#received(event, body)));
    const timeoutError = new TickwireError("unreachable", `No hub answers at ${this.#url} within ${attemptTimeout / 1000} s.`, {
      event: "connect",
    });
    this.#timer = setTimeout(() => this.#failed(timeoutError), attemptTimeout);
    socket.connect();
  }

  /** Socket.IO passes on events of the CONNECT packet before it emits `connect`. */
  #received(event, body) {
    this.#opened();
    if (this.#socket) this.#listener.message(event, body);
  }

  #opened() {
    if (this.#open) return;
    this.#open = true;
    this.#listener.opened({ id: this.#socket.id, transport: this.#socket.io.engine.transport.name });
  }

  #lost(reason, closeCode) {
    this.close();
    const flooded = closeCode === FLOOD_CLOSE_CODE;
    const wait = this.#scheduleAttempt(true, flooded ? MIN_FLOOD_RETRY_MS : 0);
    this.#listener.closed(reason, wait);
    if (!flooded) return;
    const message = "The hub closed the connection: this client keeps sending above its rate.";
    this.#listener.failed(new TickwireError("too_many_requests", message, { event: "disconnect" }), wait);
  }

  #failed(error) {
    const wasOpen = this.#open;
    this.close();
    this.retryAfter(error.details?.retry_after);
    const wait = this.#scheduleAttempt(!PERMANENT_CODES.has(error.code));
    if (wasOpen) this.#listener.closed(error.reason ?? error.message, wait);
    this.#listener.failed(error, wait);
  }

  /** Schedule the next attempt; return its delay in ms, at least `least`, or null if there is none. */
  #scheduleAttempt(retry, least = 0) {
    if (!retry || !this.#options.reconnection) return null;
    const { reconnectionDelay, reconnectionDelayMax } = this.#options;
    const longest = Math.min(reconnectionDelayMax, reconnectionDelay * 2 ** this.#attempts);
    const usual = longest * (0.5 + Math.random() / 2); // jitter spreads the reconnections of clients
    const wait = Math.max(this.#retryAfter ?? usual, least * (1 + Math.random() / 2));
    this.#retryAfter = null;
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#attempt(), wait);
    return Math.round(wait);
  }
}
