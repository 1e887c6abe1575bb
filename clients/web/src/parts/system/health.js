// @ts-check
/** Sources, servers and the writer, from the answers of /health that the page polls. */

import { number } from "../../format.js";
import { figureList } from "../shared/figure_list.js";
import { h } from "../h.js";
import { liveTable } from "../shared/live_table.js";
import { panel } from "../shared/panel.js";
import { series } from "../series.js";
import { agoText, momentText, Rate, rateText, stateText } from "./texts.js";

const BACKLOG_SECONDS = 900;
const POLL_MS = 5000;

/** A panel that `show` fills after each answer of /health. @param {import("../../types.js").App} app @param {string} title @param {Node[]} children @param {(health: any) => string|null} show */
function healthPanel(app, title, children, show) {
  const made = panel(app, { title });
  const place = h("div", {}, ...children);
  const paint = () => {
    const { health } = app.store;
    if (health === null) return made.set("error", `REST cannot be reached.${place.parentNode ? " The figures are the last ones." : ""}`);
    if (!place.parentNode) made.content.append(place);
    const empty = show(health);
    place.hidden = empty !== null;
    made.set(empty === null ? "ready" : "empty", empty ?? "");
  };
  const ends = [app.store.on("sources", paint), app.settings.on("zone", () => app.store.health && paint())];
  if (app.store.health) paint();
  return { element: made.element, close: () => [...ends, () => made.close()].forEach((end) => end()) };
}

/** @param {import("../../types.js").App} app */
export function sources(app) {
  const table = liveTable({
    caption: "Sources",
    columns: [
      { name: "source", title: "Source" },
      { name: "state", title: "State" },
      { name: "since", title: "Since" },
      { name: "last_tick", title: "Last tick" },
      { name: "rate", title: "Ticks/s", num: true },
      { name: "refused", title: "Refused", num: true, hint: "records that were left out" },
      { name: "detail", title: "Detail" },
    ],
  });
  /** @type {Map<string, Rate>} */
  const rates = new Map();
  return healthPanel(app, "Sources", [table.element], ({ sources: all }) => {
    table.show(Object.entries(all).map(([name, about]) => {
      const rate = rates.get(name) ?? new Rate();
      rates.set(name, rate);
      const refused = Object.entries(about.refused ?? {});
      return { key: name, cells: [
        name,
        stateText(about.state),
        momentText(app, about.since),
        agoText(app, about.last_tick),
        rateText(rate.read(about.ticks, app.clock.parse(about.reported))),
        { text: String(refused.reduce((sum, [, count]) => sum + Number(count), 0)), title: refused.map(([kind, count]) => `${kind} ${count}`).join(", ") },
        about.detail ?? "",
      ] };
    }));
    return Object.keys(all).length === 0 ? "No source is configured. Set SOURCES=…" : null;
  });
}

/** @param {import("../../types.js").App} app */
export function servers(app) {
  const figures = figureList([
    { name: "status", title: "System" },
    { name: "database", title: "Database" },
    { name: "redis", title: "Redis" },
    { name: "hub", title: "Hub" },
    { name: "failing", title: "Failing parts" },
    { name: "uptime", title: "REST is up" },
  ]);
  return healthPanel(app, "Health", [figures.element], (health) => {
    figures.show({
      status: stateText(health.status),
      database: stateText(health.database),
      redis: stateText(health.redis),
      hub: stateText(health.hub),
      failing: health.failing.length ? { text: health.failing.join(", "), class: "panels-warn" } : "none",
      uptime: `${Math.floor(health.uptime_seconds / 60)} min`,
    });
    return null;
  });
}

/** @param {import("../../types.js").App} app */
export function writer(app) {
  const figures = figureList([
    { name: "unstored", title: "Prices not stored" },
    { name: "oldest_age_seconds", title: "Oldest, s" },
    { name: "parked", title: "Parked entries", hint: "malformed entries that were moved aside" },
    { name: "last_parked", title: "Last parked" },
  ]);
  const label = "Prices not stored";
  const chart = series(app, { label, lines: [{ label, color: "focus" }], seconds: BACKLOG_SECONDS, height: 110, step: POLL_MS });
  const { backlog } = app.store;
  for (let index = 0; index < backlog.length; index += 1) chart.push(backlog.time(index), [backlog.value(0, index)]);
  const made = healthPanel(app, "Writer", [figures.element, chart.element], (health) => {
    const { unstored, oldest_age_seconds: oldest, parked, last_parked: last } = health.writer;
    figures.show({ unstored: number(unstored), oldest_age_seconds: number(oldest), parked: number(parked), last_parked: momentText(app, last) });
    chart.push(app.clock.parse(health.timestamp), [unstored]);
    return null;
  });
  return { element: made.element, close: () => [made, chart].forEach((each) => each.close()) };
}
