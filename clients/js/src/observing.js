/** Reports, metrics and alerts: the requests of a client in the namespace `/metrics`. */
import { Events } from "./events.js";
import { ReportSender } from "./report_sender.js";
import { Snapshots } from "./snapshots.js";

export class Observing {
  #session;
  #sender;
  #snapshots;
  events;

  /** `problem(error)` receives each refusal that no caller and no `error` event has. */
  constructor(session, { bot, requestTimeout }, problem) {
    this.#session = session;
    const send = (event, payload, timeout) => this.request(event, payload, timeout);
    this.#sender = new ReportSender(bot, send, () => session.open, problem);
    this.#snapshots = new Snapshots(send, requestTimeout);
    this.events = new Events(send, requestTimeout, () => session.open, problem);
  }

  get unacknowledged() {
    return this.#sender.kept;
  }

  async request(event, payload, timeout) {
    return (await this.#session.request(event, payload, timeout, { space: true })).body;
  }

  async report(reports, timeout) {
    this.#session.checkOpen("report");
    return this.#sender.report(reports, timeout);
  }

  metrics(options) {
    return this.#snapshots.iterator(options);
  }

  /** An event of the namespace. */
  received(event, body) {
    this.#snapshots.received(event, body);
  }

  /** The client is connected: continue with reports, snapshots and events. */
  resume() {
    this.#sender.resume();
    this.#snapshots.resume();
    this.events.resume();
  }

  /** The client is disconnected for good: by the program (null), or by a refusal. */
  end(error) {
    this.#snapshots.end(error);
    this.events.end(error);
  }
}
