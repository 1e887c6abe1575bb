// @ts-check
/** The current run and the newest heartbeat. */

import { age, number } from "../../format.js";
import { dateTime, tooltip } from "../../zones.js";
import { figureList } from "../shared/figure_list.js";
import { panel } from "../shared/panel.js";

const EVERY_MS = 15_000;
const MOST_TRIES = 5;
const FIELDS = [
  { name: "current_scenario", title: "Scenario" },
  { name: "started", title: "Running since" },
  { name: "phase", title: "Phase" },
  { name: "status", title: "Status" },
  { name: "total_messages_processed", title: "Messages processed" },
  { name: "active_clients", title: "Active clients" },
  { name: "queue", title: "Queue" },
  { name: "lag_ms", title: "Processing delay" },
  { name: "books", title: "Books" },
  { name: "last_heartbeat", title: "Last heartbeat" },
];

/**
 * `loaded` runs after each answer of GET /status.
 * @param {any} app
 * @param {import("./heartbeats.js").Heartbeats} heartbeats
 * @param {(status: any) => void} loaded
 */
export function now(app, heartbeats, loaded) {
  const figures = figureList(FIELDS);
  let status = /** @type {any} */ (null);
  let [expected, tries] = [/** @type {string|null} */ (null), 0];
  const made = panel(app, {
    title: "Now",
    load: (/** @type {AbortSignal} */ signal) => app.rest.get("status", {}, { signal }),
    show(/** @type {any} */ body, /** @type {HTMLElement} */ content) {
      if (figures.element.parentNode === null) content.append(figures.element);
      status = body;
      loaded(body);
      paint();
    },
    every: EVERY_MS,
  });
  function paint() {
    if (status === null) return;
    // /status is judged at the time of the request: it is right if heartbeats are missing.
    const beat = heartbeats.last === null || heartbeats.late(app.clock.now()) ? status : heartbeats.last;
    figures.show({ ...ofRun(app, status), ...ofBeat(beat), ...ofAge(app, heartbeats, status) });
  }
  return {
    element: made.element,
    paint,
    /** Another run has begun: the next heartbeats bring its figures. @param {string} run */
    expect(run) {
      [expected, tries] = [run, MOST_TRIES];
      made.reload();
    },
    /** A heartbeat has arrived: load again if the run is not the expected one. */
    follow() {
      const run = status?.scenario_run?.run_id;
      if (run !== undefined && (expected === null || run === expected || tries === 0)) return;
      tries = Math.max(0, tries - 1);
      made.reload();
    },
    reload: () => made.reload(),
    close: () => made.close(),
  };
}

/** @param {any} app @param {any} status */
function ofRun(app, status) {
  const run = status.scenario_run;
  const zone = app.settings.get("zone");
  const started = app.clock.parse(run?.started);
  return {
    started: run ? { text: dateTime(started, zone), title: tooltip(started, zone) } : { text: "–", title: "no scenario runs" },
    phase: run ? number(run.phase) : { text: "–", title: "no scenario runs" },
  };
}

/** @param {any} beat a heartbeat, or the body of /status */
function ofBeat(beat) {
  const books = Object.entries(beat.books ?? {}).map(([symbol, state]) => `${symbol} ${state}`).join(", ");
  return {
    current_scenario: beat.current_scenario,
    status: { text: beat.status === "healthy" ? "● healthy" : `! ${beat.status}`, class: beat.status === "healthy" ? "" : "panels-warn" },
    total_messages_processed: number(beat.total_messages_processed),
    active_clients: number(beat.active_clients),
    queue: `${beat.current_queue_size} of ${beat.queue_max}`,
    lag_ms: beat.lag_ms === null ? { text: "–", title: "no message yet" } : `${beat.lag_ms} ms`,
    books: books || "–",
  };
}

/** @param {any} app @param {import("./heartbeats.js").Heartbeats} heartbeats @param {any} status */
function ofAge(app, heartbeats, status) {
  const none = heartbeats.last === null;
  const at = none ? app.clock.parse(status.last_heartbeat) : heartbeats.at;
  const time = app.clock.now();
  const late = none ? status.status === "unhealthy" && time - at > 3000 : heartbeats.late(time);
  return {
    last_heartbeat: { text: `${late ? "! " : ""}${age(time - at)}`, title: tooltip(at, app.settings.get("zone")), class: late ? "panels-warn" : "" },
  };
}
