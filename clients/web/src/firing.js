// @ts-check
/** The number of alerts with state `firing`, for the top bar, and its announcement. */

const REFRESH_MS = 15_000;
const EVENT_PAUSE_MS = 500;

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
}
