/**
 * Prices of this program: `POST /prices` of REST.
 *
 * A price without a time gets the present time here, so that a request that is repeated after a lost
 * answer is not accepted twice.
 */
import { pause } from "./limits.js";
import { Rest, local } from "./rest.js";

const MAX_PRICES = 500; // of one request
const MAX_BYTES = 256 * 1024;
const ATTEMPTS = 3;
const PAUSE_MS = 500; // before the second attempt; doubles
const EVENT = "publish";
const TYPE = { "Content-Type": "application/x-ndjson" };

export class Publishing {
  #rest;
  #lastMs = 0;
  #inMs = 0; // prices of that millisecond

  /** `restUrl` is undefined if it is not configured: REST then has port 5000 beside a hub with 5001. */
  constructor(restUrl, hubUrl, credentials) {
    this.#rest = new Rest(restUrl ?? besideHub(hubUrl), credentials);
  }

  /** Publish one price. Rejects if it is not accepted. */
  async one(price, timeout) {
    const result = await this.many([price], timeout);
    for (const { code, message } of result.rejected) {
      throw refused(code, message, { instrument: [price.instrument] });
    }
    return result;
  }

  /** Publish prices in this order. Refused ones are in the result. */
  async many(prices, timeout) {
    const lines = prices.map((price, index) => this.#line(price, index));
    const result = { accepted: 0, duplicates: 0, rejected: [] };
    for (const [first, batch] of batches(lines)) {
      const { accepted, duplicates, rejected } = await this.#send(batch.join("\n"), timeout);
      result.accepted += accepted;
      result.duplicates += duplicates;
      result.rejected.push(...rejected.map((each) => ({ ...each, index: each.index + first })));
    }
    return result;
  }

  #line(price, index) {
    const { time = this.#now(), ...others } = given(price);
    const fields = { ...others, time: time instanceof Date && !Number.isNaN(time.valueOf()) ? time.toISOString() : time };
    for (const [name, value] of Object.entries(fields)) {
      if (typeof value !== "string" || /\p{Surrogate}/u.test(value)) {
        const problem = `Price ${index}: not text. A price is a decimal string such as "1.0945".`;
        throw refused("invalid_payload", `Invalid ${name}; nothing was sent.`, { [name]: [problem] });
      }
    }
    return JSON.stringify(fields);
  }

  /** The present time, later than the one before: prices of one millisecond get its microseconds. */
  #now() {
    const ms = Math.max(Date.now(), this.#lastMs);
    this.#inMs = ms === this.#lastMs ? this.#inMs + 1 : 0;
    this.#lastMs = this.#inMs < 1000 ? ms : ms + 1;
    this.#inMs %= 1000;
    return new Date(this.#lastMs).toISOString().replace("Z", `${String(this.#inMs).padStart(3, "0")}Z`);
  }

  async #send(body, timeout) {
    if (!this.#rest.url) throw refused("invalid_payload", "Publishing needs the option restUrl; nothing was sent.", { restUrl: ["Missing."] });
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#rest.request("/prices", { method: "POST", headers: TYPE, body, event: EVENT, timeout });
      } catch (error) {
        if (attempt === ATTEMPTS || !["unreachable", "unavailable", "timeout"].includes(error.code)) throw error;
      }
      await pause(PAUSE_MS * 2 ** (attempt - 1));
    }
  }
}

/** The lines of each request, with the number of its first line. */
function* batches(lines) {
  const encoder = new TextEncoder();
  let first = 0;
  let size = 0;
  for (const [number, line] of lines.entries()) {
    const bytes = encoder.encode(line).length + 1;
    if (number > first && (number - first === MAX_PRICES || size + bytes > MAX_BYTES)) {
      yield [first, lines.slice(first, number)];
      [first, size] = [number, 0];
    }
    size += bytes;
  }
  if (lines.length) yield [first, lines.slice(first)];
}

/** The fields that have a value. */
function given(price) {
  return Object.fromEntries(Object.entries(price).filter(([, value]) => value !== undefined && value !== null));
}

function besideHub(hubUrl) {
  const url = new URL(hubUrl);
  if (url.port !== "5001") return undefined;
  url.port = "5000";
  return url.origin.replace(/^ws/, "http");
}

function refused(code, message, details) {
  return local(code, message, EVENT, details);
}
