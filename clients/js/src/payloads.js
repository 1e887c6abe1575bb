/**
 * The check of a request before it is sent. JavaScript would write NaN as null and half a character
 * as an escape that other parsers refuse. Pure.
 */
import { TickwireError } from "./errors.js";

export const DEFAULT_MAX_PAYLOAD = 64 * 1024; // bytes; the hub announces its own number
const MAX_DEPTH = 16; // levels of a payload that the hub accepts
const ENVELOPE_BYTES = 32; // packet type, namespace and number of the ack
const HALF_CHARACTER = /\p{Surrogate}/u;

/**
 * Check the payload of an event.
 * @throws {TickwireError} `invalid_payload`, with the field in `details`, as the hub would answer
 */
export function checkPayload(event, payload, maxBytes = DEFAULT_MAX_PAYLOAD) {
  if (payload === undefined) return;
  const problems = Object.entries(payload).flatMap(([name, value]) => {
    const problem = problemOf(name, MAX_DEPTH) ?? problemOf(value, 2);
    return problem ? [[name, [problem]]] : [];
  });
  if (problems.length) throw invalid(event, Object.fromEntries(problems));
  const bytes = new TextEncoder().encode(JSON.stringify([event, payload])).length + ENVELOPE_BYTES;
  if (bytes > maxBytes) throw invalid(event, { payload: [`${bytes} bytes: the hub accepts at most ${maxBytes}.`] });
}

function problemOf(value, depth) {
  if (typeof value === "string") return HALF_CHARACTER.test(value) ? "Not Unicode text: it has half of a surrogate pair." : null;
  if (typeof value === "number") return Number.isFinite(value) ? null : "Not a finite number.";
  if (typeof value === "bigint") return "A BigInt: send a number or text.";
  if (value === null || typeof value !== "object" || typeof value.toJSON === "function") return isBinary(value) ? ATTACHMENT : null;
  if (isBinary(value)) return ATTACHMENT;
  if (depth > MAX_DEPTH) return `Nested deeper than ${MAX_DEPTH} levels.`;
  const items = Array.isArray(value) ? value : Object.entries(value).flat();
  for (const item of items) {
    const problem = problemOf(item, depth + 1);
    if (problem) return problem;
  }
  return null;
}

const ATTACHMENT = "An attachment: values are JSON.";

function isBinary(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) || (typeof Blob === "function" && value instanceof Blob);
}

function invalid(event, details) {
  const error = new TickwireError("invalid_payload", `Invalid ${Object.keys(details).join(", ")}; nothing was sent.`, { event, details });
  error.local = true;
  return error;
}
