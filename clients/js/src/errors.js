/**
 * The error of rejected promises and of `onError`. If it has details, its text contains them after
 * the code: `Invalid pairs. (invalid_payload; pairs: Not a list.)`. `toJSON` has the message alone.
 *
 * Codes of the hub: invalid_payload, unknown_instrument, no_price, too_many_requests, server_full,
 * unauthorized, unavailable, internal.
 * Codes of the client: timeout, unreachable, not_connected, disconnected; and invalid_payload for a
 * request that cannot be sent.
 */
export class TickwireError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ event?: string | null, details?: object }} [more] event: name of the request;
   *   details: machine-readable fields
   */
  constructor(code, message, { event = null, details = {} } = {}) {
    const texts = textsOf(details);
    super(texts.length ? `${message} (${[code, ...texts].join("; ")})` : message);
    this.name = "TickwireError";
    this.code = code;
    this.event = event;
    this.details = details;
    Object.defineProperty(this, "local", { value: false, writable: true }); // true if no hub has sent it
    Object.defineProperty(this, "reason", { value: message }); // the message without code and details
  }

  /** From the body of an `error` event. */
  static from({ code, message, event, details }) {
    return new TickwireError(code, message, { event, details: details ?? {} });
  }

  toJSON() {
    return { code: this.code, message: this.reason, event: this.event, details: this.details };
  }
}

/** `pairs: Not a list. Too long.` for each field of details. The message has `cause` already. */
function textsOf(details) {
  return Object.entries(details)
    .filter(([field]) => field !== "cause")
    .map(([field, value]) => `${field}: ${valueText(value)}`);
}

function valueText(value) {
  if (typeof value === "string") return value;
  if (!Array.isArray(value) || value.some((each) => typeof each !== "string")) return JSON.stringify(value);
  return value.join(value.every((each) => each.endsWith(".")) ? " " : ", ");
}

/** Whether an ack is a refusal: only errors have all of these fields. */
export function isRefusal(body) {
  return typeof body?.code === "string" && typeof body.message === "string" && "details" in body;
}

const CAUSES = { ECONNREFUSED: "nothing listens there", ENOTFOUND: "there is no such host", EHOSTUNREACH: "there is no way to that host" };

/** The error for a failed connection of Socket.IO, with a readable cause. */
export function connectionError(url, error) {
  if (isRefusal(error.data)) return TickwireError.from(error.data);
  const source = error.description?.error ?? error.description ?? error.context;
  const cause = CAUSES[source?.code] ?? source?.message ?? error.message;
  return new TickwireError("unreachable", `Cannot reach the hub at ${url}: ${cause}.`, {
    event: "connect",
    details: { cause: String(cause) },
  });
}
