// @ts-check
/** Jobs from REST, and gaps: those of the store, and those of this page. */

import { NONE, number } from "../../format.js";
import { h, write } from "../h.js";
import { liveTable } from "../shared/live_table.js";
import { panel } from "../shared/panel.js";
import { momentText, stateText } from "./texts.js";
import { dateTime } from "../../zones.js";

const JOBS_MS = 15_000;
const GAPS_MS = 30_000;
const GAPS_SHOWN = 20;
const JOB_COLUMNS = [
  { name: "job", title: "Job" },
  { name: "schedule", title: "Schedule" },
  { name: "outcome", title: "Last outcome" },
  { name: "finished", title: "Finished" },
  { name: "duration", title: "Duration", num: true },
  { name: "rows", title: "Rows", num: true },
  { name: "next", title: "Next run" },
  { name: "error", title: "Error" },
];
const GAP_COLUMNS = [
  { name: "symbol", title: "Instrument" },
  { name: "kind", title: "Kind" },
  { name: "state", title: "State" },
  { name: "start", title: "From" },
  { name: "end", title: "To" },
  { name: "missing", title: "Missing", num: true },
  { name: "reason", title: "Reason" },
];

/** @param {import("../../types.js").App} app */
export function jobs(app) {
  const table = liveTable({ caption: "Jobs", columns: JOB_COLUMNS });
  return panel(app, {
    title: "Jobs",
    load: (/** @type {AbortSignal} */ signal) => app.rest.get("jobs", {}, { signal }),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => {
      if (table.element.parentNode === null) content.append(table.element);
      table.show(body.jobs.map((/** @type {any} */ job) => ({ key: job.id, cells: jobCells(app, job) })));
    },
    every: JOBS_MS,
  });
}

/** @param {import("../../types.js").App} app @param {any} job */
function jobCells(app, job) {
  const { last_run: last } = job;
  const running = job.next_run === null && last === null;
  return [
    job.id,
    job.schedule,
    last === null ? { text: NONE, title: running ? "it runs as long as the process" : "no run yet" } : stateText(last.outcome),
    momentText(app, last?.finished),
    last?.duration_seconds === undefined || last.duration_seconds === null ? NONE : `${last.duration_seconds} s`,
    number(last?.rows),
    momentText(app, job.next_run),
    last?.error ?? "",
  ];
}

/** @param {import("../../types.js").App} app */
export function gaps(app) {
  const table = liveTable({ caption: "The newest gaps of the store", columns: GAP_COLUMNS });
  const own = h("ul", { class: "system-gaps" });
  const since = h("p", { class: "dim" });
  const loaded = app.clock.now();
  const made = panel(app, {
    title: "Gaps",
    load: (/** @type {AbortSignal} */ signal) => app.rest.get("gaps", { order: "desc", limit: GAPS_SHOWN }, { signal }),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => {
      if (table.element.parentNode === null) content.append(table.element, since, own);
      table.show(body.gaps.map((/** @type {any} */ gap) => ({ key: gapKey(gap), cells: gapCells(app, gap) })));
      table.element.hidden = body.gaps.length === 0;
      ownGaps();
    },
    every: GAPS_MS,
  });
  function ownGaps() {
    const zone = app.settings.get("zone");
    write(since, `${app.store.gapCount} price messages were not recovered in this page, since ${dateTime(Math.min(loaded, app.clock.now()), zone)}. Gaps of the store: ${table.element.hidden ? "none" : "above"}.`);
    own.replaceChildren(...app.store.gaps.slice(-GAPS_SHOWN).reverse().map((/** @type {any} */ gap) =>
      h("li", { text: `${dateTime(gap.at, zone)}  ${gap.symbol}  ${gap.count} missed, ${gap.reason}` })));
  }
  const off = app.store.on("gaps", ownGaps);
  return { element: made.element, reload: () => made.reload(), close: () => [off, () => made.close()].forEach((end) => end()) };
}

/** @param {any} gap */
function gapKey(gap) {
  return [gap.symbol, gap.kind, gap.interval, gap.start_time ?? gap.start].join(" ");
}

/** @param {import("../../types.js").App} app @param {any} gap */
function gapCells(app, gap) {
  return [
    gap.symbol ?? NONE,
    gap.kind ?? NONE,
    gap.state === "filled" ? "● filled" : { text: `! ${gap.state}`, class: "panels-warn" },
    momentText(app, gap.start_time),
    momentText(app, gap.end_time),
    number(gap.missing),
    gap.reason ?? "",
  ];
}
