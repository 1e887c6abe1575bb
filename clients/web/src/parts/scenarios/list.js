// @ts-check
/** The scenarios with their descriptions, and the switch to one of them. */

import { h, write } from "../h.js";
import { dialog } from "../dialog.js";
import { panel, scopeText } from "../shared/panel.js";

/** status -> text in front of the server's message */
const REFUSALS = /** @type {Record<number, string>} */ ({
  404: "This scenario no longer exists.",
  409: "Scenarios cannot be switched here.",
  503: "The switch is not confirmed.",
});

/**
 * `switched` runs after an answer of the server.
 * @param {import("../../types.js").App} app
 * @param {(body: any) => void} switched
 */
export function scenarioList(app, switched) {
  return new List(app, switched);
}

class List {
  /** @type {Map<string, Row>} */
  _rows = new Map();
  /** @type {string|null} */
  _current = null;
  _body = h("tbody");
  _reason = h("p", { class: "note", id: "scenario-reason", hidden: true });

  /** @param {import("../../types.js").App} app @param {(body: any) => void} switched */
  constructor(app, switched) {
    this._app = app;
    this._switched = switched;
    this._region = tableOf(this._body);
    this._panel = panel(app, {
      title: "Scenarios",
      load: (/** @type {AbortSignal} */ signal) => load(app, signal),
      show: (/** @type {any} */ answer, /** @type {HTMLElement} */ content) => this._fill(answer, content),
      empty: (/** @type {any} */ answer) => answer.available_scenarios.length === 0
        ? "There is no scenario. Add a file to data/scenarios." : null,
    });
    this.element = this._panel.element;
    this._off = app.session.on("scopes", () => this._show());
  }

  reload() {
    return this._panel.reload();
  }

  /** @param {string|null} name */
  setCurrent(name) {
    if (name === this._current) return;
    this._current = name;
    if (name !== null && this._rows.size > 0 && !this._rows.has(name)) this.reload();
    this._show();
  }

  close() {
    this._off();
    this._panel.close();
  }

  /** @param {any} answer @param {HTMLElement} content */
  _fill({ available_scenarios: names, scenario_files: files, descriptions, current_scenario: current }, content) {
    if (this._region.parentNode === null) content.append(this._region, this._reason);
    this._current = current;
    for (const name of this._rows.keys()) if (!names.includes(name)) this._rows.delete(name);
    for (const name of names) {
      const row = this._rows.get(name) ?? new Row(this._app, name, files[name], descriptions[name], this._switched);
      this._rows.set(name, row);
    }
    const elements = names.map((/** @type {string} */ name) => this._rows.get(name)?.element);
    const same = elements.length === this._body.children.length && elements.every((/** @type {any} */ one, /** @type {number} */ place) => this._body.children[place] === one);
    if (!same) this._body.replaceChildren(...elements); // a row with the focus keeps it otherwise
    this._show();
  }

  _show() {
    const permitted = this._app.session.can("operate");
    this._reason.hidden = permitted;
    write(this._reason, permitted ? "" : "Your key lacks the scope `operate`, which the switch needs.");
    for (const row of this._rows.values()) row.show(this._current, permitted);
  }
}

/** @param {HTMLElement} body */
function tableOf(body) {
  const titles = ["Scenario", "State", "Switch", "Description", "File"].map((text) => h("th", { scope: "col", text }));
  const table = h("table", { class: "table scenarios-table" }, h("caption", { class: "sr-only", text: "Scenarios" }),
    h("thead", {}, h("tr", {}, ...titles)), body);
  return h("div", { class: "live-table-region", role: "region", tabindex: "0", "aria-label": "Scenarios" }, table);
}

/** The names with their descriptions. @param {import("../../types.js").App} app @param {AbortSignal} signal */
async function load(app, signal) {
  const answer = await app.rest.get("scenarios", {}, { signal });
  const files = await Promise.all(answer.available_scenarios.map((/** @type {string} */ name) =>
    app.rest.get(`scenarios/${encodeURIComponent(name)}`, {}, { signal }).catch(() => null)));
  const descriptions = Object.fromEntries(answer.available_scenarios.map(
    (/** @type {string} */ name, /** @type {number} */ index) => [name, files[index]?.description ?? ""]));
  return { ...answer, descriptions };
}

class Row {
  /**
   * @param {import("../../types.js").App} app @param {string} name @param {string} file @param {string} description
   * @param {(body: any) => void} switched
   */
  constructor(app, name, file, description, switched) {
    this.app = app;
    this.name = name;
    this.switched = switched;
    this.description = description;
    this.mark = h("td", { "data-name": "running" });
    this.button = h("button", { class: "button", type: "button", "data-scenario": name, onclick: () => this._ask() });
    this.element = h("tr", { "data-scenario": name }, h("th", { scope: "row", text: name }), this.mark, h("td", {}, this.button),
      h("td", { class: "scenarios-description", text: description }), h("td", { class: "dim", text: file }));
    this.busy = this.isRunning = this.permitted = false;
  }

  /** @param {string|null} current @param {boolean} permitted */
  show(current, permitted) {
    this.isRunning = current === this.name;
    this.permitted = permitted;
    this._paint();
  }

  _paint() {
    const { isRunning: running, permitted } = this;
    write(this.mark, running ? "● running" : "");
    this.element.classList.toggle("scenarios-running", running);
    write(this.button, this.busy ? "Switching…" : running ? "Restart" : "Switch");
    this.button.setAttribute("aria-label", `${running ? "Restart" : "Switch to"} ${this.name}`);
    this.button.disabled = this.busy || !permitted;
    if (permitted) this.button.removeAttribute("aria-describedby");
    else this.button.setAttribute("aria-describedby", "scenario-reason");
  }

  _ask() {
    const progress = h("p", { role: "status" });
    dialog({
      title: `Switch to ${this.name}? All clients receive it.`,
      body: h("div", {}, h("p", { text: this.description }), progress),
      actions: [{ label: "Switch", primary: true, run: () => this._switch(progress) }],
    });
  }

  /** @param {HTMLElement} progress @returns {Promise<string|void>} the error */
  async _switch(progress) {
    this.busy = true;
    this._paint();
    write(progress, "Switching…");
    try {
      this.switched(await this.app.rest.post(`scenarios/${encodeURIComponent(this.name)}`));
    } catch (error) {
      return refusal(error);
    } finally {
      this.busy = false;
      this._paint();
      write(progress, "");
    }
  }
}

/** @param {any} error */
function refusal(error) {
  if (error.status === 403) return scopeText(error);
  const wait = error.retryAfter ? ` Try again in ${Math.ceil(error.retryAfter)} s.` : "";
  return `${REFUSALS[error.status] ?? ""} ${error.message}${wait}`.trim();
}
