// @ts-check
/** The table of alerts. A row changes with its alert and keeps the focus. */
import { inOrder, supersedes } from "../../alerts/alerts.js";
import { severityMark, thresholdText, valueText } from "../../alerts/alert_text.js";
import { dateTime, tooltip } from "../../zones.js";
import { missingRight } from "./acknowledge.js";
import { h, write } from "../h.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../alerts/alerts.js").Alert} Alert */

const COLUMNS = ["Severity", "Time", "Type", "Subject", "Value", "Threshold", "State", "By", "Comment"];
const CLASSES = /** @type {Record<string, string>} */ ({ Value: "num", Threshold: "num" });

export class AlertTable {
  /** @type {Map<string, {alert: Alert, row: ReturnType<typeof alertRow>}>} */
  #shown = new Map();
  #app;
  #acknowledge;
  #body = h("tbody", { role: "rowgroup" });
  element;

  /** @param {App} app @param {(alert: Alert) => void} acknowledge */
  constructor(app, acknowledge) {
    this.#app = app;
    this.#acknowledge = acknowledge;
    // On narrow screens the style sheet makes cards of the rows; the roles keep them a table.
    const head = COLUMNS.map((name) => h("th", { scope: "col", role: "columnheader", class: CLASSES[name], text: name }));
    const table = h("table", { class: "table alerts-table", role: "table" },
      h("caption", { class: "sr-only", text: "Alerts: firing first, then acknowledged, then resolved" }),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), this.#body);
    this.element = h("div", { class: "alerts-scroll", role: "region", tabindex: "0", "aria-label": "Table of alerts" }, table);
  }

  get size() {
    return this.#shown.size;
  }

  /** Show exactly these alerts. A state that an event has brought meanwhile stays. */
  set(/** @type {Alert[]} */ list) {
    const ids = new Set(list.map(({ alert_id }) => alert_id));
    for (const id of [...this.#shown.keys()]) if (!ids.has(id)) this.remove(id);
    for (const alert of list) this.#take(alert);
    this.#arrange();
  }

  /** More alerts behind the shown ones. */
  add(/** @type {Alert[]} */ list) {
    for (const alert of list) this.#take(alert);
    this.#arrange();
  }

  remove(/** @type {string} */ id) {
    this.#shown.get(id)?.row.element.remove();
    this.#shown.delete(id);
  }

  /** Write all texts again: the zone or the rights have changed. */
  refresh() {
    for (const { alert, row } of this.#shown.values()) row.show(alert);
  }

  /** The alert for the key `a`: that of the row with the focus, else the first firing one. */
  current() {
    const rows = [...this.#shown.values()];
    const focused = rows.find(({ row }) => row.element.contains(document.activeElement));
    return (focused ?? rows.sort((a, b) => inOrder(a.alert, b.alert))[0])?.alert ?? null;
  }

  #take(/** @type {Alert} */ alert) {
    const known = this.#shown.get(alert.alert_id);
    if (!supersedes(alert, known?.alert)) return;
    const row = known?.row ?? alertRow(this.#app, () => this.#press(alert.alert_id));
    this.#shown.set(alert.alert_id, { alert, row });
    row.show(alert);
  }

  #press(/** @type {string} */ id) {
    const found = this.#shown.get(id);
    if (found) this.#acknowledge(found.alert);
  }

  /** Put the rows in order; a row that moves keeps the focus. */
  #arrange() {
    const focused = document.activeElement;
    const rows = [...this.#shown.values()].sort((a, b) => inOrder(a.alert, b.alert));
    rows.forEach(({ row }, index) => {
      const place = this.#body.children[index];
      if (place !== row.element) this.#body.insertBefore(row.element, place ?? null);
    });
    if (focused instanceof HTMLElement && this.#body.contains(focused) && document.activeElement !== focused) focused.focus();
  }
}

/** One row: its cells are made once. */
function alertRow(/** @type {App} */ app, /** @type {() => void} */ press) {
  /** @param {string} name @param {string} [more] */
  const cell = (name, more = "") => h("td", { class: `alerts-${name} ${more}`, role: "cell" });
  const [severity, time, type, state] = [cell("severity"), cell("time"), cell("type"), cell("state")];
  const [value, threshold] = [cell("value", "num"), cell("threshold", "num")];
  const [by, comment] = [cell("by"), cell("comment")];
  const subject = h("th", { scope: "row", role: "rowheader", class: "alerts-subject" });
  const button = h("button", { class: "button", type: "button", text: "Acknowledge", onclick: () => button.ariaDisabled !== "true" && press() });
  const element = h("tr", { class: "alerts-row", role: "row" }, severity, time, type, subject, value, threshold, state, by, comment);
  const [who, when] = [h("span", { class: "alerts-who" }), h("span", { class: "alerts-when" })];
  const [word, ended] = [h("span"), h("span", { class: "alerts-when" })];
  by.append(button, who, " ", when);
  state.append(word, " ", ended);
  let named = "";
  function show(/** @type {Alert} */ alert) {
    const zone = app.settings.get("zone");
    const at = (/** @type {string | null} */ text) => (text ? dateTime(app.clock.parse(text), zone).slice(5, 16) : "");
    element.dataset.state = alert.state;
    element.dataset.severity = alert.severity;
    element.dataset.id = alert.alert_id;
    element.title = alert.message;
    write(severity, `${severityMark(alert.severity)} ${alert.severity}`);
    write(time, at(alert.time));
    time.title = tooltip(app.clock.parse(alert.time), zone);
    write(type, alert.type);
    if (named !== alert.subject) subject.replaceChildren(...subjectNodes(app, alert));
    named = alert.subject;
    write(value, valueText(alert));
    write(threshold, thresholdText(alert));
    write(word, alert.state);
    write(ended, at(alert.resolved_at));
    write(who, alert.acknowledged_by ?? (alert.acknowledged_at ? "no name" : ""));
    write(when, at(alert.acknowledged_at));
    when.title = alert.acknowledged_at ? tooltip(app.clock.parse(alert.acknowledged_at), zone) : "";
    ended.title = alert.resolved_at ? tooltip(app.clock.parse(alert.resolved_at), zone) : "";
    write(comment, alert.comment ?? "");
    showButton(alert);
  }
  /** A button without the right stays reachable, so that its description is read. */
  function showButton(/** @type {Alert} */ alert) {
    const missing = missingRight(app);
    button.hidden = alert.state !== "firing";
    button.ariaDisabled = missing ? "true" : "false";
    button.ariaLabel = `Acknowledge ${alert.severity} ${alert.type} ${alert.subject}`;
    button.ariaDescription = missing;
    button.title = missing;
  }
  return { element, show };
}

/** The subject; instruments are links. */
function subjectNodes(/** @type {App} */ app, /** @type {Alert} */ { symbol, symbol2, subject }) {
  if (!symbol) return [subject];
  const link = (/** @type {string} */ name) => h("a", { href: app.router.href("instrument", name), text: name });
  return symbol2 ? [link(symbol), "\u00a0· ", link(symbol2)] : [link(symbol)];
}
