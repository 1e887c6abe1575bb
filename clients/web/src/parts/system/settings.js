// @ts-check
/** Settings of this page. They are kept in this browser. */

import { names, valid, ZONES } from "../../zones.js";
import { h, write } from "../h.js";

const CHOICES = [
  { name: "theme", label: "Theme", values: [["system", "As the system"], ["dark", "Dark"], ["light", "Light"]] },
  { name: "palette", label: "Colours of changes", values: [["blue-orange", "Blue and orange"], ["green-red", "Green and red"]] },
  { name: "density", label: "Rows", values: [["normal", "Normal"], ["compact", "Compact"]] },
];

/** @param {import("../../types.js").App} app */
export function pageSettings(app) {
  const controls = [...CHOICES.map((choice) => select(app, choice)), zone(app), name(app), shortcuts(app)];
  const element = h("section", { class: "panel", "aria-label": "Settings of this page", "data-state": "ready" },
    h("header", { class: "panel-head" }, h("h2", { class: "panel-title", text: "Settings of this page" })),
    h("div", { class: "panel-body" }, h("div", { class: "system-settings" }, ...controls.map((each) => each.element)),
      h("p", { class: "dim", text: "They are kept in this browser only." })));
  return { element, close: () => controls.forEach((each) => each.close()) };
}

/** @param {import("../../types.js").App} app @param {{name: string, label: string, values: string[][]}} choice */
function select(app, { name: setting, label, values }) {
  const control = h("select", { class: "field", name: setting }, ...values.map(([value, text]) => h("option", { value, text })));
  const show = () => (control.value = app.settings.get(setting));
  control.addEventListener("change", () => app.settings.set(setting, control.value));
  show();
  return { element: labelled(label, control), close: app.settings.on(setting, show) };
}

/** Any IANA zone by search. @param {import("../../types.js").App} app */
function zone(app) {
  const list = h("datalist", { id: "system-zones" }, ...ZONES.map(({ name: value, label }) => h("option", { value, label })),
    ...names().map((value) => h("option", { value })));
  const control = h("input", { class: "field", name: "zone", title: "UTC, browser, or a name such as Europe/Berlin", list: "system-zones", autocomplete: "off", spellcheck: "false" });
  const problem = h("span", { class: "panels-warn", role: "status" });
  const show = () => (control.value = app.settings.get("zone"));
  control.addEventListener("change", () => {
    const wanted = control.value.trim();
    const known = wanted !== "" && valid(wanted);
    write(problem, known ? "" : `There is no zone “${wanted}”. Example: Europe/Berlin.`);
    control.setAttribute("aria-invalid", String(!known));
    if (known) app.settings.set("zone", wanted);
  });
  show();
  return { element: h("div", {}, labelled("Time zone (any IANA name)", control), list, problem), close: app.settings.on("zone", show) };
}

/** @param {import("../../types.js").App} app */
function name(app) {
  const control = h("input", { class: "field", name: "name", autocomplete: "off", maxlength: 100 });
  const show = () => (control.value = app.settings.get("name"));
  control.addEventListener("change", () => app.settings.set("name", control.value.trim()));
  show();
  return { element: labelled("Your name, for acknowledgements", control), close: app.settings.on("name", show) };
}

/** @param {import("../../types.js").App} app */
function shortcuts(app) {
  const control = h("input", { type: "checkbox", name: "shortcuts" });
  const show = () => (control.checked = app.settings.get("shortcuts"));
  control.addEventListener("change", () => app.settings.set("shortcuts", control.checked));
  show();
  const element = h("label", { class: "system-check" }, control, h("span", { text: "Shortcuts of a single key" }));
  return { element, close: app.settings.on("shortcuts", show) };
}

/** @param {string} text @param {HTMLElement} control */
function labelled(text, control) {
  return h("label", { class: "system-setting" }, h("span", { class: "dim", text }), control);
}
