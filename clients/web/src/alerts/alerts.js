// @ts-check
/**
 * The open alerts of the system, for the number in the top bar and for every view. They come from
 * `GET /alerts`, then from the state changes of the namespace `/metrics`. If the namespace is
 * refused, `GET /alerts` is repeated every 15 s.
 */
import { startAlertNotices } from "./alert_notices.js";
import { oneEach } from "./one_each.js";
import { ownThresholds } from "./own_thresholds.js";

/** @typedef {import("../types.js").App} App */
/**
 * @typedef {{id?: number, alert_id: string, type: string, subject: string, severity: "warning" | "critical",
 *   state: "firing" | "acknowledged" | "resolved", active: boolean, symbol: string | null, symbol2: string | null,
 *   time: string, value: number | null, previous: number | null, threshold: number | null, message: string,
 *   updated_at: string, acknowledged_at: string | null, acknowledged_by: string | null, comment: string | null,
 *   resolved_at: string | null}} Alert
 */

const RELOAD_MS = 15_000; // while no state change arrives by itself
const SETTLE_MS = 1000; // after an alert of the namespace `/`, whose id only REST has
const MAX_OPEN = 1000; // of each open state
const RANKS = { firing: 0, acknowledged: 1, resolved: 2 };

/** `firing` first, then `acknowledged`, then `resolved`; the newest first within a state. */
export function inOrder(/** @type {Alert} */ a, /** @type {Alert} */ b) {
  const rank = RANKS[a.state] - RANKS[b.state];
  if (rank) return rank;
  if (a.time !== b.time) return a.time < b.time ? 1 : -1;
  return a.alert_id < b.alert_id ? 1 : a.alert_id > b.alert_id ? -1 : 0;
}

/** Whether `next` may replace `known`: it is newer, and a resolved alert never changes. */
export function supersedes(/** @type {Alert} */ next, /** @type {Alert | undefined} */ known) {
  if (!known) return true;
  if (RANKS[next.state] !== RANKS[known.state]) return RANKS[next.state] > RANKS[known.state];
  return next.updated_at >= known.updated_at;
}

class Alerts {
  /** @type {Map<string, Alert>} alert_id -> firing or acknowledged alert */
  open = new Map();
  /** Whether state changes arrive by themselves; null before the first answer. */
  streaming = /** @type {boolean | null} */ (null);
  /** Whether the open alerts have been loaded. */
  loaded = false;
  /** @type {Set<(alert: Alert | null) => void>} */
  #listeners = new Set();
  #app;
  #timer = 0;
  #loading = false;
  #late = false; // a reload waits until the tab is shown
  #offs;

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#offs = [
      app.hub.on("live", () => this.reload()),
      app.session.on("change", (/** @type {string} */ state) => this.#session(state)),
      app.hub.on("alert", () => this.#soon()),
      app.hub.events((/** @type {any} */ event, /** @type {any} */ error) => this.#event(event, error)),
      app.paint.every(RELOAD_MS, () => {
        if (this.streaming === false || this.#late) this.reload();
      }),
    ];
  }

  get firing() {
    let count = 0;
    for (const { state } of this.open.values()) if (state === "firing") count += 1;
    return count;
  }

  /** `listener` gets each changed alert, and null if the list was loaded. */
  on(/** @type {(alert: Alert | null) => void} */ listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Take a state of an alert from an event or an answer; an older one changes nothing. */
  apply(/** @type {Alert} */ alert) {
    if (supersedes(alert, this.open.get(alert.alert_id))) {
      if (alert.state === "resolved") this.open.delete(alert.alert_id);
      else this.open.set(alert.alert_id, alert);
    }
    this.#tell(alert);
  }

  /** An alert that the system no longer has. */
  forget(/** @type {string} */ alertId) {
    this.open.delete(alertId);
    this.#tell(null);
  }

  async reload() {
    this.#late = document.hidden;
    if (this.#late || this.#loading || this.#app.session.state !== "open") return;
    this.#loading = true;
    try {
      const pages = await Promise.all(["firing", "acknowledged"].map((state) =>
        this.#app.rest.get("alerts", { state, order: "desc", limit: MAX_OPEN })));
      this.open = new Map(pages.flatMap(({ alerts }) => alerts).map((alert) => [alert.alert_id, alert]));
      this.loaded = true;
      this.#tell(null);
    } catch {
      // The panels show the outage of REST; the next reload follows the next event or timer.
    } finally {
      this.#loading = false;
    }
  }

  /** The newest state of one alert, or null if there is none. @returns {Promise<Alert | null>} */
  async read(/** @type {Alert} */ { alert_id, type, subject, severity, time }) {
    const body = await this.#app.rest.get("alerts", { type, subject, severity, start: time, limit: 10 });
    return body.alerts.find((/** @type {Alert} */ each) => each.alert_id === alert_id) ?? null;
  }

  close() {
    clearTimeout(this.#timer);
    for (const off of this.#offs) off();
  }

  /** Nothing of an earlier session stays. */
  #session(/** @type {string} */ state) {
    if (state === "open") this.reload();
    else if (state !== "ended") {
      this.open.clear();
      this.loaded = false;
      this.#tell(null);
    }
  }

  #event(/** @type {any} */ event, /** @type {any} */ error) {
    if (error) {
      this.streaming = false;
      return;
    }
    this.streaming = true;
    if (event?.event_type === "system_alert" && event.details?.alert_id) this.apply(event.details);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.reload(), SETTLE_MS);
  }

  #tell(/** @type {Alert | null} */ alert) {
    for (const listener of this.#listeners) listener(alert);
  }
}

/** The alerts of the page; the first call starts them. */
export const alerts = oneEach((app) => new Alerts(app));

/** Start everything that alerts do without an open view. */
export function startAlerts(/** @type {App} */ app) {
  ownThresholds(app);
  startAlertNotices(app);
  alerts(app).reload();
}
