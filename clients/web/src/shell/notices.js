// @ts-check
/** What the banner shows: the connection, a pause, a new version, an epoch, a slow browser. */
import { counted } from "../format.js";
import { dialog } from "../parts/dialog.js";
import { credentialForm } from "../parts/signin.js";
import { time as clockText } from "../zones.js";

const MINUTE_MS = 60_000;
const EPOCH_SHOWN_MS = 5 * MINUTE_MS;

/** @typedef {{set(key: string, notice: import("../types.js").Notice | null): void}} Banner */

/** @param {import("../types.js").App} app @param {Banner} banner */
export function startNotices(app, banner) {
  const notices = new Notices(app, banner);
  return { toggle: () => notices.pause(!app.paint.paused) };
}

class Notices {
  #app;
  #banner;
  #lastSlow = -Infinity;
  #received = 0; // messages in this second
  #rate = 0; // messages in the last second
  #pausedAt = 0;
  /** @type {string | null} */
  #expires = null;

  /** @param {import("../types.js").App} app @param {Banner} banner */
  constructor(app, banner) {
    this.#app = app;
    this.#banner = banner;
    const { hub, paint, session } = app;
    hub.on("state", () => this.#show());
    session.on("change", () => this.#expiring(null));
    hub.on("expiring", (/** @type {any} */ body) => this.#expiring(body.expires_at));
    hub.on("refreshed", () => this.#expiring(null));
    hub.on("epoch", () => this.#epoch());
    hub.on("gap_notice", (/** @type {any} */ body) => this.#slow(body));
    hub.on("price", () => (this.#received += 1));
    paint.every(1000, () => {
      [this.#received, this.#rate] = [0, this.#received];
      this.#show();
    });
    this.#show();
  }

  /** @param {boolean} flag */
  pause(flag) {
    const { clock, paint, hub } = this.#app;
    this.#pausedAt = clock.now();
    paint.pause(flag);
    hub.emit("paused", flag);
    this.#show();
  }

  #show() {
    const { hub, paint, session } = this.#app;
    document.documentElement.dataset.link = paint.paused && hub.state === "live" ? "paused" : hub.state;
    this.#banner.set("link", session.state === "open" ? linkNotice(this.#app, (ms) => this.#text(ms)) : null);
    this.#banner.set("pause", paint.paused ? this.#pauseNotice() : null);
    this.#banner.set("expiring", this.#expires && session.signedIn ? expiringNotice(this.#app, this.#expires) : null);
  }

  /** @returns {import("../types.js").Notice} */
  #pauseNotice() {
    const { waiting } = this.#app.paint;
    return {
      text: `Paused at ${this.#text(this.#pausedAt)}`,
      countdown: `${counted(waiting, "update")} waiting`,
      action: { label: "Continue", run: () => this.pause(false) },
    };
  }

  /** The time of day in the chosen zone. @param {number} ms */
  #text(ms) {
    return clockText(ms, this.#app.settings.get("zone"));
  }

  /** @param {string | null} expires */
  #expiring(expires) {
    this.#expires = expires;
    this.#show();
  }

  #epoch() {
    const text = `The log of the hub restarted at ${this.#text(this.#app.clock.now())}. The history is loaded again.`;
    this.#banner.set("epoch", { text, tone: "info" });
    setTimeout(() => this.#banner.set("epoch", null), EPOCH_SHOWN_MS);
  }

  /** At most one line a minute. @param {any} body */
  #slow({ dropped }) {
    const now = this.#app.clock.local();
    if (now - this.#lastSlow < MINUTE_MS) return;
    this.#lastSlow = now;
    const count = Object.values(dropped).reduce((sum, each) => sum + Number(each), Math.max(this.#rate, this.#received));
    this.#banner.set("slow", { text: `This browser is too slow for ${count.toLocaleString("en")} messages/s.`, tone: "info" });
    setTimeout(() => this.#banner.set("slow", null), MINUTE_MS);
  }
}

/** @param {import("../types.js").App} app @param {(ms: number) => string} at @returns {import("../types.js").Notice | null} */
function linkNotice({ hub, clock }, at) {
  const { since, retryAt, error, notFound } = hub.about;
  const seconds = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - clock.now()) / 1000));
  const countdown = seconds ? `Next attempt in ${seconds} s.` : "Connecting …";
  if (hub.state === "refused") return { text: refusal(error), countdown };
  if (hub.state === "reconnecting") {
    return { text: `The connection was lost at ${at(since ?? clock.now())}. Prices below are the last ones received.`, countdown };
  }
  if (hub.state === "connecting" && notFound) {
    const { origin, path } = hub.address;
    return { text: `No hub at ${origin}${path.replace(/\/socket\.io$/, "")}. Set HUB_PUBLIC_URL.`, countdown };
  }
  return null;
}

/** @param {any} error */
function refusal(error) {
  if (error?.code === "server_full") return "The hub has reached its number of clients. Prices continue when another one leaves.";
  if (error?.code === "too_many_requests") return "The hub limits the connections of this address.";
  return "The hub is restarting or not ready.";
}

/** @param {import("../types.js").App} app @param {string} expires @returns {import("../types.js").Notice} */
function expiringNotice(app, expires) {
  const seconds = Math.max(0, Math.ceil((app.clock.parse(expires) - app.clock.now()) / 1000));
  return {
    text: "Your token expires soon.",
    countdown: `${seconds} s left`,
    action: { label: "Enter a new token", run: () => askToken(app) },
  };
}

/** @param {import("../types.js").App} app */
function askToken(app) {
  const form = credentialForm("The new token must belong to the same user.", "Use this token", (text) => {
    app.session.renew(text);
    open.close();
  });
  const open = dialog({ title: "Enter a new token", body: form, actions: [] });
  form.querySelector("input")?.focus();
}
