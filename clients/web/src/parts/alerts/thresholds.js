// @ts-check
/** The panel of the user's own thresholds: of one instrument, or of all. */
import { change, NONE } from "../../format.js";
import { ownThresholds, problemOf } from "../../alerts/own_thresholds.js";
import { dateTime } from "../../zones.js";
import { dialog } from "../dialog.js";
import { h, write } from "../h.js";

/** @typedef {import("../../types.js").App} App */
/** @typedef {import("../../alerts/own_thresholds.js").Row} Row */

const OP_NAMES = /** @type {Record<string, string>} */ ({ ">": "above", "<": "below", crosses: "crosses" });
const SHOWN_MS = 60_000; // the timer runs at once when the tab is shown
let made = 0; // number of forms, for the ids of their lists

/** The text of a threshold's value: a price as entered, a volatility in percent a day. */
function valueText(/** @type {{metric: string, value: string}} */ { metric, value }) {
  return metric === "price" ? value : `${percent(Number(value))} a day`;
}

function percent(/** @type {number} */ fraction) {
  return `${Number((fraction * 100).toFixed(4))} %`;
}

/** The value that the hub receives for an entered text. Volatilities are entered in percent. */
function enteredValue(/** @type {string} */ metric, /** @type {string} */ entered) {
  const text = entered.trim().replace(/\s*%$/, "");
  if (metric === "price" || !/^\d+(\.\d+)?$/.test(text)) return text;
  return Number((Number(text) / 100).toPrecision(12)).toFixed(12).replace(/\.?0+$/, "");
}

/**
 * @param {App} app
 * @param {{symbol: string | null}} options null: all instruments
 * @returns {{element: HTMLElement, close: () => void}}
 */
