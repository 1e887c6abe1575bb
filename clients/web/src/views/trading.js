// @ts-check
/** `#/trading`: strategies, positions, fills and the quality of executions. */

import { h, write } from "../parts/h.js";
import { fills } from "../parts/trading/fills.js";
import { filterBar } from "../parts/trading/filter.js";
import { pnlCharts } from "../parts/trading/pnl.js";
import { portfolio } from "../parts/trading/portfolio.js";
import { positions } from "../parts/trading/positions.js";
import { quality, qualityByStrategy } from "../parts/trading/quality.js";
import { strategies } from "../parts/trading/strategies.js";
import { stream } from "../parts/shared/stream.js";
import { dateTime, time, tooltip } from "../zones.js";

/** @typedef {import("../parts/trading/filter.js").Filter} Filter */

const RATE_HZ = 10;
const OF_POSITIONS = new Set(["position_opened", "position_closed", "trade_executed"]);

/** @param {import("../types.js").App} app @param {HTMLElement} root @param {any} route */
export function open(app, root, route) {
  const filter = filterOf(route);
  const bar = filterBar(app, filter);
  const note = h("p", { class: "panels-note", role: "status", hidden: true });
  const made = panels(app, filter);
  root.append(
    h("h1", { class: "sr-only", text: "Trading" }),
    bar.element,
    note,
    h("div", { class: "panels" }, ...made.all.map(({ element }) => element)),
  );
  const metrics = stream(app, {
    channels: ["strategy", "execution"],
    maxRate: RATE_HZ,
    receive: made.charts.receive,
    paint(state) {
      bar.offer(state.body?.strategy);
      write(note, state.missing ?? "");
      note.hidden = state.missing === null;
      made.sections.forEach((each) => each.paint(state));
    },
  });
  const ends = [metrics.close, events(app, made.held, made.recent), app.hub.on("live", made.reload), app.settings.on("zone", made.reload), made.close];
  return {
    /** @param {any} next */
    update(next) {
      Object.assign(filter, filterOf(next));
      bar.show();
      made.reload();
      metrics.repaint();
    },
    close: () => ends.forEach((end) => end()),
  };
}

/** @param {any} route @returns {Filter} */
function filterOf({ query }) {
  return { strategy: query.get("strategy") || null, bot: query.get("bot") || null };
}

/** @param {import("../types.js").App} app @param {Filter} filter */
function panels(app, filter) {
  const when = (/** @type {number} */ ms) => moment(app, ms);
  const charts = pnlCharts(app);
  const [held, recent, byStrategy] = [positions(app, filter), fills(app, filter, when), qualityByStrategy(app, filter)];
  const [sums, table, today] = [portfolio(app), strategies(app, filter, when), quality(app)];
  const all = [sums, charts, table, held, recent, today, byStrategy];
  return {
    all, charts, held, recent,
    sections: [sums, table, today],
    reload: () => [held, recent, byStrategy].forEach((each) => each.reload()),
    close: () => all.forEach((each) => each.close()),
  };
}

/** @param {import("../types.js").App} app @param {{soon(): void}} held @param {{add(trade: any): void}} recent */
function events(app, held, recent) {
  return app.hub.events((/** @type {any} */ event) => {
    if (!event) return; // the stream's own state has the reason
    if (OF_POSITIONS.has(event.event_type)) held.soon();
    if (event.event_type === "trade_executed") recent.add(event.metadata.trade);
  });
}

/** Today: the time alone. @param {import("../types.js").App} app @param {number} ms */
function moment(app, ms) {
  const zone = app.settings.get("zone");
  const full = dateTime(ms, zone);
  const today = full.slice(0, 10) === dateTime(app.clock.now(), zone).slice(0, 10);
  return { text: today ? time(ms, zone) : full, title: tooltip(ms, zone) };
}
