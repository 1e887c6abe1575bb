/** Reports as bodies, and as batches that the hub accepts. Pure but for new ids and times. */
import { TickwireError } from "./errors.js";
import { DEFAULT_MAX_PAYLOAD, checkPayload } from "./payloads.js";

const MAX_REPORTS = 500; // of a batch
const MAX_BATCH_BYTES = DEFAULT_MAX_PAYLOAD - 256; // without the name of the event and the number of the ack
const DECIMALS = ["quantity", "price", "fee", "multiplier", "decision_price", "arrival_price", "equity", "cash"];
const TIMES = ["time", "decision_time"];

/**
 * The body of a report: with `bot`, an id and a time, without missing values.
 * @throws {TickwireError} `invalid_payload`; `index` is the place of the report in the call
 */
export function reportBody(report, index, bot) {
  if (report === null || typeof report !== "object") throw refused("reports", `Report ${index}: not an object.`);
  const fields = Object.entries({ bot, ...report }).filter(([, value]) => value !== undefined && value !== null);
  const body = Object.fromEntries(fields.map(([name, value]) => [name, textOf(name, value, index)]));
  if (body.bot === undefined) throw refused("bot", `Report ${index}: Missing. Use the option bot of the client.`);
  if (body.kind === "fill") {
    body.id ??= body.fill_id;
    body.fill_id ??= body.id;
  }
  body.id ??= newId();
  body.time ??= new Date().toISOString();
  checkPayload("report", { reports: [body] });
  return body;
}

/** Lists of at most 500 reports, each within the largest message of the hub. */
export function* batches(bodies) {
  const encoder = new TextEncoder();
  let part = [];
  let size = 0;
  for (const body of bodies) {
    const bytes = encoder.encode(JSON.stringify(body)).length + 1;
    if (part.length && (part.length === MAX_REPORTS || size + bytes > MAX_BATCH_BYTES)) {
      yield { bodies: part, bytes: size };
      [part, size] = [[], 0];
    }
    part.push(body);
    size += bytes;
  }
  if (part.length) yield { bodies: part, bytes: size };
}

/** Whether two batches may be sent as one. */
export function joinable(reports, bytes) {
  return reports <= MAX_REPORTS && bytes <= MAX_BATCH_BYTES;
}

function textOf(name, value, index) {
  if (DECIMALS.includes(name) && typeof value !== "string")
    throw refused(name, `Report ${index}: not text. A decimal is a string such as "1.0945".`);
  if (TIMES.includes(name) && value instanceof Date && !Number.isNaN(value.valueOf())) return value.toISOString();
  return value;
}

function newId() {
  const part = () => Math.random().toString(36).slice(2, 12);
  return `${Date.now().toString(36)}-${part()}${part()}`;
}

function refused(name, problem) {
  const error = new TickwireError("invalid_payload", `Invalid ${name} of report; nothing was sent.`, {
    event: "report",
    details: { [name]: [problem] },
  });
  error.local = true;
  return error;
}
