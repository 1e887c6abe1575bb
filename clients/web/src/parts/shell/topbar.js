// @ts-check
/** The top bar: views, find field, connection, zone, clock, pause, theme. */
import { theme } from "../../appearance.js";
import { countFiring } from "../../alerts/firing.js";
import { time as clockText, ZONES } from "../../zones.js";
import { h, write } from "../h.js";
import { sessionButton } from "../signin.js";

/** view -> label, key, feature that it needs */
export const VIEWS = /** @type {[string, string, string, string | null][]} */ ([
  ["market", "Market", "m", null],
  ["analytics", "Analytics", "a", null],
  ["alerts", "Alerts", "l", null],
  ["trading", "Trading", "t", "trading"],
  ["scenarios", "Scenarios", "c", "scenarios"],
  ["system", "System", "s", null],
]);

const LINKS = /** @type {Record<string, string>} */ ({
  connecting: "connecting",
  live: "live",
  reconnecting: "reconnecting",
  refused: "refused",
  "signed-out": "signed out",
});
const OTHER = "other"; // opens the settings, which have all zones

/**
 * @param {import("../../types.js").App} app
 * @param {HTMLElement} root
 * @param {{toggle(): void}} notices
 */
export function mountTopBar(app, root, notices) {
  const views = viewLinks(app);
  const right = h("div", { class: "top-right" }, link(app), zone(app), clock(app), pauseButton(app, notices), themeButton(app), sessionButton(app));
  root.append(h("h1", { class: "top-name" }, h("a", { href: "#/", text: "Tickwire" })), views, find(app), right);
}

/** @param {import("../../types.js").App} app */
function viewLinks(app) {
  const count = h("span", { class: "num" });
  const shown = VIEWS.filter(([, , , feature]) => feature === null || app.config.features.includes(feature));
  const links = shown.map(([view, label]) => {
    const element = h("a", { class: "top-view", href: app.router.href(view), text: label });
    if (view === "alerts") element.append(count);
    return { view, element };
  });
  const mark = () => {
    const { view } = app.router.route;
    const current = view === "instrument" || view === "book" ? "market" : view;
    for (const each of links) {
      if (each.view === current) each.element.setAttribute("aria-current", "page");
      else each.element.removeAttribute("aria-current");
    }
  };
  app.router.on(mark);
  mark();
  countFiring(app, (firing) => write(count, firing ? ` (${firing})` : ""));
  return h("nav", { class: "top-views", "aria-label": "Views" }, links.map(({ element }) => element));
}

/** @param {import("../../types.js").App} app */
function find(app) {
  const field = h("input", {
    class: "field top-find",
    type: "search",
    placeholder: "Find  /",
    "aria-label": "Find an instrument",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => app.find.set(field.value),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      const found = event.key === "Enter" ? bestMatch(app) : null;
      if (event.key !== "Escape" && found === null) return;
      app.find.set("");
      field.blur(); // so that the view gets the focus, and its keys work
      if (found !== null) app.router.go(app.router.href("instrument", found));
    },
  });
  app.find.onFocus(() => field.focus());
  app.find.on((text) => {
    if (field.value !== text) field.value = text;
  });
  return h("div", { class: "top-find-box", role: "search" }, field);
}

/** The symbol that fits the find field best. @param {import("../../types.js").App} app */
function bestMatch({ find, store }) {
  const wanted = find.text.trim().toLowerCase();
  if (!wanted) return null;
  const plain = wanted.replace(/[^a-z0-9]/g, "");
  const rank = (/** @type {string} */ symbol) => {
    const name = symbol.toLowerCase();
    if (name === wanted) return 0;
    if (plain && name.replace(/[^a-z0-9]/g, "").startsWith(plain)) return 1;
    if (plain && name.replace(/[^a-z0-9]/g, "").includes(plain)) return 2;
    return store.rows.get(symbol)?.name.toLowerCase().includes(wanted) ? 3 : 4;
  };
  const [best] = [...store.symbols].sort((a, b) => rank(a) - rank(b));
  return best && rank(best) < 4 ? best : null;
}

/** The state of the connection and the delay of deliveries. @param {import("../../types.js").App} app */
function link(app) {
  const word = h("span", { class: "link-word" });
  const delay = h("span", { class: "link-delay num", title: "Median delay of deliveries, ms" });
  const show = () => {
    write(word, app.paint.paused ? "paused" : LINKS[app.hub.state]);
    const ms = app.hub.delay;
    write(delay, ms === null ? "" : `${Math.max(0, Math.round(ms))} ms`);
  };
  app.hub.on("state", show);
  app.hub.on("paused", show);
  app.paint.every(1000, show);
  show();
  return h("div", { class: "link" }, h("span", { class: "link-dot", "aria-hidden": "true" }), h("span", { role: "status" }, word), delay);
}

/** @param {import("../../types.js").App} app */
function zone({ settings, router }) {
  const select = h("select", { class: "field top-zone", "aria-label": "Time zone" });
  const show = () => {
    const value = settings.get("zone");
    const known = ZONES.some(({ name }) => name === value);
    const choices = [...ZONES, ...(known ? [] : [{ name: value, label: value }]), { name: OTHER, label: "Other …" }];
    select.replaceChildren(...choices.map(({ name, label }) => h("option", { value: name, text: label })));
    select.value = value;
  };
  select.addEventListener("change", () => {
    if (select.value !== OTHER) return settings.set("zone", select.value);
    show();
    router.go(router.href("system"));
  });
  settings.on("zone", show);
  show();
  return select;
}

/** @param {import("../../types.js").App} app */
function clock({ clock, settings, paint }) {
  const element = h("time", { class: "top-clock num" });
  const show = () => write(element, clockText(clock.now(), settings.get("zone")));
  paint.every(1000, show);
  settings.on("zone", show);
  show();
  return element;
}

/** @param {import("../../types.js").App} app @param {{toggle(): void}} notices */
function pauseButton(app, notices) {
  // Drawn, since the usual fonts of Linux have no sign for a pause.
  const sign = h("span", { class: "sign-pause", "aria-hidden": "true" });
  const button = h("button", { class: "button top-icon", type: "button", onclick: () => notices.toggle() }, sign);
  const show = () => {
    const { paused } = app.paint;
    sign.className = paused ? "sign-continue" : "sign-pause";
    button.setAttribute("aria-label", paused ? "Continue painting" : "Pause painting");
    button.title = paused ? "Continue (f)" : "Pause (f)";
    button.setAttribute("aria-pressed", String(paused));
  };
  app.hub.on("paused", show);
  show();
  return button;
}

/** @param {import("../../types.js").App} app */
function themeButton({ settings }) {
  const button = h("button", {
    class: "button top-icon",
    type: "button",
    onclick: () => settings.set("theme", theme() === "dark" ? "light" : "dark"),
  });
  button.append(h("span", { class: "sign-theme", "aria-hidden": "true" }));
  const show = () => {
    const other = theme() === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.title = `Use the ${other} theme`;
  };
  settings.on("theme", show);
  show();
  return button;
}
