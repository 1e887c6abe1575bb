// @ts-check
/** The view of volatility and correlation, as the jobs have computed them. */
import { FEW_OBSERVATIONS, fewest, lastRun, METHODS, nextRun, ORDERS } from "../analytics/analytics.js";
import { kinds } from "../market/listing.js";
import { current, listNames, symbolsOf } from "../market/lists.js";
import { instrumentsKnown, matrixOf, mayExist } from "../analytics/matrix.js";
import { h, write } from "../parts/h.js";
import { heat } from "../parts/heat.js";
import { panel } from "../parts/shared/panel.js";
import { volatilityTable } from "../parts/analytics/volatility_table.js";
import { dateTime } from "../zones.js";

/** @typedef {import("../types.js").App} App */
/** @typedef {import("../types.js").Route} Route */

const MAX_DEFAULT = 60; // instruments of the table without a chosen list
const MAX_LINES = 500; // of the volatility table
const MAX_CHOSEN = 100; // as `/correlation` and `symbols` accept
const ABOUT_MS = 30_000; // between two texts of "next run in …"
const NO_INSTRUMENTS = "The list has no instruments. Choose another one.";
const HOURLY = "hourly_job";
const DAILY = "daily_correlation_job";

/** @param {App} app @param {HTMLElement} root @param {Route} route */
export function open(app, root, route) {
  const query = { now: route.query };
  const list = listChoice(app, (value) => app.router.query({ list: value }));
  const parts = [volatilityPanel(app, query), correlationPanel(app, query)];
  root.classList.add("analytics-view");
  root.append(h("h2", { class: "sr-only", text: "Analytics" }), h("div", { class: "analytics-bar" }, list.element));
  root.append(...parts.map(({ element }) => element));
  list.show(route.query);
  const again = () => {
    list.show(query.now);
    parts.forEach((part) => part.reload());
  };
  const offs = [
    app.hub.on("data_ready", (/** @type {any} */ { data_type }) => parts.forEach((part) => data_type === part.data && part.reload())),
    app.paint.every(ABOUT_MS, () => parts.forEach((part) => part.about())),
    app.settings.on("zone", () => parts.forEach((part) => part.draw())),
    app.settings.on("lists", again),
    app.store.on("instruments", again),
    app.store.on("choice", again),
  ];
  return {
    update(/** @type {Route} */ next) {
      const other = ["list", "method"].some((name) => next.query.get(name) !== query.now.get(name));
      query.now = next.query;
      list.show(next.query);
      parts.forEach((part) => (other ? part.reload() : part.draw()));
    },
    close: () => [...offs, ...parts.map((part) => part.close)].forEach((end) => end()),
  };
}

/** The name of a list or a kind, or "all"; without one in the address that of the market. @param {URLSearchParams} query */
function chosenList(query) {
  return query.get("list") || (current.list?.toLowerCase() ?? current.kind ?? "all");
}

/** The instruments of a list or a kind. @param {App} app @param {URLSearchParams} query */
function instruments({ store, settings }, query) {
  const chosen = chosenList(query);
  if (chosen === "all") return store.symbols;
  const named = symbolsOf(settings, chosen).filter((symbol) => store.rows.has(symbol));
  return named.length ? named : store.symbols.filter((symbol) => store.rows.get(symbol)?.kind === chosen);
}

/** The arguments of an export: the chosen list, or everything. @param {App} app @param {URLSearchParams} query */
function selection(app, query) {
  return chosenList(query) !== "all" ? { symbols: instruments(app, query).slice(0, MAX_CHOSEN).join(",") || null } : {};
}

/** @param {App} app @param {(value: string) => void} choose */
function listChoice(app, choose) {
  const select = h("select", { class: "field", name: "list", onchange: () => choose(select.value) });
  return {
    element: h("label", { class: "analytics-label" }, h("span", { text: "Instruments" }), select),
    show(/** @type {URLSearchParams} */ query) {
      const lists = listNames(app.settings).map((name) => [name.toLowerCase(), `★ ${name}`]);
      const options = [["all", "All"], ...kinds(app.store.rows.values()).map((kind) => [kind, kind]), ...lists];
      select.replaceChildren(...options.map(([value, text]) => h("option", { value, text })));
      select.value = chosenList(query);
    },
  };
}

