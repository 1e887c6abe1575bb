// @ts-check
/** Statistics of the hub, polled: it sends no event per client. */

import { number } from "../../format.js";
import { figureList } from "../shared/figure_list.js";
import { write } from "../h.js";
import { panel } from "../shared/panel.js";
import { CLIENTS_HINT } from "../shared/hints.js";
import { Rate, rateText, stateText } from "./texts.js";

const EVERY_MS = 5000;
const FIELDS = [
  { name: "connected_clients", title: "Clients", hint: CLIENTS_HINT },
  { name: "slow_clients", title: "Slow clients" },
  { name: "relayed", title: "Relayed" },
  { name: "delivered", title: "Delivered" },
  { name: "memory_usage_mb", title: "Memory, MB" },
  { name: "last_message_age_seconds", title: "Last message, s ago" },
  { name: "total_subscriptions", title: "Subscriptions" },
  { name: "uptime", title: "Up" },
  { name: "version", title: "Redis" },
];

/** @param {import("../../types.js").App} app */
export function hub(app) {
  const figures = figureList(FIELDS);
  const rates = { relayed: new Rate(), delivered: new Rate() };
  const made = panel(app, {
    title: "Hub",
    load: () => stats(app),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => {
      if (figures.element.parentNode === null) content.append(figures.element);
      figures.show(texts(body, rates, app.clock.parse(body.timestamp)));
    },
    every: EVERY_MS,
  });
  const off = app.hub.on("live", () => made.reload());
  const title = /** @type {HTMLElement} */ (made.element.querySelector("h2"));
  return {
    element: made.element,
    /** @param {any} section `system` of a snapshot: several hubs have their own figures */
    paint(section) {
      const hubs = Object.keys(section?.processes ?? {}).filter((name) => name.startsWith("hub:")).length;
      write(title, hubs > 1 ? `Hub: this hub of ${hubs}` : "Hub");
    },
    close: () => [off, () => made.close()].forEach((end) => end()),
  };
}

/** @param {import("../../types.js").App} app */
async function stats(app) {
  const { client, state } = app.hub;
  if (state !== "live") throw new Error("The hub is not connected.");
  return client.getServerStats();
}

/** @param {any} body @param {{relayed: Rate, delivered: Rate}} rates @param {number} ms */
function texts(body, rates, ms) {
  const slow = body.slow_clients > 0;
  return {
    connected_clients: number(body.connected_clients),
    slow_clients: { text: slow ? `! ${body.slow_clients}` : "0", class: slow ? "panels-warn" : "" },
    relayed: rateText(rates.relayed.read(body.messages_relayed, ms)),
    delivered: rateText(rates.delivered.read(body.messages_delivered, ms)),
    memory_usage_mb: number(body.memory_usage_mb),
    last_message_age_seconds: number(body.last_message_age_seconds),
    total_subscriptions: number(body.total_subscriptions),
    uptime: `${Math.floor(body.uptime_seconds / 60)} min`,
    version: stateText(body.redis_connected ? "connected" : "disconnected"),
  };
}