export function thresholds(app, { symbol }) {
  const model = ownThresholds(app);
  const current = volatilities(app, () => show());
  const body = h("tbody");
  const empty = h("p", { class: "dim", text: "No threshold. Enter one below: it triggers while this page is open." });
  const columns = [...(symbol ? [] : ["Instrument"]), "Condition", "Now", "Distance", "State", "Actions"];
  const table = h("table", { class: "table thresholds-table" },
    h("caption", { class: "sr-only", text: symbol ? `Own thresholds of ${symbol}` : "Own thresholds" }),
    h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col", text: name })))), body);
  const scroll = h("div", { class: "thresholds-scroll", tabindex: "0", role: "region", "aria-label": "Table of own thresholds" }, table);
  /** @type {Map<string, ReturnType<typeof line>>} */
  const lines = new Map();

  function show() {
    const rows = model.list(symbol);
    const keys = new Set(rows.map(({ definition }) => definition.key));
    for (const [key, { element }] of lines) if (!keys.has(key)) element.remove(), lines.delete(key);
    for (const row of rows) {
      const known = lines.get(row.definition.key) ?? line(app, row, symbol === null);
      if (!lines.has(row.definition.key)) body.append(known.element), lines.set(row.definition.key, known);
      known.show(row, current.of(row.definition));
    }
    element.dataset.state = rows.length ? "ready" : "empty";
    empty.hidden = rows.length > 0;
    scroll.hidden = rows.length === 0;
    current.need([...new Set(rows.filter(({ definition }) => definition.metric === "volatility").map(({ definition }) => definition.instrument))]);
  }

  const offs = [
    model.on(show),
    app.paint.register((/** @type {Set<string>} */ dirty) => {
      for (const row of model.list(symbol)) {
        if (dirty.has(row.definition.instrument)) lines.get(row.definition.key)?.show(row, current.of(row.definition));
      }
    }),
    current.close,
  ];
  const element = h("section", { class: "panel thresholds", "aria-label": "Own thresholds" },
    h("header", { class: "panel-head" }, h("h2", { class: "panel-title", text: "Own thresholds" }), h("span", { class: "chip", text: "this browser only" })),
    h("div", { class: "panel-body" }, scroll, empty, form(app, symbol)));
  show();
  return { element, close: () => offs.forEach((off) => off()) };
}

/** A dialog with the fields, for a key in a list. */
export function askThreshold(/** @type {App} */ app, /** @type {string} */ symbol) {
  const entry = fields(app, symbol);
  const actions = [{ label: "Add threshold", primary: true, run: () => submit(app, entry, symbol) }];
  return dialog({ title: `Threshold for ${symbol}`, body: entry, actions });
}

/** One row of the table; `show` writes a text only if it differs. */
function line(/** @type {App} */ app, /** @type {Row} */ row, /** @type {boolean} */ named) {
  const { key, instrument, metric, op, once } = row.definition;
  const condition = `${metric === "price" ? "Price" : "Volatility"} ${OP_NAMES[op]} ${valueText(row.definition)}${once ? ", once" : ""}`;
  const [now, distance, state] = [h("td", { class: "num" }), h("td", { class: "num" }), h("td")];
  const again = h("button", { class: "button", type: "button", text: "Set again", "aria-label": `Set again: ${instrument} ${condition}`,
    onclick: () => ownThresholds(app).again(key) });
  const remove = h("button", { class: "button", type: "button", text: "Delete", "aria-label": `Delete: ${instrument} ${condition}`,
    onclick: () => ownThresholds(app).remove(key) });
  const name = h("a", { href: app.router.href("instrument", instrument), text: instrument });
  const element = h("tr", {}, ...(named ? [h("th", { scope: "row" }, name)] : []),
    h("td", { text: condition }), now, distance, state, h("td", { class: "thresholds-actions" }, again, remove));
  return {
    element,
    show(/** @type {Row} */ latest, /** @type {string | null} */ value) {
      write(now, value === null ? NONE : valueText({ metric, value }));
      write(distance, value === null ? NONE : change(latest.definition.value, value).text);
      write(state, stateText(app, latest));
      element.dataset.state = latest.state;
      again.hidden = latest.state !== "triggered" && latest.state !== "refused";
    },
  };
}

function stateText(/** @type {App} */ app, /** @type {Row} */ { state, problem, definition }) {
  const { triggered } = definition;
  const last = triggered
    ? `Triggered ${dateTime(app.clock.parse(triggered.time), app.settings.get("zone"))} at ${valueText({ ...definition, value: triggered.current })}`
    : "";
  if (state === "refused") return `Refused: ${problem}`;
  if (state === "waiting") return "Waits for the connection";
  return state === "triggered" ? last : ["Set", last].filter(Boolean).join(". ");
}

/** The form of a new threshold. */
function form(/** @type {App} */ app, /** @type {string | null} */ symbol) {
  const entry = fields(app, symbol);
  const error = h("p", { class: "thresholds-error", role: "alert" });
  async function enter(/** @type {Event} */ event) {
    event.preventDefault();
    const problem = await submit(app, entry, symbol);
    write(error, problem ?? "");
    const input = control(entry, "value");
    if (problem) input.focus();
    else input.value = "";
  }
  return h("form", { class: "thresholds-form", novalidate: true, onsubmit: enter },
    entry, h("button", { class: "button button-primary", type: "submit", text: "Add threshold" }), error);
}

/** The fields of a new threshold. */
function fields(/** @type {App} */ app, /** @type {string | null} */ symbol) {
  const id = `threshold-${(made += 1)}`;
  const labelled = (/** @type {string} */ text, /** @type {Node} */ input) => h("label", { class: "thresholds-label" }, h("span", { text }), input);
  const choice = (/** @type {string} */ name, /** @type {string} */ text, /** @type {[string, string][]} */ options) =>
    labelled(text, h("select", { class: "field", name }, options.map(([value, shown]) => h("option", { value, text: shown }))));
  const instrument = symbol ? [] : [
    labelled("Instrument", h("input", { class: "field", name: "instrument", list: id, autocomplete: "off", spellcheck: "false" })),
    h("datalist", { id }, app.store.symbols.map((/** @type {string} */ value) => h("option", { value }))),
  ];
  const element = h("div", { class: "thresholds-fields" }, instrument,
    choice("metric", "Value", [["price", "Price (mid)"], ["volatility", "Volatility, % a day"]]),
    choice("op", "Condition", [[">", "> above"], ["<", "< below"], ["crosses", "crosses"]]),
    labelled("Threshold", h("input", { class: "field", name: "value", inputmode: "decimal", autocomplete: "off",
      onfocus: () => propose(app, element, symbol) })),
    h("label", { class: "thresholds-once" }, h("input", { name: "once", type: "checkbox", checked: true }), " once"));
  return element;
}

/** @returns {HTMLInputElement} */
function control(/** @type {HTMLElement} */ element, /** @type {string} */ name) {
  return /** @type {HTMLInputElement} */ (element.querySelector(`[name="${name}"]`));
}

/** Begin with the current price, so that only its last digits need an edit. */
function propose(/** @type {App} */ app, /** @type {HTMLElement} */ element, /** @type {string | null} */ symbol) {
  const input = control(element, "value");
  const mid = app.store.rows.get(symbol ?? control(element, "instrument").value.trim())?.mid;
  if (input.value || control(element, "metric").value !== "price" || !mid) return;
  input.value = mid;
  input.select();
}

/** Add the threshold of the fields; returns the problem as text. @returns {Promise<string | undefined>} */
async function submit(/** @type {App} */ app, /** @type {HTMLElement} */ element, /** @type {string | null} */ symbol) {
  const instrument = symbol ?? control(element, "instrument").value.trim();
  const metric = /** @type {"price" | "volatility"} */ (control(element, "metric").value);
  const op = /** @type {">" | "<" | "crosses"} */ (control(element, "op").value);
  const entered = { instrument, metric, op, value: enteredValue(metric, control(element, "value").value), once: control(element, "once").checked };
  const problem = problemOf(entered);
  if (problem) return problem;
  if (app.store.symbols.length > 0 && !app.store.rows.has(instrument)) return `Instrument: there is no ${instrument}.`;
  return (await ownThresholds(app).add(entered)) || undefined;
}

/** The current values of thresholds; volatilities come from REST and follow `data_ready`. */
function volatilities(/** @type {App} */ app, /** @type {() => void} */ changed) {
  /** @type {Map<string, string>} */
  const known = new Map();
  let wanted = "";
  async function load() {
    if (!wanted) return;
    try {
      const body = await app.rest.get("volatility/latest", { symbols: wanted, estimator: "alert" });
      for (const [symbol, { estimators }] of Object.entries(body.volatility)) known.set(symbol, estimators.alert.volatility.toFixed(12));
      changed();
    } catch {
      // The distance stays as it is; the next figures are loaded again.
    }
  }
  let late = false; // new figures came while the tab was hidden
  const offs = [
    app.hub.on("data_ready", (/** @type {any} */ { data_type }) => {
      if (data_type !== "volatility") return;
      late = document.hidden;
      if (!late) load();
    }),
    app.paint.every(SHOWN_MS, () => {
      if (late) load();
      late = false;
    }),
  ];
  return {
    need(/** @type {string[]} */ symbols) {
      const next = symbols.slice(0, 100).join(",");
      if (next === wanted) return;
      wanted = next;
      load();
    },
    of: (/** @type {{metric: string, instrument: string}} */ { metric, instrument }) =>
      (metric === "price" ? app.store.rows.get(instrument)?.mid : known.get(instrument)) ?? null,
    close: () => offs.forEach((off) => off()),
  };
}
