/**
 * The error of rejected promises and of `onError`. If it has details, its text contains them after
 * the code: `Invalid pairs. (invalid_payload; pairs: Not a list.)`. `toJSON` has the message alone.
 *
 * Codes of the hub: invalid_payload, unknown_instrument, no_price, too_many_requests, server_full,
 * unauthorized, forbidden, unavailable, internal.
 * Codes of the client: timeout, unreachable, not_connected, disconnected, auth_failed; and
 * invalid_payload for a request that cannot be sent.
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
const STATUS_CODES = { 401: "unauthorized", 403: "forbidden", 429: "too_many_requests" };
const CLOSE_CODES = { 4401: "unauthorized", 4403: "forbidden", 4429: "too_many_requests" };
const CLOSE_MESSAGES = {
  unauthorized: "The hub closed the connection: the credential is no longer valid.",
  forbidden: "The hub closed the connection: a right is missing.",
  too_many_requests: "The hub closed the connection: this client keeps sending above its rate.",
};

/** The error for a failed connection of Socket.IO, with a readable cause. */
export function connectionError(url, error) {
  if (isRefusal(error.data)) return TickwireError.from(error.data);
  const { status, responseText } = error.context ?? {}; // of a polling handshake
  if (STATUS_CODES[status] || status > 501)
    return handshakeError(url, status, error.context.getResponseHeader("retry-after"), responseText);
  const source = error.description?.error ?? error.description ?? error.context;
  const cause = CAUSES[source?.code] ?? source?.message ?? error.message;
  return unreachable(url, String(cause));
}

/** The error for a handshake that the hub has refused over HTTP. */
export function handshakeError(url, status, retryAfter, text) {
  if (!STATUS_CODES[status] && !(status > 501)) return unreachable(url, `Unexpected server response: ${status}`);
  const { code, reason, details } = answerError(status, retryAfter, text);
  return new TickwireError(code, `The hub at ${url} refuses the connection: ${reason.replace(/\.$/, "")}.`, { event: "connect", details });
}

/** The error for an HTTP answer: the code of its body, else of its status, else `code`. */
export function answerError(status, retryAfter, text, code) {
  const body = parsed(text);
  const ours = typeof body.error?.code === "string" ? body.error : {};
  const message = ours.message ?? (typeof body.message === "string" ? body.message : `HTTP ${status}`);
  const details = { ...ours.details };
  const seconds = retryAfter === null || retryAfter === undefined || retryAfter === "" ? NaN : Number(retryAfter);
  if (seconds >= 0 && details.retry_after === undefined) details.retry_after = seconds;
  return new TickwireError(ours.code ?? STATUS_CODES[status] ?? (status > 501 ? "unavailable" : code), message, { details });
}

/** The error for the close code of a WebSocket; null if the code has no meaning of its own. */
export function closeError(closeCode) {
  const code = CLOSE_CODES[closeCode];
  return code ? new TickwireError(code, CLOSE_MESSAGES[code], { event: "disconnect" }) : null;
}

function unreachable(url, cause) {
  return new TickwireError("unreachable", `Cannot reach the hub at ${url}: ${cause}.`, { event: "connect", details: { cause } });
}

function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
