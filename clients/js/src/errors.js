/**
 * What promises reject with and `onError` is told: `code` is one of the hub's, or one of the client's own.
 *
 * The hub's: invalid_payload, unknown_instrument, no_price, too_many_requests, server_full, unauthorized, unavailable, internal.
 * The client's: timeout, unreachable, not_connected, disconnected, protocol.
 */
export class TickwireError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ event?: string | null, details?: object }} [more] event: what was asked; details: what goes beyond the message
   */
  constructor(code, message, { event = null, details = {} } = {}) {
    super(message);
    this.name = "TickwireError";
    this.code = code;
    this.event = event;
    this.details = details;
  }

  /** From the body of the hub's `error`. */
  static from({ code, message, event, details }) {
    return new TickwireError(code, message, { event, details: details ?? {} });
  }

  toJSON() {
    return { code: this.code, message: this.message, event: this.event, details: this.details };
  }
}

/** Whether an answer of the hub is a refusal: acks have the same body whether it says yes or no. */
export function isRefusal(body) {
  return typeof body?.code === "string" && typeof body.message === "string" && "details" in body;
}

const CAUSES = { ECONNREFUSED: "nothing listens there", ENOTFOUND: "there is no such host", EHOSTUNREACH: "there is no way to that host" };

/** What Socket.IO says about a connection that did not come about, in plain words. */
export function connectionError(url, error) {
  if (isRefusal(error.data)) return TickwireError.from(error.data);
  const source = error.description?.error ?? error.description ?? error.context;
  const cause = CAUSES[source?.code] ?? source?.message ?? error.message;
  return new TickwireError("unreachable", `Cannot reach the hub at ${url}: ${cause}.`, {
    event: "connect",
    details: { cause: String(cause) },
  });
}
