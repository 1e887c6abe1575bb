// @ts-check
/**
 * New alerts as one polite summary, a sound and a notification of the desktop. The last two are off
 * until the user switches them on.
 */
import { counted } from "../format.js";
import { oneEach } from "./one_each.js";

/** @typedef {import("../types.js").App} App */

const SUMMARY_MS = 10_000; // between two summaries
const FIRST_MS = 500; // from the first alert to its summary, so that a burst makes one
const REPEAT_MS = 60_000; // an alert that arrives by a second way within this time is the same
const BEEP = { hertz: 880, seconds: 0.18, volume: 0.08 };

/** @typedef {{key: string, critical: boolean, text: string}} Notice */

/** The summary of new alerts: "2 new alerts, 1 critical". */
export function summary(/** @type {Notice[]} */ notices) {
  const critical = notices.filter((each) => each.critical).length;
  return `${counted(notices.length, "new alert")}${critical ? `, ${critical} critical` : ""}`;
}

/** The notice of an alert of the namespace `/`. @returns {Notice} */
export function ofMarket(/** @type {{event: string, body: any}} */ { event, body }) {
  const pair = event === "correlation_alert";
  const subject = pair ? `${body.instrument1}|${body.instrument2}` : body.instrument;
  return { key: `${pair ? "correlation" : "volatility"}:${subject}:${body.severity}`, critical: body.severity === "critical", text: body.message };
}

/** The notice of a state change; null unless the alert begins to fire. @returns {Notice | null} */
export function ofChange(/** @type {any} */ event) {
  const alert = event?.event_type === "system_alert" ? event.details : null;
  if (!alert || alert.state !== "firing") return null;
  return { key: `${alert.type}:${alert.subject}:${alert.severity}`, critical: alert.severity === "critical", text: alert.message };
}

/** @returns {Notice} */
function ofThreshold(/** @type {any} */ { id, instrument, metric, op, value, current, time }) {
  return { key: `threshold:${id}:${time}`, critical: false, text: `${instrument} ${metric} ${op} ${value}: now ${current}` };
}

class Notices {
  #app;
  /** @type {Map<string, number>} key -> time of its notice */
  #seen = new Map();
  /** @type {Notice[]} */
  #waiting = [];
  #timer = 0;
  #last = -Infinity;
  /** @type {AudioContext | null} */
  #audio = null;

  constructor(/** @type {App} */ app) {
    this.#app = app;
  }

  /** A new alert; the same alert by another way is left out. */
  add(/** @type {Notice | null} */ notice) {
    const now = this.#app.clock.local();
    if (!notice || now - (this.#seen.get(notice.key) ?? -Infinity) < REPEAT_MS) return;
    for (const [key, time] of this.#seen) if (now - time >= REPEAT_MS) this.#seen.delete(key);
    this.#seen.set(notice.key, now);
    this.#waiting.push(notice);
    this.#timer ||= window.setTimeout(() => this.#flush(), Math.max(FIRST_MS, this.#last + SUMMARY_MS - now));
  }

  #flush() {
    const notices = this.#waiting;
    this.#waiting = [];
    this.#timer = 0;
    this.#last = this.#app.clock.local();
    const text = summary(notices);
    this.#app.announce(text);
    if (this.#app.settings.get("sound")) this.beep();
    if (this.#app.settings.get("notify")) this.#show(text, notices);
  }

  /** One short tone. Browsers play it only after the user has used the page. */
  beep() {
    this.#audio ??= new AudioContext();
    const { hertz, seconds, volume } = BEEP;
    const [tone, gain, end] = [this.#audio.createOscillator(), this.#audio.createGain(), this.#audio.currentTime + seconds];
    tone.frequency.value = hertz;
    gain.gain.setValueAtTime(volume, this.#audio.currentTime);
    gain.gain.exponentialRampToValueAtTime(0.0001, end);
    tone.connect(gain).connect(this.#audio.destination);
    tone.start();
    tone.stop(end);
  }

  #show(/** @type {string} */ text, /** @type {Notice[]} */ notices) {
    if (globalThis.Notification?.permission !== "granted") return;
    const body = notices.slice(0, 4).map((each) => each.text).join("\n");
    const shown = new Notification(`Tickwire: ${text}`, { body, tag: "tickwire-alerts" });
    shown.onclick = () => globalThis.focus();
  }
}

/** The notices of the page. */
export const notices = oneEach((app) => new Notices(app));

/** Follow all three kinds of alerts. */
export function startAlertNotices(/** @type {App} */ app) {
  const made = notices(app);
  app.hub.on("alert", (/** @type {any} */ alert) => made.add(ofMarket(alert)));
  app.hub.on("triggered", (/** @type {any} */ body) => made.add(ofThreshold(body)));
  app.hub.events((/** @type {any} */ event) => made.add(ofChange(event)));
}
