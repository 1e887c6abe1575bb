/** The subscription to the channel `events` of `/metrics`, which all handlers of events share. */
import { pause, spread } from "./limits.js";

const CHANNELS = ["events"];
const DEFAULT_PAUSE_MS = 1000; // if a refusal names no time
const WAITED_CODES = new Set(["too_many_requests", "unavailable"]); // of refusals that a later attempt may not get
const UNANSWERED_CODES = new Set(["timeout", "disconnected"]);

export class Events {
  #send; // (event, payload, timeout) -> promise of the body of the answer
  #isOpen;
  #problem; // called with each refusal that no `error` event has
  #timeout;
  #followers = new Set(); // { refused }
  #joined = false; // on the present connection
  #running = false;

  /** `isOpen()` returns false if the client is not connected and does not try to be. */
  constructor(send, timeout, isOpen, problem) {
    this.#send = send;
    this.#timeout = timeout;
    this.#isOpen = isOpen;
    this.#problem = problem;
  }

  /** Have events while a follower is there; `refused(error)` receives a refusal. Returns a function that ends it. */
  follow(refused) {
    const follower = { refused };
    this.#followers.add(follower);
    this.#settle();
    return () => {
      if (this.#followers.delete(follower)) this.#settle();
    };
  }

  /** A new connection: subscribe again, if there is a follower. */
  resume() {
    this.#joined = false;
    this.#settle();
  }

  /** The client is disconnected for good: by the program (null), or by a refusal. */
  end(error) {
    this.#joined = false;
    if (error) this.#refused(error);
  }

  /** Subscribe or unsubscribe, until the hub has the state that the followers want. */
  async #settle() {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#isOpen() && this.#joined !== this.#followers.size > 0) {
        const wanted = this.#followers.size > 0;
        if (await this.#request(wanted ? "subscribe" : "unsubscribe")) this.#joined = wanted;
      }
    } catch (error) {
      this.#joined = false;
      if (error.local) this.#problem(error);
      this.#refused(error);
    } finally {
      this.#running = false;
    }
  }

  /** Whether the hub has answered. Throws a refusal that a later attempt would get as well. */
  async #request(event) {
    try {
      await this.#send(event, { channels: CHANNELS }, this.#timeout);
      return true;
    } catch (error) {
      if (!this.#isOpen() || UNANSWERED_CODES.has(error.code)) return false;
      if (!WAITED_CODES.has(error.code)) throw error;
      await pause(spread((error.details.retry_after ?? DEFAULT_PAUSE_MS / 1000) * 1000));
      return false;
    }
  }

  /** An exception of a callback is thrown later, so that the others are called. */
  #refused(error) {
    for (const { refused } of this.#followers) if (refused) queueMicrotask(() => refused(error));
  }
}
