// @ts-check
/** The view of alerts: the list with its filters, own thresholds, sound and notifications. */
import { HOURS, SEVERITIES, STATES, TYPES, argumentsOf, filterOf, matches } from "../alerts/alert_text.js";
import { alerts } from "../alerts/alerts.js";
import { acknowledge, missingRight } from "../parts/alerts/acknowledge.js";
import { AlertTable } from "../parts/alerts/alert_table.js";
import { h, write } from "../parts/h.js";
import { noticeSettings } from "../parts/alerts/notice_settings.js";
import { panel } from "../parts/shared/panel.js";
import { thresholds } from "../parts/alerts/thresholds.js";
import { dateTime } from "../zones.js";

/** @typedef {import("../types.js").App} App */
/** @typedef {import("../types.js").Route} Route */
/** @typedef {import("../alerts/alerts.js").Alert} Alert */

const PAGE = 200; // alerts of a state in one request
const TIMES = Object.keys(HOURS);
const TIME_NAMES = /** @type {Record<string, string>} */ ({ "1h": "last hour", "24h": "last 24 h", "7d": "last 7 days", "30d": "last 30 days" });

/** @param {App} app @param {HTMLElement} root @param {Route} route */
export function open(app, root, route) {
  const view = new AlertsView(app, root, route);
  return { update: (/** @type {Route} */ next) => view.update(next), close: () => view.close() };
}

class AlertsView {
  #app;
  #model;
  #table;
  #panel;
  #filters;
  #query;
  #filter;
  /** Alerts that change during a load; null between loads. @type {Alert[] | null} */
  #recent = null;
  /** Tokens of the next pages, by state. @type {Record<string, string>} */
  #more = {};
  #notice = h("p", { class: "alerts-notice", role: "status" });
  #older = h("button", { class: "button", type: "button", text: "Load older alerts", hidden: true, onclick: () => this.#loadOlder() });
  #offs;
  #parts;

