// @ts-check
/**
 * The user's own thresholds. localStorage keeps the definitions. The ids of the hub belong to the
 * connection, so the thresholds are set again on each new client.
 */
import { oneEach } from "./one_each.js";

/** @typedef {import("../types.js").App} App */
/**
 * @typedef {{key: string, instrument: string, metric: "price" | "volatility", op: ">" | "<" | "crosses",
 *   value: string, once: boolean, triggered: {time: string, current: string} | null}} Definition
 * `value` is the text that the hub receives: a price, or a volatility per day as a fraction.
 */
/** @typedef {"waiting" | "set" | "triggered" | "refused"} State */
/** @typedef {{definition: Definition, state: State, id: string | null, problem: string}} Row */

const OPS = [">", "<", "crosses"];
const METRICS = ["price", "volatility"];
const MAX_THRESHOLDS = 1000; // of one client, as the hub limits them
const POSITIVE = /^(?=.*[1-9])\d{1,24}(\.\d{1,24})?$/;

/** The problem with a threshold that the user has entered, or "" if there is none. */
export function problemOf(/** @type {any} */ { instrument, metric, op, value }) {
  if (typeof instrument !== "string" || !/^\S{1,64}$/.test(instrument)) return "Instrument: choose one.";
  if (!METRICS.includes(metric)) return "Value: choose price or volatility.";
  if (!OPS.includes(op)) return "Condition: choose >, < or crosses.";
  if (typeof value !== "string" || !POSITIVE.test(value)) return "Threshold: enter a positive number such as 1.0945.";
  return "";
}

/** The valid definitions of a stored value, at most one for each key. @returns {Definition[]} */
export function stored(/** @type {unknown} */ value) {
  const found = new Map();
  for (const each of Array.isArray(value) ? value : []) {
    if (each === null || typeof each !== "object" || typeof each.key !== "string" || problemOf(each)) continue;
    const { key, instrument, metric, op, once, triggered } = each;
    const fired = triggered && typeof triggered.time === "string" && typeof triggered.current === "string" ? triggered : null;
    found.set(key, { key, instrument, metric, op, value: each.value, once: once !== false, triggered: fired });
  }
  return [...found.values()].slice(0, MAX_THRESHOLDS);
}

/** The request `set_alert` of a definition. */
export function request(/** @type {Definition} */ { instrument, metric, op, value, once }) {
  return { instrument, metric, op, value: metric === "price" ? value : Number(value), once };
}

class OwnThresholds {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #app;
  /** @type {unknown} */
  #client = null; // the client of the hub that holds the thresholds
  #setting = Promise.resolve();

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    this.#read();
    app.settings.on("thresholds", () => this.#read());
    app.hub.on("live", () => this.#live());
    app.hub.on("triggered", (/** @type {any} */ body) => this.#triggered(body));
    if (app.hub.state === "live") this.#live();
  }

  /** The thresholds of an instrument, or all of them, in the order of their entry. */
  list(/** @type {string | null} */ symbol = null) {
    return [...this.#rows.values()].filter(({ definition }) => symbol === null || definition.instrument === symbol);
  }

  on(/** @type {() => void} */ listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Keep a threshold and set it at the hub. Returns the reason if the hub refuses it; then it is
   * not kept. Without a connection it is set after the next connect.
   * @param {Omit<Definition, "key" | "triggered">} fields
   */
  async add(fields) {
    const problem = problemOf(fields);
    if (problem) return problem;
    if (this.#rows.size >= MAX_THRESHOLDS) return `At most ${MAX_THRESHOLDS} thresholds: delete some first.`;
    const definition = { ...fields, key: crypto.getRandomValues(new Uint32Array(2)).join("-"), triggered: null };
    const row = this.#insert(definition);
    this.#write();
    await this.#set(row);
    if (row.state !== "refused") return "";
    this.remove(definition.key);
    return row.problem;
  }

  remove(/** @type {string} */ key) {
    const row = this.#rows.get(key);
    this.#rows.delete(key);
    this.#write();
    if (row) this.#unset(row);
  }

  /** Set a threshold again that has triggered once, or that the hub has refused. */
  async again(/** @type {string} */ key) {
    const row = this.#rows.get(key);
    if (!row || row.id !== null) return;
    row.definition.triggered = null;
    row.state = "waiting";
    this.#write();
    await this.#set(row);
  }

  /** @returns {Row} */
  #insert(/** @type {Definition} */ definition) {
    const ended = definition.once && definition.triggered !== null;
    /** @type {Row} */
    const row = { definition, state: ended ? "triggered" : "waiting", id: null, problem: "" };
    this.#rows.set(definition.key, row);
    return row;
  }

  /** Follow the stored value, which other tabs change too. */
  #read() {
    const definitions = stored(this.#app.settings.get("thresholds"));
    const kept = new Set(definitions.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (kept.has(key)) continue;
      this.#rows.delete(key);
      this.#unset(row);
    }
    for (const definition of definitions) if (!this.#rows.has(definition.key)) this.#insert(definition);
    if (this.#client) this.#setWaiting();
    this.#changed();
  }

  #write() {
    this.#app.settings.set("thresholds", [...this.#rows.values()].map(({ definition }) => definition));
    this.#changed();
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }

  /** The client restores its alerts after a reconnect; a new client has none. */
  #live() {
    if (this.#client !== this.#app.hub.client) {
      this.#client = this.#app.hub.client;
      for (const row of this.#rows.values()) {
        row.id = null;
        if (row.state === "set") row.state = "waiting";
      }
    }
    this.#setWaiting();
  }

  /** One after the other, so that the hub's limit of requests leaves room for others. */
  #setWaiting() {
    const waiting = this.list().filter(({ state }) => state === "waiting");
    this.#setting = waiting.reduce((before, row) => before.then(() => this.#set(row)), this.#setting);
  }

  async #set(/** @type {Row} */ row) {
    const client = this.#app.hub.client;
    if (row.state !== "waiting" || !client || this.#app.hub.state !== "live") return;
    row.state = "set"; // so that no second request sets it
    try {
      row.id = (await client.setAlert(/** @type {any} */ (request(row.definition)))).alert.id;
      if (!this.#rows.has(row.definition.key)) this.#unset(row);
    } catch (problem) {
      const error = /** @type {any} */ (problem);
      row.state = ["timeout", "unreachable", "not_connected", "disconnected"].includes(error.code) ? "waiting" : "refused";
      row.problem = error.reason ?? String(error);
    }
    this.#changed();
  }

  #unset(/** @type {Row} */ row) {
    if (row.id === null) return;
    const id = row.id;
    row.id = null;
    this.#app.hub.client?.deleteAlert(id).catch(() => undefined); // it ends with the connection anyway
  }

  #triggered(/** @type {any} */ body) {
    const row = [...this.#rows.values()].find(({ id }) => id === body.id);
    if (!row) return;
    row.definition.triggered = { time: body.time, current: String(body.current) };
    if (row.definition.once) {
      row.state = "triggered";
      row.id = null;
    }
    this.#write();
  }
}

/** The thresholds of the page; the first call sets them at the hub. */
export const ownThresholds = oneEach((app) => new OwnThresholds(app));
