// @ts-check
/** The keys of the whole page, the skip link, and the check for a new version. */
import { loadConfig } from "../config.js";
import { dialog } from "../parts/dialog.js";
import { h } from "../parts/h.js";
import { VIEWS } from "../parts/shell/topbar.js";

const VERSION_MS = 60_000;

/** @param {import("../types.js").App} app @param {{toggle(): void}} notices */
export function bindGlobalKeys(app, notices) {
  const { keys, router, find, store } = app;
  /** @type {import("../types.js").KeyTable} */
  const table = {
    "/": { label: "Find an instrument", run: () => find.focus() },
    "?": { label: "Show the keys", run: () => showKeys(app) },
    f: { label: "Pause or continue painting", run: () => notices.toggle() },
  };
  for (const [view, label, key, feature] of VIEWS) {
    if (feature && !app.config.features.includes(feature)) continue;
    table[`g ${key}`] = { label: `Open ${label}`, run: () => router.go(router.href(view)) };
  }
  const symbol = () => router.route.symbol ?? store.symbols[0];
  table["g i"] = { label: "Open the instrument", run: () => symbol() && router.go(router.href("instrument", symbol())) };
  table["g b"] = { label: "Open the ladder", run: () => symbol() && router.go(router.href("book", symbol())) };
  if (!app.config.features.includes("book")) delete table["g b"];
  keys.bind(table);
  document.getElementById("skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("list")?.focus();
  });
}

/** @param {import("../types.js").App} app */
function showKeys(app) {
  const rows = app.keys.list().map(({ key, label }) => h("tr", {}, h("td", {}, h("kbd", { text: key })), h("td", { text: label })));
  const head = h("tr", {}, h("th", { scope: "col", text: "Key" }), h("th", { scope: "col", text: "Action" }));
  const table = h("table", { class: "table" }, h("caption", { class: "sr-only", text: "Keys" }), h("thead", {}, head), h("tbody", {}, rows));
  dialog({ title: "Keys", body: table, actions: [] });
}

/**
 * Show a line if another version is running: after each reconnect, and every 60 s.
 * @param {import("../types.js").App} app
 * @param {{set(key: string, notice: import("../types.js").Notice | null): void}} banner
 */
export function watchVersion(app, banner) {
  const check = async () => {
    if (app.session.state !== "open" || document.hidden) return;
    const config = await loadConfig(app.rest).catch(() => null);
    if (!config) return;
    const action = { label: "Reload", run: () => location.reload() };
    const changed = config.version !== app.config.version;
    banner.set("version", changed ? { text: "A new version is running.", tone: "info", action } : null);
  };
  app.hub.on("live", (/** @type {any} */ { again }) => again && check());
  app.paint.every(VERSION_MS, check);
}
