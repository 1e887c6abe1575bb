/**
 * Reports without an ack: kept, and sent until the hub has answered them, on any number of
 * connections. A report may be sent several times, with the same id: it takes effect once.
 */
import { TickwireError } from "./errors.js";
import { deadlineOf, limited, pause, spread } from "./limits.js";
import { batches, joinable, reportBody } from "./reports.js";

const MAX_KEPT = 100_000;
const ATTEMPT_MS = 30_000; // time limit of one attempt, reconnections included
const DEFAULT_PAUSE_MS = 1000; // if a refusal names no time
const WAITED_CODES = new Set(["too_many_requests", "unavailable"]); // of refusals that a later attempt may not get
const UNANSWERED_CODES = new Set(["timeout", "disconnected"]);

export class ReportSender {
  #send; // (event, payload, timeout) -> promise of the body of the answer
  #problem; // called with each refusal that no caller receives
  #isOpen;
  #bot;
  #batches = []; // { bodies, bytes, abandoned, resolve, reject, answer }
  #kept = 0; // reports in #batches
  #running = false;

  /** `isOpen()` returns false if the client is not connected and does not try to be. */
  constructor(bot, send, isOpen, problem) {
    this.#bot = bot;
    this.#isOpen = isOpen;
    this.#send = send;
    this.#problem = problem;
  }

  /** The reports without an ack. */
  get kept() {
    return this.#batches.flatMap((batch) => batch.bodies);
  }

  /**
   * Keep reports and send them; resolves to `{ accepted, duplicates, rejected }`.
   * @throws {TickwireError} `timeout`: the reports are kept; or the refusal of a batch
   */
  async report(reports, timeout) {
    const bodies = (Array.isArray(reports) ? reports : [reports]).map((report, index) => reportBody(report, index, this.#bot));
    if (this.#kept + bodies.length > MAX_KEPT) {
      const message = `${this.#kept} reports wait for an ack already, of at most ${MAX_KEPT}; these were not kept.`;
      throw local(new TickwireError("too_many_requests", message, { event: "report", details: { waiting: this.#kept } }));
    }
    const added = [...batches(bodies)].map(newBatch);
    this.#batches.push(...added);
    this.#kept += bodies.length;
    this.resume();
    try {
      return await this.#result(added, deadlineOf(timeout));
    } finally {
      for (const batch of added) batch.abandoned = true;
    }
  }

  /** Send the kept reports, unless that is being done. */
  async resume() {
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#batches.length) await this.#sendNext();
    } catch (error) {
      // The client is not connected. The reports are kept: the next connection continues.
      for (const batch of this.#batches) batch.reject(error);
    } finally {
      this.#running = false;
    }
  }

  async #result(added, deadline) {
    const result = { accepted: 0, duplicates: 0, rejected: [] };
    const late = () => {
      const left = added.filter((batch) => this.#batches.includes(batch)).reduce((sum, batch) => sum + batch.bodies.length, 0);
      return local(new TickwireError("timeout", `No answer in time: ${left} reports are kept and sent again.`, { event: "report" }));
    };
    let first = 0;
    for (const batch of added) {
      const { accepted, duplicates, rejected } = await limited(deadline, late, (resolve, reject) => {
        batch.answer.then(resolve, reject);
        return () => {};
      });
      result.accepted += accepted;
      result.duplicates += duplicates;
      result.rejected.push(...rejected.map((each) => ({ ...each, index: each.index + first })));
      first += batch.bodies.length;
    }
    return result;
  }

  /** Send the first batch, or several that no caller waits for, until they are answered. */
  async #sendNext() {
    const taken = [];
    const sum = (name) => taken.reduce((total, batch) => total + name(batch), 0);
    for (const batch of this.#batches) {
      const fits = joinable(sum((each) => each.bodies.length) + batch.bodies.length, sum((each) => each.bytes) + batch.bytes);
      if (taken.length && !(fits && batch.abandoned && taken[0].abandoned)) break;
      taken.push(batch);
    }
    const [answer, error] = await this.#answerTo(taken.flatMap((batch) => batch.bodies));
    this.#batches.splice(0, taken.length);
    this.#kept -= sum((batch) => batch.bodies.length);
    if (taken[0].abandoned) this.#noteRefusals(answer, error);
    for (const batch of taken) error ? batch.reject(error) : batch.resolve(answer);
  }

  /** `[answer]`, or `[undefined, refusal]`. Throws if the client is not connected. */
  async #answerTo(bodies) {
    for (;;) {
      try {
        return [await this.#send("report", { reports: bodies }, ATTEMPT_MS)];
      } catch (error) {
        if (!this.#isOpen()) throw error;
        if (UNANSWERED_CODES.has(error.code)) continue;
        if (!WAITED_CODES.has(error.code)) return [undefined, error];
        await pause(spread((error.details.retry_after ?? DEFAULT_PAUSE_MS / 1000) * 1000));
      }
    }
  }

  #noteRefusals(answer, error) {
    if (error) this.#problem(error);
    for (const { code, message, id } of answer?.rejected ?? [])
      this.#problem(local(new TickwireError(code, message, { event: "report", details: id === null ? {} : { id: [id] } })));
  }
}

function newBatch(batch) {
  const made = { ...batch, abandoned: false };
  made.answer = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.answer.catch(() => {}); // its caller may wait no longer
  return made;
}

function local(error) {
  error.local = true;
  return error;
}
