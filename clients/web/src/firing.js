// @ts-check
/** The number of alerts with state `firing`, for the top bar, and the announcement of new ones. */

const REFRESH_MS = 15_000;
const EVENT_PAUSE_MS = 500;
const SUMMARY_MS = 10_000;

/** @param {import("./types.js").App} app @param {(count: number | null) => void} show */
export function countFiring(app, show) {
  let timer = 0;
  async function load() {
    if (app.session.state !== "open") return;
    try {
      const body = await app.rest.get("alerts", { state: "firing", limit: 1000 });
      show(body.count ?? body.alerts.length);
    } catch {
      show(null);
    }
  }
  const soon = () => {
    clearTimeout(timer);
    timer = window.setTimeout(load, EVENT_PAUSE_MS);
  };
  app.hub.on("alert", soon);
  app.hub.on("live", soon);
  app.paint.every(REFRESH_MS, load);
  announceAlerts(app);
}

/** "2 new alerts, 1 critical", at most every 10 s. @param {import("./types.js").App} app */
function announceAlerts({ hub, announce }) {
  let [count, critical, timer] = [0, 0, 0];
  function summary() {
    timer = 0;
    if (!count) return;
    announce(`${count} new ${count === 1 ? "alert" : "alerts"}${critical ? `, ${critical} critical` : ""}`);
    [count, critical] = [0, 0];
    timer = window.setTimeout(summary, SUMMARY_MS);
  }
  hub.on("alert", (/** @type {{body: any}} */ { body }) => {
    count += 1;
    if (body.severity === "critical") critical += 1;
    if (!timer) timer = window.setTimeout(summary, EVENT_PAUSE_MS);
  });
}
