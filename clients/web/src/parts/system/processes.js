// @ts-check
/** CPU and memory of the machine and of each process, from the section `system` of the stream. */

import { NONE, number } from "../../format.js";
import { split } from "../shared/cell_text.js";
import { figureList } from "../shared/figure_list.js";
import { liveTable } from "../shared/live_table.js";
import { sectionPanel } from "../shared/section.js";
import { megabytes } from "./texts.js";

/** @param {import("../../types.js").App} app */
export function processes(app) {
  const figures = figureList([
    { name: "cpu_percent", title: "CPU, %" },
    { name: "memory_percent", title: "Memory, %" },
    { name: "disk_usage_percent", title: "Disk, %" },
    { name: "active_alerts", title: "Active alerts" },
    { name: "redis", title: "Redis memory" },
    { name: "redis_ops", title: "Redis commands/s" },
    { name: "postgres", title: "Database connections" },
    { name: "commits", title: "Commits/s" },
    { name: "backlog", title: "Not stored" },
  ]);
  const table = liveTable({
    caption: "Processes",
    columns: [
      { name: "process", title: "Process" },
      { name: "cpu_percent", title: "CPU, % of a core", num: true },
      { name: "rss_bytes", title: "Memory", num: true },
      { name: "threads", title: "Threads", num: true },
      { name: "pid", title: "Process id", num: true },
    ],
  });
  const show = (/** @type {any} */ section) => {
    figures.show(texts(section));
    table.show(Object.entries(section.processes).sort(([left], [right]) => (left < right ? -1 : 1)).map(([name, about]) => ({
      key: name,
      cells: [name, ratio(about.cpu_percent), megabytes(about.rss_bytes), number(about.threads), number(about.pid)],
    })));
  };
  return sectionPanel(app, { title: "Machine and processes", name: "system", none: ["No figures yet: the process `observer` collects them."], show }, [figures.element, table.element]);
}

/** @param {number|null} value */
function ratio(value) {
  return value === null || value === undefined ? NONE : split(number(value), 1);
}

/** @param {any} section */
function texts({ redis, postgres, writer_unstored: unstored, ...section }) {
  return {
    cpu_percent: ratio(section.cpu_percent),
    memory_percent: ratio(section.memory_percent),
    disk_usage_percent: ratio(section.disk_usage_percent),
    active_alerts: number(section.active_alerts),
    redis: megabytes(redis?.used_memory_bytes),
    redis_ops: number(redis?.ops_per_sec),
    postgres: number(postgres?.connections),
    commits: number(postgres?.commits_per_sec),
    backlog: unstored ? `${unstored.prices} prices, ${unstored.trades} trades, ${unstored.reports} reports` : NONE,
  };
}
