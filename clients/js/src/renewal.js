/** Renews the credential of an open connection before it expires, with the event `refresh`. */
import { isRefusal } from "./errors.js";
import { pause } from "./limits.js";

const [MIN_PAUSE_MS, PAUSES] = [500, 10]; // between attempts: a tenth of the remaining time

export class Renewal {
  #credentials;
  #link;
  #run = 0; // number of the current renewal

  /**
   * Methods of `link`:
   *   send(token)     send `refresh`; resolves to the answer, or null if the connection is lost
   *   reconnect()     connect again: a key cannot be exchanged on an open connection
   *   failed(error)   the function `auth` has failed; it is called again
   */
  constructor(credentials, link) {
    this.#credentials = credentials;
    this.#link = link;
  }

  /** `credentials_expiring`: call the function until the hub has accepted a new credential. */
  async expiring({ in_seconds: seconds }) {
    if (!this.#credentials.renewable) return;
    const run = (this.#run += 1);
    const old = JSON.stringify(this.#credentials.payload);
    const end = performance.now() + seconds * 1000;
    const wait = Math.max(MIN_PAUSE_MS, (seconds * 1000) / PAUSES);
    while (run === this.#run) {
      const done = await this.#attempt(old, wait, run);
      if (done || performance.now() + wait > end) return;
      await pause(wait);
    }
  }

  /** The connection has ended: the next one calls the function itself. */
  stop() {
    this.#run += 1;
  }

  /** Whether no further attempt is needed. */
  async #attempt(old, timeout, run) {
    let payload;
    try {
      payload = await this.#credentials.renew(Math.max(timeout, 5_000));
    } catch (error) {
      if (run === this.#run) this.#link.failed(error);
      return false;
    }
    if (run !== this.#run) return true;
    if (JSON.stringify(payload) === old) return false; // the function still returns the old one
    if (!payload?.token) {
      this.#link.reconnect();
      return true;
    }
    const answer = await this.#link.send(payload.token);
    return answer === null || !isRefusal(answer) || !["too_many_requests", "unavailable", "timeout"].includes(answer.code);
  }
}
