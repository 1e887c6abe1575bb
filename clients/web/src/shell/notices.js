// @ts-check
/** What the banner shows: the connection, a pause, a new version, an epoch, a slow browser. */
import { dialog } from "../parts/dialog.js";
import { credentialForm } from "../parts/signin.js";
import { time as clockText } from "../zones.js";

const MINUTE_MS = 60_000;
const EPOCH_SHOWN_MS = 5 * MINUTE_MS;

/**
 * @param {import("../types.js").App} app
 * @param {{set(key: string, notice: import("../types.js").Notice | null): void}} banner
 */
export function startNotices(app, banner) {
  const { hub, paint, clock, session } = app;
  const root = document.documentElement;
  let lastSlow = -Infinity;
  let [received, rate] = [0, 0]; // messages in this second and in the last one
  let pausedAt = 0;
  /** @type {string | null} */
  let expires = null;
  /** @param {number} ms */
  const at = (ms) => clockText(ms, app.settings.get("zone"));

  function show() {
    root.dataset.link = paint.paused && hub.state === "live" ? "paused" : hub.state;
    banner.set("link", session.state === "open" ? linkNotice(app, at) : null);
    const waiting = `Paused at ${at(pausedAt)}`;
    const action = { label: "Continue", run: () => pause(false) };
    const countdown = `${paint.waiting.toLocaleString("en")} ${paint.waiting === 1 ? "update" : "updates"} waiting`;
    banner.set("pause", paint.paused ? { text: waiting, countdown, action } : null);
    banner.set("expiring", expires && session.signedIn ? expiringNotice(app, expires) : null);
  }

  /** @param {boolean} flag */
  function pause(flag) {
    pausedAt = clock.now();
    paint.pause(flag);
    app.hub.emit("paused", flag);
    show();
  }

  hub.on("state", show);
  session.on("change", () => {
    expires = null;
    show();
  });
  hub.on("expiring", (/** @type {any} */ body) => {
    expires = body.expires_at;
    show();
  });
  hub.on("refreshed", () => {
    expires = null;
    show();
  });
  hub.on("epoch", () => {
    banner.set("epoch", { text: `The log of the hub restarted at ${at(clock.now())}. The history is loaded again.`, tone: "info" });
    setTimeout(() => banner.set("epoch", null), EPOCH_SHOWN_MS);
  });
  hub.on("gap_notice", (/** @type {any} */ body) => {
    if (clock.local() - lastSlow < MINUTE_MS) return;
    lastSlow = clock.local();
    const dropped = Object.values(body.dropped).reduce((sum, each) => sum + Number(each), 0);
    const count = Math.max(rate, received) + dropped;
    banner.set("slow", { text: `This browser is too slow for ${count.toLocaleString("en")} messages/s.`, tone: "info" });
    setTimeout(() => banner.set("slow", null), MINUTE_MS);
  });
  hub.on("price", () => (received += 1));
  paint.every(1000, () => {
    [received, rate] = [0, received];
    show();
  });
  show();
  return { toggle: () => pause(!paint.paused) };
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
    return { text: `No hub at ${hub.address.origin}. Set HUB_PUBLIC_URL.`, countdown };
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
  const open = dialog(app, { title: "Enter a new token", body: form, actions: [] });
  form.querySelector("input")?.focus();
}
