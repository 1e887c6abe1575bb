// @ts-check
/** The scenarios with their descriptions, and the switch to one of them. */

import { h, write } from "../h.js";
import { dialog } from "../dialog.js";
import { panel, scopeText } from "../panel.js";

/** status -> text in front of the server's message */
const REFUSALS = /** @type {Record<number, string>} */ ({
  404: "This scenario no longer exists.",
  409: "Scenarios cannot be switched here.",
  503: "The switch is not confirmed.",
});

/**
 * `switched` runs after an answer of the server.
 * @param {any} app
 * @param {(body: any) => void} switched
 */
export function scenarioList(app, switched) {
  const body = h("tbody");
  const table = h("table", { class: "table scenarios-table" }, h("caption", { class: "sr-only", text: "Scenarios" }),
    h("thead", {}, h("tr", {}, ...["Scenario", "State", "Switch", "Description", "File"].map((text) => h("th", { scope: "col", text })))),
    body);
  const region = h("div", { class: "live-table-region", role: "region", tabindex: "0", "aria-label": "Scenarios" }, table);
  const reason = h("p", { class: "note", id: "scenario-reason", hidden: true });
  /** @type {Map<string, Row>} */
  const rows = new Map();
  let current = /** @type {string|null} */ (null);
  const show = () => {
    const permitted = app.session.can("operate");
    reason.hidden = permitted;
    write(reason, permitted ? "" : "Your key lacks the scope `operate`, which the switch needs.");
    for (const row of rows.values()) row.show(current, permitted);
  };
  const made = panel(app, {
    title: "Scenarios",
    load: (/** @type {AbortSignal} */ signal) => load(app, signal),
    show(/** @type {any} */ answer, /** @type {HTMLElement} */ content) {
      if (region.parentNode === null) content.append(region, reason);
      current = answer.current_scenario;
      rows.clear();
      for (const name of answer.available_scenarios) {
        rows.set(name, new Row(app, name, answer.scenario_files[name], answer.descriptions[name], switched));
      }
      body.replaceChildren(...[...rows.values()].map(({ element }) => element));
      show();
    },
    empty: (/** @type {any} */ answer) => answer.available_scenarios.length === 0
      ? "There is no scenario. Add a file to data/scenarios." : null,
  });
  const off = app.session.on("scopes", show);
  return {
    element: made.element,
    reload: () => made.reload(),
    /** @param {string|null} name */
    setCurrent(name) {
      if (name === current) return;
      current = name;
      if (name !== null && rows.size > 0 && !rows.has(name)) made.reload();
      show();
    },
    close() {
      off();
      made.close();
    },
  };
}

/** The names with their descriptions. @param {any} app @param {AbortSignal} signal */
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
   * @param {any} app @param {string} name @param {string} file @param {string} description
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
    dialog(this.app, {
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
