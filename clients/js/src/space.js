/**
 * The namespace `/metrics` on one socket of a connection. It is joined on first use and shares the
 * session of the main namespace.
 */
import { TickwireError, isRefusal } from "./errors.js";

export const METRICS = "/metrics";

export class Space {
  #socket;
  #joined;

  /** `main` is the connected socket of the main namespace; `message(event, body)` receives all events. */
  constructor(main, credentials, message) {
    const socket = main.io.socket(METRICS, { auth: (send) => send(credentials.payload ?? {}) });
    this.#socket = socket;
    this.#joined = new Promise((resolve, reject) => {
      socket.on("connect", () => resolve());
      socket.on("connect_error", (error) => reject(refusalOf(error)));
    });
    this.#joined.catch(() => {}); // a caller that no longer waits leaves the rejection unhandled
    socket.onAny(message);
    socket.connect();
  }

  /** Resolves once the hub has accepted the client; rejects with its refusal. */
  get joined() {
    return this.#joined;
  }

  /** Whether an event may be sent. */
  get open() {
    return this.#socket.connected;
  }

  emit(event, payload, answer) {
    this.#socket.emit(event, payload, answer);
  }

  close() {
    this.#socket.offAny();
    this.#socket.off();
    this.#socket.disconnect();
  }
}

function refusalOf(error) {
  if (isRefusal(error.data)) return TickwireError.from(error.data);
  return new TickwireError("forbidden", `Cannot join ${METRICS}: ${error.message}.`, { event: "connect" });
}