/** The jobs with their next runs; null if the caller may not read them. @param {App} app @param {AbortSignal} signal */
async function jobsOf(app, signal) {
  try {
    return await app.rest.get("jobs", {}, { signal });
  } catch (error) {
    if (/** @type {any} */ (error).status === 403) return null;
    throw error;
  }
}

/** @param {string} text @param {string} label @param {() => any} press */
function button(text, label, press) {
  return h("button", { class: "button", type: "button", text, "aria-label": label, onclick: press });
}

/**
 * A select whose value is in the address; the first option is the default.
 * @param {App} app @param {string} name @param {string} label @param {[string, string][]} options
 */
function choice(app, name, label, options) {
  const chosen = () => app.router.query({ [name]: select.value === options[0][0] ? null : select.value });
  const select = h("select", { class: "field", name, onchange: chosen }, options.map(([value, text]) => h("option", { value, text })));
  return {
    element: h("label", { class: "analytics-label" }, h("span", { text: label }), select),
    value(/** @type {URLSearchParams} */ query) {
      const known = options.some(([value]) => value === query.get(name));
      return (select.value = known ? query.get(name) ?? "" : options[0][0]);
    },
  };
}

/**
 * Save a CSV; a failure is a note of the panel.
 * @param {App} app @param {HTMLElement} note @param {string} path @param {any} params @param {string} file
 */
async function save(app, note, path, params, file) {
  try {
    await app.rest.download(path, { ...params, format: "csv" }, file);
    write(note, "");
  } catch (error) {
    write(note, /** @type {any} */ (error).message);
  }
}

/** @param {App} app @param {{now: URLSearchParams}} query */
function volatilityPanel(app, query) {
  const scale = choice(app, "scale", "Scale", [["year", "per year"], ["hour", "per hour"]]);
  const about = h("p", { class: "dim analytics-about" });
  const failed = h("p", { class: "dim", role: "status" });
  const table = volatilityTable(app, (column, descending) => app.router.query({ sort: `${descending ? "-" : ""}${column}` }));
  /** @type {any} */
  let found = null;
  const made = panel(app, {
    title: "Volatility",
    actions: [scale.element, button("CSV", "Download volatilities as CSV", () => save(app, failed, "volatility/latest", selection(app, query.now), "volatility.csv"))],
    async load(/** @type {AbortSignal} */ signal) {
      const answers = [app.rest.get("volatility/latest", {}, { signal }), jobsOf(app, signal), instrumentsKnown(app)];
      const [body, jobs] = await Promise.all(answers);
      return { body, jobs };
    },
    show(/** @type {any} */ answer, /** @type {HTMLElement} */ content) {
      found = answer;
      if (!table.element.isConnected) content.replaceChildren(about, failed, table.element);
      draw();
    },
    empty: (/** @type {any} */ { body, jobs }) => {
      if (body.count) return instruments(app, query.now).length ? null : NO_INSTRUMENTS;
      return emptyText("Volatility is computed at every full hour", jobs, HOURLY, app);
    },
  });
  made.element.classList.add("vol-panel");

  function draw() {
    const per = scale.value(query.now);
    if (!found) return;
    const sort = query.now.get("sort") ?? "symbol";
    const chosen = new Set(instruments(app, query.now).slice(0, MAX_LINES));
    const lines = Object.entries(found.body.volatility).map(([symbol, line]) => ({ symbol, .../** @type {any} */ (line) }));
    table.show({ lines: lines.filter(({ symbol }) => chosen.has(symbol)), thresholds: found.body.thresholds ?? {} },
      { column: sort.replace(/^-/, ""), descending: sort.startsWith("-"), scale: per });
    tell();
  }

  function tell() {
    if (!found) return;
    const times = Object.values(found.body.volatility).map((/** @type {any} */ { time }) => app.clock.parse(time));
    const left = instruments(app, query.now).length - MAX_LINES;
    const omitted = left > 0 ? ` · ${left} more instruments: choose a list` : "";
    write(about, `${aboutText(app, times.length ? Math.max(...times) : NaN, found.jobs, HOURLY)}${omitted}`);
  }
  return { data: "volatility", element: made.element, reload: () => made.reload(), draw, about: tell, close: () => made.close() };
}