  /** @param {App} app @param {HTMLElement} root @param {Route} route */
  constructor(app, root, route) {
    this.#app = app;
    this.#model = alerts(app);
    this.#query = route.query;
    this.#filter = filterOf(route.query, app.clock.now());
    this.#table = new AlertTable(app, (alert) => this.#acknowledge(alert));
    this.#filters = new Filters(app, route.query);
    const csv = h("button", { class: "button", type: "button", text: "CSV", "aria-label": "Alerts as CSV", onclick: () => this.#download() });
    this.#panel = panel(app, {
      title: "Alerts",
      actions: [csv],
      load: (/** @type {AbortSignal} */ signal) => this.#load(signal),
      show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => this.#show(body, content),
      empty: (/** @type {any} */ body) => (body.list.length ? null : this.#emptyText()),
    });
    this.#panel.element.classList.add("alerts-panel");
    this.#panel.element.querySelector(".panel-head")?.after(this.#filters.element, this.#notice);
    this.#parts = [thresholds(app, { symbol: null }), noticeSettings(app)];
    root.classList.add("alerts-view");
    const side = h("div", { class: "alerts-side" }, this.#parts.map(({ element }) => element));
    root.append(h("h2", { class: "sr-only", text: "Alerts" }), this.#panel.element, side);
    this.#offs = [
      this.#model.on((alert) => this.#changed(alert)),
      app.settings.on("zone", () => this.#table.refresh()),
      app.session.on("scopes", () => this.#table.refresh()),
      app.keys.bind({
        a: { label: "Acknowledge the alert with the focus, or the first one", run: () => this.#acknowledgeCurrent() },
        A: { label: "Show all alerts", run: () => this.#showAll() },
      }),
    ];
  }

  /** @param {Route} route */
  update(route) {
    if (String(route.query) === String(this.#query)) return;
    this.#query = route.query;
    this.#filters.show(route.query);
    this.#say("");
    this.#panel.reload();
  }

  close() {
    for (const off of this.#offs) off();
    for (const part of this.#parts) part.close();
    this.#panel.close();
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    const query = this.#query;
    this.#recent = [];
    const filter = filterOf(query, this.#app.clock.now());
    const states = filter.state ? [filter.state] : STATES;
    const pages = await Promise.all(states.map((state) =>
      this.#app.rest.get("alerts", { ...argumentsOf(filter), state, order: "desc", limit: PAGE }, { signal })));
    const more = Object.fromEntries(pages.map((page, index) => [states[index], page.next_page_token]).filter(([, token]) => token));
    this.#filter = filter;
    return { query, list: pages.flatMap((page) => page.alerts), more };
  }

  /** @param {any} body @param {HTMLElement} content */
  #show({ query, list, more }, content) {
    if (!this.#table.element.isConnected) content.replaceChildren(this.#table.element, this.#older);
    this.#more = more;
    this.#older.hidden = Object.keys(more).length === 0;
    this.#table.set(list);
    const recent = this.#recent ?? [];
    this.#recent = null;
    for (const alert of recent) this.#changed(alert);
    if (query !== this.#query) setTimeout(() => this.#panel.reload()); // the filter changed meanwhile
  }

  /** The next page of each state that has one. */
  async #loadOlder() {
    const tokens = Object.entries(this.#more);
    try {
      const pages = await Promise.all(tokens.map(([state, page_token]) =>
        this.#app.rest.get("alerts", { ...argumentsOf(this.#filter), state, order: "desc", limit: PAGE, page_token })));
      this.#more = Object.fromEntries(pages.map((page, index) => [tokens[index][0], page.next_page_token]).filter(([, token]) => token));
      this.#table.add(pages.flatMap((page) => page.alerts));
      this.#older.hidden = Object.keys(this.#more).length === 0;
    } catch (error) {
      this.#say(/** @type {any} */ (error).message);
    }
  }

  /** A state change of one alert, or a new list of open ones. @param {Alert | null} alert */
  #changed(alert) {
    if (alert === null) {
      this.#panel.reload();
      return;
    }
    this.#recent?.push(alert);
    if (!matches(alert, this.#filter)) this.#table.remove(alert.alert_id);
    else this.#table.add([alert]);
    const empty = this.#table.size === 0;
    if (["ready", "empty"].includes(this.#panel.element.dataset.state ?? "")) this.#panel.set(empty ? "empty" : "ready", empty ? this.#emptyText() : "");
    this.#panel.content.hidden = empty;
  }

  #emptyText() {
    if (["type", "severity", "state", "symbol"].some((name) => this.#query.get(name))) return "No alert matches the filters. Press A to show all.";
    const { start } = this.#filter;
    const since = start ? dateTime(Date.parse(start), this.#app.settings.get("zone")) : "the start of the record";
    return `No alerts since ${since}.`;
  }

  /** @param {Alert} alert */
  #acknowledge(alert) {
    this.#say("");
    acknowledge(this.#app, alert, (text) => this.#say(text));
  }

  #acknowledgeCurrent() {
    const alert = this.#table.current();
    const missing = missingRight(this.#app);
    if (missing) this.#say(missing);
    else if (alert?.state === "firing") this.#acknowledge(alert);
    else this.#say(alert ? `This alert is ${alert.state}.` : "No alert is firing.");
  }

  #showAll() {
    this.#app.router.query({ type: null, severity: null, state: null, symbol: null, since: null });
  }

  async #download() {
    try {
      await this.#app.rest.download("alerts", { ...argumentsOf(filterOf(this.#query, this.#app.clock.now())), format: "csv" }, "alerts.csv");
    } catch (error) {
      this.#say(/** @type {any} */ (error).message);
    }
  }

  #say(/** @type {string} */ text) {
    write(this.#notice, text);
  }
}

/** The filters. The address has their values. */
class Filters {
  #app;
  #controls;
  #problem = h("span", { class: "alerts-problem", role: "alert" });
  element;

  /** @param {App} app @param {URLSearchParams} query */
  constructor(app, query) {
    this.#app = app;
    /** @param {string} name @param {string} all @param {string[]} values @param {(value: string) => string} [text] */
    const select = (name, all, values, text = (value) => value) =>
      h("select", { class: "field", name, onchange: (/** @type {any} */ event) => app.router.query({ [name]: event.target.value || null }) },
        h("option", { value: "", text: all }), values.map((value) => h("option", { value, text: text(value) })));
    const symbol = h("input", { class: "field", name: "symbol", list: "alerts-symbols", autocomplete: "off", spellcheck: "false",
      placeholder: "any", onchange: () => this.#symbol(symbol.value.trim()) });
    this.#controls = {
      type: select("type", "all types", TYPES),
      severity: select("severity", "both", SEVERITIES),
      state: select("state", "all states", STATES),
      symbol,
      since: select("since", "any time", TIMES, (value) => TIME_NAMES[value]),
    };
    const names = { type: "Type", severity: "Severity", state: "State", symbol: "Symbol", since: "Time" };
    this.element = h("div", { class: "alerts-filters", role: "group", "aria-label": "Filters" },
      Object.entries(this.#controls).map(([name, control]) =>
        h("label", { class: "alerts-label" }, h("span", { text: names[/** @type {keyof typeof names} */ (name)] }), control)),
      h("datalist", { id: "alerts-symbols" }, app.store.symbols.map((/** @type {string} */ value) => h("option", { value }))),
      h("button", { class: "button", type: "button", text: "Show all", onclick: () =>
        app.router.query({ type: null, severity: null, state: null, symbol: null, since: null }) }),
      this.#problem);
    this.show(query);
  }

  /** @param {URLSearchParams} query */
  show(query) {
    for (const [name, control] of Object.entries(this.#controls)) {
      const value = query.get(name) ?? "";
      if (control.value !== value) control.value = value;
      if (control.value !== value) control.value = ""; // the address has an unknown value
    }
    write(this.#problem, "");
  }

  /** An unknown symbol stays in the field and changes nothing. @param {string} symbol */
  #symbol(symbol) {
    const { store, router } = this.#app;
    const known = !symbol || store.rows.has(symbol) || store.symbols.length === 0;
    write(this.#problem, known ? "" : `There is no instrument ${symbol}.`);
    if (known) router.query({ symbol: symbol || null });
  }
}
