/**
 * One socket at a time to the hub, for as long as it is wanted: lost, it is opened again, later and later, or when the hub said so.
 * Every attempt has a socket of its own, so that nothing of an earlier one is ever heard.
 */
import { io } from "socket.io-client";
import { TickwireError, connectionError } from "./errors.js";

const PERMANENT_CODES = new Set(["unauthorized"]); // codes of a refusal that no second attempt will change

/**
 * What is told to `listener`:
 *   opened({ id, transport })        the hub answers; its greeting follows
 *   message(event, body)             an event of the hub
 *   closed(reason, retryInMs)        a connection that was open is gone
 *   failed(error, retryInMs)         an attempt came to nothing
 * `retryInMs` is null where there will be no further attempt.
 */
export class Connection {
  #url;
  #options;
  #listener;
  #socket = null;
  #open = false;
  #attempts = 0;
  #retryAfter = null; // ms, from the hub's `unavailable`
  #timer = null; // of the next attempt, or of this one's time limit

  /** `options` are the client's; times in ms */
  constructor(url, options, listener) {
    this.#url = url;
    this.#options = options;
    this.#listener = listener;
  }

  /** Begin. */
  open() {
    this.#attempts = 0;
    this.#attempt();
  }

  /** End, and tell nobody. */
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

  /** It is a hub, and it answers. */
  greeted() {
    clearTimeout(this.#timer);
  }

  /** The connection is of use: the next loss begins to wait from the start. */
  settled() {
    this.#attempts = 0;
    this.#retryAfter = null;
  }

  /** The connection is of no use: another. */
  discard(error) {
    if (this.#socket) this.#failed(error);
  }

  /** The hub asked to be left alone for so long. */
  retryAfter(seconds) {
    if (Number.isFinite(seconds)) this.#retryAfter = seconds * 1000;
  }

  /** Send an event; `answer` is called with the ack's body, unless the connection goes first. */
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
      ifCurrent((reason) => this.#lost(reason)),
    );
    socket.onAny(ifCurrent((event, body) => this.#received(event, body)));
    const timeoutError = new TickwireError("unreachable", `No hub answers at ${this.#url} within ${attemptTimeout / 1000} s.`, {
      event: "connect",
    });
    this.#timer = setTimeout(() => this.#failed(timeoutError), attemptTimeout);
    socket.connect();
  }

  /** What came with the CONNECT packet is heard before Socket.IO says that it is connected. */
  #received(event, body) {
    this.#opened();
    if (this.#socket) this.#listener.message(event, body);
  }

  #opened() {
    if (this.#open) return;
    this.#open = true;
    this.#listener.opened({ id: this.#socket.id, transport: this.#socket.io.engine.transport.name });
  }

  #lost(reason) {
    this.close();
    this.#listener.closed(reason, this.#scheduleAttempt(true));
  }

  #failed(error) {
    const wasOpen = this.#open;
    this.close();
    const wait = this.#scheduleAttempt(!PERMANENT_CODES.has(error.code));
    if (wasOpen) this.#listener.closed(error.message, wait);
    this.#listener.failed(error, wait);
  }

  /** Set the next attempt; in how many ms it will be. */
  #scheduleAttempt(retry) {
    if (!retry || !this.#options.reconnection) return null;
    const { reconnectionDelay, reconnectionDelayMax } = this.#options;
    const longest = Math.min(reconnectionDelayMax, reconnectionDelay * 2 ** this.#attempts);
    const wait = this.#retryAfter ?? longest * (0.5 + Math.random() / 2); // jitter, so that clients do not all come in the same instant
    this.#retryAfter = null;
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#attempt(), wait);
    return Math.round(wait);
  }
}
