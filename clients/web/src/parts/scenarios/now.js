// @ts-check
/** The current run and the newest heartbeat. */

import { age, number } from "../../format.js";
import { tooltip } from "../../zones.js";
import { figureList } from "../shared/figure_list.js";
import { CLIENTS_HINT } from "../shared/hints.js";
import { panel } from "../shared/panel.js";
import { momentText, stateText } from "../system/texts.js";

/** @typedef {import("../../types.js").App} App */

const EVERY_MS = 15_000;
const MOST_TRIES = 5;
const FIELDS = [
  { name: "current_scenario", title: "Scenario" },
  { name: "started", title: "Running since" },
  { name: "phase", title: "Phase" },
  { name: "status", title: "Status" },
  { name: "total_messages_processed", title: "Messages processed" },
  { name: "active_clients", title: "Active clients", hint: CLIENTS_HINT },
  { name: "queue", title: "Queue" },
  { name: "lag_ms", title: "Processing delay" },
  { name: "books", title: "Books" },
  { name: "last_heartbeat", title: "Last heartbeat" },
];

/**
 * `loaded` runs after each answer of GET /status.
 * @param {import("../../types.js").App} app
 * @param {import("./heartbeats.js").Heartbeats} heartbeats
 * @param {(status: any) => void} loaded
 */
export function now(app, heartbeats, loaded) {
  return new Now(app, heartbeats, loaded);
}

class Now {
  /** @param {App} app @param {import("./heartbeats.js").Heartbeats} heartbeats @param {(status: any) => void} loaded */
  constructor(app, heartbeats, loaded) {
    this.app = app;
    this.heartbeats = heartbeats;
    this.figures = figureList(FIELDS);
    this.status = /** @type {any} */ (null);
    this.expected = /** @type {string|null} */ (null);
    this.tries = 0;
    this.panel = panel(app, {
      title: "Now",
      load: (signal) => app.rest.get("status", {}, { signal }),
      show: (body, content) => {
        if (this.figures.element.parentNode === null) content.append(this.figures.element);
        this.status = body;
        loaded(body);
        this.paint();
      },
      every: EVERY_MS,
    });
    this.element = this.panel.element;
  }

  paint() {
    const { app, heartbeats, status } = this;
    if (status === null) return;
    // /status is judged at the time of the request: it is right if heartbeats are missing.
    const beat = heartbeats.last === null || heartbeats.late(app.clock.now()) ? status : heartbeats.last;
    this.figures.show({ ...ofRun(app, status), ...ofBeat(beat), ...ofAge(app, heartbeats, status) });
  }

  /** Another run has begun: the next heartbeats bring its figures. @param {string} run */
  expect(run) {
    [this.expected, this.tries] = [run, MOST_TRIES];
    this.reload();
  }

  /** A heartbeat has arrived: load again if the run is not the expected one. */
  follow() {
    const run = this.status?.scenario_run?.run_id;
    if (run !== undefined && (this.expected === null || run === this.expected || this.tries === 0)) return;
    this.tries = Math.max(0, this.tries - 1);
    this.reload();
  }

  reload() {
    this.panel.reload();
  }

  close() {
    this.panel.close();
  }
}

/** @param {import("../../types.js").App} app @param {any} status */
function ofRun(app, status) {
  const run = status.scenario_run;
  return {
    started: run ? momentText(app, run.started) : { text: "–", title: "no scenario runs" },
    phase: run ? number(run.phase) : { text: "–", title: "no scenario runs" },
  };
}

/** @param {any} beat a heartbeat, or the body of /status */
function ofBeat(beat) {
  const books = Object.entries(beat.books ?? {}).map(([symbol, state]) => `${symbol} ${state}`).join(", ");
  return {
    current_scenario: beat.current_scenario,
    status: stateText(beat.status),
    total_messages_processed: number(beat.total_messages_processed),
    active_clients: number(beat.active_clients),
    queue: `${beat.current_queue_size} of ${beat.queue_max}`,
    lag_ms: beat.lag_ms === null ? { text: "–", title: "no message yet" } : `${beat.lag_ms} ms`,
    books: books || "–",
  };
}

/** @param {import("../../types.js").App} app @param {import("./heartbeats.js").Heartbeats} heartbeats @param {any} status */
function ofAge(app, heartbeats, status) {
  const none = heartbeats.last === null;
  const at = none ? app.clock.parse(status.last_heartbeat) : heartbeats.at;
  const time = app.clock.now();
  const late = none ? status.status === "unhealthy" && time - at > 3000 : heartbeats.late(time);
  return {
    last_heartbeat: { text: `${late ? "! " : ""}${age(time - at)}`, title: tooltip(at, app.settings.get("zone")), class: late ? "panels-warn" : "" },
  };
}
