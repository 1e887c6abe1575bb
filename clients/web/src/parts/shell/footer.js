// @ts-check
/** The footer: sources, writer, database, Redis, the hub's clients, and price gaps since load. */
import { counted } from "../../format.js";
import { sourceTone } from "../../market/attention.js";
import { time as clockText } from "../../zones.js";
import { h } from "../h.js";
import { CLIENTS_HINT } from "../shared/hints.js";

const STATS_MS = 5_000;

/** @param {import("../../types.js").App} app @param {HTMLElement} root */
export function mountFooter(app, root) {
  const loaded = app.clock.now();
  const parts = h("ul", { class: "foot-list" });
  root.append(parts);
  root.setAttribute("aria-label", "State of the system");
  root.tabIndex = 0; // it scrolls on narrow screens
  /** @type {any} */
  let stats = null;
  let last = "";
  let asked = false; // /health has answered or failed

  function show() {
    const items = [...(asked ? sources(app.store.health) : []), ...servers(app.store.health), ...hubItems(stats, app.hub.state), gaps(app, loaded)];
    const text = JSON.stringify(items);
    if (text === last) return;
    last = text;
    parts.replaceChildren(...items.map(([tone, label, title]) => item(tone, label, title)));
  }

  async function poll() {
    const { client, state } = app.hub;
    try {
      stats = state === "live" ? await client.getServerStats() : null;
    } catch {
      stats = null;
    }
    show();
  }

  app.store.on("sources", () => {
    asked = true;
    show();
  });
  app.store.on("gaps", show);
  app.hub.on("live", poll);
  app.hub.on("state", () => {
    if (app.hub.state !== "live") stats = null;
    show();
  });
  app.settings.on("zone", show);
  app.paint.every(STATS_MS, poll);
  show();
}

/** @typedef {"ok" | "warn" | "crit" | "none"} Tone */

const MARKS = { ok: "●", warn: "▲", crit: "■", none: "" };

/** @param {Tone} tone @param {string} label @param {string} [title] */
function item(tone, label, title) {
  const mark = MARKS[tone] && h("span", { class: `foot-mark foot-${tone}`, "aria-hidden": "true", text: MARKS[tone] });
  return h("li", { class: "foot-item", title }, mark, h("span", { text: label }));
}

/** @param {any} health @returns {[Tone, string, string?][]} */
function sources(health) {
  if (!health) return health === null ? [["crit", "REST is not available"]] : [];
  if (health.sources === undefined) return []; // the caller may not read them
  const entries = Object.entries(health.sources ?? {});
  if (!entries.length) return [["warn", "no source"]];
  return entries.map(([name, about]) => [sourceTone(about.state), `${name} ${about.state}`, about.detail ?? undefined]);
}

/** @param {any} health @returns {[Tone, string, string?][]} */
function servers(health) {
  if (!health) return [];
  const behind = health.writer?.unstored;
  const late = (health.failing ?? []).includes("writer");
  /** @type {[Tone, string, string?]} */
  const writer = behind === undefined || behind === null
    ? ["warn", "writer unknown"]
    : [late ? "warn" : "ok", `writer ${behind.toLocaleString("en")} behind`, "Prices that are not stored yet"];
  return [...(health.writer === undefined ? [] : [writer]), server("database", health.database), server("Redis", health.redis)];
}

/** @param {string} name @param {string} state @returns {[Tone, string]} */
function server(name, state) {
  return state === "connected" ? ["ok", name] : ["crit", `${name} ${state}`];
}

/** Statistics need a scope: without them the state of the connection remains. @param {any} stats @param {string} state of the connection @returns {[Tone, string, string?][]} */
function hubItems(stats, state) {
  if (!stats) return state === "live" ? [["ok", "hub"]] : state === "connecting" ? [["none", "hub …"]] : [["crit", "hub not connected"]];
  const { connected_clients: clients, slow_clients: slow } = stats;
  return [[slow ? "warn" : "ok", `hub · ${counted(clients, "client")}, ${slow} slow`, CLIENTS_HINT]];
}

/** @param {import("../../types.js").App} app @param {number} loaded @returns {[Tone, string, string?]} */
function gaps({ store, settings }, loaded) {
  const since = clockText(loaded, settings.get("zone")).slice(0, 5);
  return [store.gapCount ? "warn" : "none", `${counted(store.gapCount, "price gap")} since ${since}`, "Prices that this page has missed since it was loaded"];
}
