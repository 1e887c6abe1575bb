// @ts-check
/** `#/scenarios`: the list, the switch, the current run and its load. */

import { h, write } from "../parts/h.js";
import { panel, scopeText } from "../parts/shared/panel.js";
import { Heartbeats } from "../parts/scenarios/heartbeats.js";
import { scenarioList } from "../parts/scenarios/list.js";
import { now as nowPanel } from "../parts/scenarios/now.js";
import { series } from "../parts/series.js";

/** @typedef {import("../types.js").App} App */

const WINDOW_SECONDS = 600;
const LATE_RELOAD_MS = 5000;
const CHARTS = [
  { name: "queue", label: "Queue size", unit: "messages", color: "focus" },
  { name: "lag", label: "Processing delay", unit: "ms", color: "focus" },
  { name: "memory", label: "Memory", unit: "MB", color: "focus" },
  { name: "age", label: "Heartbeat age", unit: "s", color: "focus" },
];

/** @param {import("../types.js").App} app @param {HTMLElement} root */
export function open(app, root) {
  root.append(h("h1", { class: "sr-only", text: "Scenarios" }));
  if (!app.config.features.includes("scenarios")) {
    root.append(h("p", { class: "note", text: "Scenarios are not enabled. Start Tickwire with SOURCES=scenario." }));
    return { close() {} };
  }
  return shown(app, root);
}

/** @param {import("../types.js").App} app @param {HTMLElement} root */
function shown(app, root) {
  const heartbeats = new Heartbeats();
  const marks = new Set();
  const note = h("p", { class: "panels-note", role: "status", hidden: true });
  const charts = chartsPanel(app);
  /** @param {string|null} name @param {string|undefined} run @param {string|undefined} time */
  const mark = (name, run, time) => {
    if (!name || !run || marks.has(run)) return;
    marks.add(run);
    charts.mark(app.clock.parse(time), name);
  };
  const current = nowPanel(app, heartbeats, (status) => {
    list.setCurrent(status.scenario_running ? status.current_scenario : null);
    mark(status.current_scenario, status.scenario_run?.run_id, status.scenario_run?.started);
  });
  const changed = (/** @type {any} */ body) => {
    list.setCurrent(body.current_scenario);
    mark(body.current_scenario, body.run_id, body.timestamp);
    current.expect(body.run_id);
  };
  const list = scenarioList(app, changed);
  root.append(note, h("div", { class: "panels" }, list.element, current.element, charts.element));
  const ends = [
    app.hub.on("scenario", changed),
    app.hub.on("live", () => [list, current].forEach((each) => each.reload())),
    app.hub.on("refused", (/** @type {any} */ { topic, error }) => topic === "heartbeat" && refused(note, error)),
    ...follow(app, heartbeats, charts, current),
  ];
  return { close: () => [...ends, ...[current, list, charts].map((part) => () => part.close())].forEach((end) => end()) };
}

/**
 * Show each heartbeat, and each second the age of the newest one.
 * @param {App} app @param {Heartbeats} heartbeats @param {ReturnType<typeof chartsPanel>} charts @param {ReturnType<typeof nowPanel>} current
 */
function follow(app, heartbeats, charts, current) {
  let asked = 0;
  return [
    app.hub.heartbeat(),
    app.hub.on("heartbeat", (/** @type {any} */ body) => {
      beat(app, heartbeats, charts, body);
      current.follow();
    }),
    app.paint.every(1000, () => {
      const time = app.clock.now();
      if (heartbeats.last !== null) charts.push("age", time, (heartbeats.age(time) / 1000).toFixed(1));
      if (heartbeats.late(time) && time - asked >= LATE_RELOAD_MS) {
        asked = time;
        current.reload(); // it names the status without heartbeats
      }
      current.paint();
    }),
  ];
}

/** @param {App} app @param {Heartbeats} heartbeats @param {ReturnType<typeof chartsPanel>} charts @param {any} body */
function beat(app, heartbeats, charts, body) {
  const at = app.clock.parse(body.last_heartbeat);
  heartbeats.add(body, at);
  charts.setStep(heartbeats.interval);
  charts.push("queue", at, body.current_queue_size);
  charts.push("lag", at, body.lag_ms);
  charts.push("memory", at, body.memory_usage_mb);
}

/** @param {HTMLElement} note @param {any} error */
function refused(note, error) {
  write(note, error.code === "forbidden" ? scopeText(error) : `The heartbeats are not available. ${error.reason ?? ""}`.trim());
  note.hidden = false;
}

/** @param {import("../types.js").App} app */
function chartsPanel(app) {
  const charts = new Map(CHARTS.map(({ name, label, unit, color }) =>
    [name, series(app, { label, unit, lines: [{ label, color }], seconds: WINDOW_SECONDS, height: 140 })]));
  const made = panel(app, { title: "Load, last 10 minutes" });
  made.content.append(h("div", { class: "panels-charts" }, ...[...charts.values()].map(({ element }) => element)));
  made.set("ready");
  return {
    element: made.element,
    /** @param {string} name @param {number} ms @param {string|number|null} value */
    push: (name, ms, value) => charts.get(name)?.push(ms, [value]),
    /** @param {number} ms @param {string} text */
    mark: (ms, text) => charts.forEach((chart) => chart.mark(ms, text)),
    /** @param {number} ms */
    setStep: (ms) => ["queue", "lag", "memory"].forEach((name) => charts.get(name)?.setStep(Math.max(ms, 1000))),
    close() {
      made.close();
      charts.forEach((chart) => chart.close());
    },
  };
}
