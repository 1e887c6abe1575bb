// @ts-check
/** Delays of prices from the bus to this page since the view was opened, as a histogram. */

import { h, write } from "../h.js";
import { panel } from "../shared/panel.js";

const LIMITS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, Infinity];
const EVERY_MS = 1000;

/** Counts of delays, one for each limit. */
class Histogram {
  counts = LIMITS_MS.map(() => 0);
  total = 0;

  /** @param {number} ms */
  add(ms) {
    this.counts[LIMITS_MS.findIndex((limit) => ms <= limit)] += 1;
    this.total += 1;
  }
}

/** @param {import("../../types.js").App} app */
export function latency(app) {
  const histogram = new Histogram();
  const rows = LIMITS_MS.map((limit, index) => row(limit, index));
  const summary = h("p", { class: "dim" });
  const table = h("table", { class: "table system-histogram" }, h("caption", { class: "sr-only", text: "Delays of prices" }),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", text: "Delay" }), h("th", { scope: "col", class: "num", text: "Prices" }), h("th", { scope: "col", text: "Share" }))),
    h("tbody", {}, ...rows.map(({ element }) => element)));
  const made = panel(app, { title: "Delay of prices, bus to page" });
  made.content.append(summary, table);
  const show = () => {
    made.set(histogram.total === 0 ? "empty" : "ready", histogram.total === 0 ? "No price has arrived yet." : "");
    table.hidden = histogram.total === 0;
    write(summary, summaryText(app.hub.client?.latency));
    rows.forEach((each, index) => each.show(histogram.counts[index], histogram.total));
  };
  const ends = [
    app.hub.on("price", (/** @type {any} */ body, /** @type {any} */ about) => {
      if (about?.replayed || !body.timestamp) return;
      histogram.add(app.clock.now() - app.clock.parse(body.timestamp));
    }),
    app.paint.every(EVERY_MS, show),
  ];
  show();
  return { element: made.element, close: () => [...ends, () => made.close()].forEach((end) => end()) };
}

/** @param {number} limit @param {number} index */
function row(limit, index) {
  const label = limit === Infinity ? `> ${LIMITS_MS[index - 1]} ms` : `≤ ${limit} ms`;
  const count = h("td", { class: "num" });
  const share = h("span", { class: "system-share num" });
  const bar = h("span", { class: "system-bar", "aria-hidden": "true" });
  return {
    element: h("tr", {}, h("th", { scope: "row", text: label }), count, h("td", { class: "system-share-cell" }, h("div", {}, bar, share))),
    /** @param {number} value @param {number} total */
    show(value, total) {
      const part = total === 0 ? 0 : value / total;
      write(count, String(value));
      write(share, `${(part * 100).toFixed(1)} %`);
      bar.style.setProperty("--share", part.toFixed(3));
    },
  };
}

/** @param {any} latency of the client, or nothing */
function summaryText(latency) {
  const delivery = latency?.delivery;
  const trip = latency?.roundTrip;
  const parts = [
    delivery && `Median ${delayText(delivery.p50)}, 95 % within ${delayText(delivery.p95)}, longest ${delayText(delivery.max)}.`,
    trip && `Round trip ${delayText(trip.p50)}.`,
    typeof latency?.clockOffset === "number" && offsetText(latency.clockOffset),
  ];
  return parts.filter(Boolean).join(" ");
}

/** The clock of the hub is estimated: a delay below its error can come out negative. @param {number} ms */
function delayText(ms) {
  return `${Math.max(0, ms).toFixed(1)} ms`;
}

/** @param {number} ms by which the hub's clock is ahead */
function offsetText(ms) {
  return `The clock of the hub is ${Math.abs(ms).toFixed(0)} ms ${ms < 0 ? "behind" : "ahead of"} that of this machine.`;
}
