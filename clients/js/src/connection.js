/**
 * One socket at a time to the hub. A lost socket is reopened with back-off, or after the
 * `retry_after` of the hub. Each attempt has a socket of its own, so that events of an earlier one
 * are ignored.
 */
import { io } from "socket.io-client";
import { TickwireError, closeError, connectionError, handshakeError } from "./errors.js";
import { spread } from "./limits.js";
import { Space } from "./space.js";

const PERMANENT_CODES = new Set(["unauthorized", "forbidden", "invalid_payload"]); // codes of refusals that a retry cannot change
const MIN_FLOOD_RETRY_MS = 1000; // after the hub has closed the connection because of too many messages
const MAX_ANSWER_LENGTH = 4096; // of a refused handshake

/**
 * Methods of `listener`:
 *   opened({ id, transport })        the hub answers; its greeting follows
 *   message(event, body)             an event of the hub
 *   spaceMessage(event, body)        an event of the namespace `/metrics`
 *   closed(reason, retryInMs, error) an open connection is lost; `error` is a refusal of the hub
 *                                    that its events have reported, or undefined
 *   failed(error, retryInMs)         an attempt has failed
 * `retryInMs` is null if no further attempt follows.
 */
export class Connection {
  #url;
  #options;
  #credentials;
  #listener;
  #socket = null;
  #space = null; // the namespace `/metrics`, from its first use on this connection
  #open = false;
  #attempts = 0;
  #retryAfter = null; // ms, as the hub requested
  #refusal = null; // the reason that the hub has sent before it closes the connection for good
  #limit = null; // the limit that the hub has named before it closes the connection
  #timer = null; // of the next attempt, or of the time limit of this one

  /** `options` are those of the client; times in ms. */
  constructor(url, options, credentials, listener) {
    this.#url = url;
    this.#options = options;
    this.#credentials = credentials;
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
    this.#leaveSpace();
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    this.#refusal = null;
    this.#limit = null;
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

  /** The hub has sent the reason for which it closes the connection next. */
  refused(error) {
    if (PERMANENT_CODES.has(error.code)) this.#refusal = error;
    if (error.code === "too_many_requests") this.#limit = error;
    this.retryAfter(error.details.retry_after);
  }

  /** Close the connection and open another one at once. */
  reconnect(reason) {
    if (!this.#open || !this.#options.reconnection) return;
    this.close();
    this.#timer = setTimeout(() => this.#attempt(), 0);
    this.#listener.closed(reason, 0);
  }

  /** Wait at least so long before the next attempt, as the hub requested. */
  retryAfter(seconds) {
    if (Number.isFinite(seconds)) this.#retryAfter = seconds * 1000;
  }

  /** The largest message in bytes that the hub accepts; undefined before its handshake. */
  get maxPayload() {
    const bytes = this.#socket?.io.engine?._maxPayload;
    return bytes > 0 ? bytes : undefined;
  }

  /** Join `/metrics`, unless that was done. The promise rejects with the refusal of the hub. */
  join() {
    this.#space ??= this.#newSpace(this.#socket);
    return this.#space.joined;
  }

  /**
   * Send an event. `answer` is called with the body of the ack, unless the connection is lost. With
   * `space`, send it in `/metrics`, which must be joined.
   */
  emit(event, payload, answer, space = false) {
    if (space) this.#space.emit(event, payload, answer);
    else if (payload === undefined) this.#socket.emit(event, answer);
    else this.#socket.emit(event, payload, answer);
  }

  #newSpace(socket) {
    const space = new Space(socket, this.#credentials, (event, body) => {
      if (space === this.#space) this.#listener.spaceMessage(event, body);
    });
    space.joined.catch(() => {
      if (space === this.#space) this.#leaveSpace(); // the next call sends CONNECT again
    });
    return space;
  }

  #leaveSpace() {
    const space = this.#space;
    this.#space = null;
    space?.close();
  }

  #attempt() {
    const { attemptTimeout, socketOptions, transports } = this.#options;
    const connect = this.#options.io ?? io;
    const auth = this.#credentials.given ? (send) => this.#authenticate(socket, send) : undefined;
    const socket = connect(this.#url, { ...socketOptions, auth, transports, forceNew: true, reconnection: false, autoConnect: false });
    this.#socket = socket;
    const ifCurrent = (handle) => this.#ifCurrent(socket, handle);
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
      // Later, since Socket.IO has not yet passed on the packets before a close packet of polling.
      ifCurrent((reason, cause) => setTimeout(ifCurrent(() => this.#lost(reason, cause?.context?.code)))),
    );
    socket.onAny(ifCurrent((event, body) => this.#received(event, body)));
    const timeoutError = new TickwireError("unreachable", `No hub answers at ${this.#url} within ${attemptTimeout / 1000} s.`, {
      event: "connect",
    });
    this.#timer = setTimeout(() => this.#failed(timeoutError), attemptTimeout);
    socket.connect();
    onRefusedHandshake(
      socket,
      ifCurrent((...answer) => this.#failed(handshakeError(this.#url, ...answer))),
    );
  }

  /** Events of an earlier socket are ignored. */
  #ifCurrent(socket, handle) {
    return (...args) => {
      if (socket === this.#socket) handle(...args);
    };
  }

  /** Pass the payload of CONNECT to `send`. Socket.IO keeps no credential, since `auth` is a function. */
  #authenticate(socket, send) {
    const failed = this.#ifCurrent(socket, (error) => this.#failed(error));
    this.#credentials.renew(this.#options.attemptTimeout).then(this.#ifCurrent(socket, send), failed);
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
    for (const [event, body] of this.#socket.receiveBuffer) this.#received(event, body); // Socket.IO drops them
    if (!this.#socket) return; // a handler has called disconnect()
    const refusal = this.#refusal;
    const error = refusal ?? this.#limit ?? closeError(closeCode);
    this.close();
    const flooded = error?.code === "too_many_requests";
    const wait = this.#scheduleAttempt(!PERMANENT_CODES.has(error?.code), flooded ? MIN_FLOOD_RETRY_MS : 0);
    this.#listener.closed(reason, wait, refusal ?? undefined);
    if (error && !refusal) this.#listener.failed(error, wait);
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
    const named = this.#retryAfter === null ? usual : spread(this.#retryAfter);
    const wait = Math.max(named, least * (1 + Math.random() / 2));
    this.#retryAfter = null;
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#attempt(), wait);
    return Math.round(wait);
  }
}

/**
 * Call `refused(status, retryAfter, text)` if the hub refuses the handshake over HTTP. Only `ws`, the
 * WebSocket of Node, has the answer: browsers hide it. Errors of polling have it themselves.
 */
function onRefusedHandshake(socket, refused) {
  const ws = socket.io?.engine?.transport?.ws;
  if (typeof ws?.on !== "function") return;
  ws.on("unexpected-response", (request, response) => {
    let text = "";
    const end = () => refused(response.statusCode, response.headers["retry-after"], text);
    response.setEncoding("utf8");
    response.on("data", (part) => (text = (text + part).slice(0, MAX_ANSWER_LENGTH)));
    response.on("end", end);
    response.on("error", end);
  });
}