/** @param {App} app @param {{now: URLSearchParams}} query */
function correlationPanel(app, query) {
  const method = choice(app, "method", "Method", METHODS.map((name) => [name, name === "ewma" ? "EWMA" : name]));
  const by = choice(app, "order", "Order", ORDERS.map((name) => [name, name === "strongest" ? "strongest pair first" : name]));
  const about = h("p", { class: "dim analytics-about" });
  const failed = h("p", { class: "dim", role: "status" });
  const table = heat(app);
  /** @type {any} */
  let found = null;
  const keyOf = () => [method.value(query.now), ...names()].join();
  const names = () => instruments(app, query.now).slice(0, query.now.get("list") ? MAX_CHOSEN : MAX_DEFAULT);
  const csv = () => {
    const params = { method: method.value(query.now), symbols: found?.matrix?.symbols.join(",") };
    save(app, failed, "correlation", params, `correlation_${params.method}.csv`);
  };
  const made = panel(app, {
    title: "Correlation",
    actions: [method.element, by.element, button("CSV", "Download correlations as CSV", csv)],
    async load(/** @type {AbortSignal} */ signal) {
      await instrumentsKnown(app);
      const key = keyOf();
      const jobs = await jobsOf(app, signal);
      const exists = await mayExist(app, jobs, DAILY, signal);
      const matrix = exists ? await matrixOf(app, method.value(query.now), names(), signal) : null;
      return { key, matrix, jobs };
    },
    show(/** @type {any} */ answer, /** @type {HTMLElement} */ content) {
      found = answer;
      if (!table.element.isConnected) content.replaceChildren(about, failed, table.element);
      if (answer.key !== keyOf()) setTimeout(() => made.reload()); // another choice was made meanwhile
      draw();
    },
    empty: (/** @type {any} */ { matrix, jobs }) => {
      if (matrix) return null;
      if (app.store.symbols.length && !names().length) return NO_INSTRUMENTS;
      return emptyText("Correlation is computed at 00:00 UTC", jobs, DAILY, app);
    },
  });
  made.element.classList.add("heat-panel");
  function draw() {
    const order = by.value(query.now);
    method.value(query.now);
    if (!found?.matrix) return;
    table.show(found.matrix, order);
    tell();
  }

  function tell() {
    if (!found?.matrix) return;
    const least = fewest(found.matrix.observations);
    const few = least !== null && least < FEW_OBSERVATIONS ? ` · Few observations: ${least}` : "";
    const left = instruments(app, query.now).length - names().length;
    const omitted = left > 0 ? ` · ${left} more instruments: choose a list` : "";
    write(about, `${aboutText(app, app.clock.parse(found.matrix.as_of), found.jobs, DAILY)}${few}${omitted}`);
  }
  const close = () => [made, table].forEach((part) => part.close());
  return { data: "correlation", element: made.element, reload: () => made.reload(), draw, about: tell, close };
}

/** "As of … · computed … · next run in 3 h" @param {App} app @param {number} asOf @param {any} jobs @param {string} id */
function aboutText(app, asOf, jobs, id) {
  const at = (/** @type {number} */ ms) => dateTime(ms, app.settings.get("zone"));
  const run = lastRun(jobs, id);
  const computed = run ? `computed at ${at(app.clock.parse(run.finished))}` : "";
  const parts = [Number.isNaN(asOf) ? "" : `As of ${at(asOf)}`, computed, nextRun(jobs, id, app.clock.now())];
  return parts.filter(Boolean).join(" · ");
}

/** @param {string} when @param {any} jobs @param {string} id @param {App} app */
function emptyText(when, jobs, id, app) {
  const next = nextRun(jobs, id, app.clock.now());
  return next ? `${when}: ${next}` : `${when}.`;
}
