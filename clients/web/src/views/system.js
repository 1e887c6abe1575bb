// @ts-check
/** `#/system`: sources, writer, jobs, servers, hub, processes, settings of the page, licences. */

import { h, write } from "../parts/h.js";
import { noticeSettings } from "../parts/alerts/notice_settings.js";
import { about, links } from "../parts/system/about.js";
import { servers, sources, writer } from "../parts/system/health.js";
import { hub } from "../parts/system/hub.js";
import { latency } from "../parts/system/latency.js";
import { gaps, jobs } from "../parts/system/lists.js";
import { processes } from "../parts/system/processes.js";
import { pageSettings } from "../parts/system/settings.js";
import { stream } from "../parts/shared/stream.js";

const RATE_HZ = 1;

/** @param {import("../types.js").App} app @param {HTMLElement} root */
export function open(app, root) {
  const [machine, hubs, tasks, holes] = [processes(app), hub(app), jobs(app), gaps(app)];
  const parts = [
    servers(app), sources(app), writer(app), hubs, machine, latency(app), tasks, holes,
    pageSettings(app), noticeSettings(app), links(app), about(app),
  ];
  const note = h("p", { class: "panels-note", role: "status", hidden: true });
  root.append(h("h1", { class: "sr-only", text: "System" }), note, h("div", { class: "panels system-panels" }, ...parts.map(({ element }) => element)));
  const metrics = stream(app, {
    channels: ["system"],
    maxRate: RATE_HZ,
    paint(state) {
      write(note, state.missing ?? "");
      note.hidden = state.missing === null;
      machine.paint(state);
      hubs.paint(state.body?.system);
    },
  });
  const off = app.settings.on("zone", () => [tasks, holes].forEach((part) => part.reload()));
  return { close: () => [{ close: off }, metrics, ...parts].forEach((part) => part.close()) };
}
