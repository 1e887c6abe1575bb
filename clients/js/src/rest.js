/** Requests to REST with the credential. An answer 429 is waited out within the time limit. */
import { TickwireError, answerError } from "./errors.js";
import { deadlineOf, pause, spread } from "./limits.js";

const WAITED_CODES = new Set(["too_many_requests", "server_full"]);

export class Rest {
  #url;
  #credentials;

  /** `url` may be undefined; then no request is possible. */
  constructor(url, credentials) {
    this.#url = url?.replace(/\/+$/, "");
    this.#credentials = credentials;
  }

  /** The address, or undefined. */
  get url() {
    return this.#url;
  }

  /**
   * The body of an answer. `timeout` in ms; 0 or Infinity means no limit. If the credential is
   * refused and comes from a function, the function is called once.
   * @throws {TickwireError} with the code of REST, `timeout`, `unreachable` or `auth_failed`
   */
  async request(path, { event = null, timeout, ...request }) {
    const deadline = deadlineOf(timeout);
    for (let renewed = !this.#credentials.renewable; ; ) {
      const left = () => (deadline === Infinity ? Infinity : Math.max(1, Math.ceil(deadline - performance.now())));
      const headers = { ...request.headers, ...(await this.#credentials.headers(left())) };
      const { body, error } = await this.#answer(path, { ...request, headers }, left(), event, timeout);
      if (!error) return body;
      if (error.code === "unauthorized" && !renewed) {
        renewed = true;
        await this.#credentials.renew(left());
        continue;
      }
      const wait = WAITED_CODES.has(error.code) ? spread(error.details.retry_after * 1000) : NaN;
      if (!(performance.now() + wait < deadline)) throw error;
      await pause(wait);
    }
  }

  async #answer(path, request, left, event, timeout) {
    let answer;
    let text;
    try {
      const signal = left < Infinity ? AbortSignal.timeout(left) : undefined;
      answer = await fetch(`${this.#url}${path}`, { ...request, signal });
      text = await answer.text();
      if (answer.ok) return { body: JSON.parse(text) };
    } catch (error) {
      if (error.name === "TimeoutError") throw local("timeout", `No answer from ${this.#url} within ${timeout} ms.`, event, {});
      const cause = String(error.cause?.message ?? error.message);
      throw local("unreachable", `No answer from ${this.#url}: ${cause}.`, event, { cause });
    }
    const error = answerError(answer.status, answer.headers.get("retry-after"), text, "http");
    return { error: local(error.code, error.reason, event, error.details) };
  }
}

/** An error that no event of the hub reports. */
export function local(code, message, event, details) {
  const error = new TickwireError(code, message, { event, details: details ?? {} });
  error.local = true;
  return error;
}
