// @ts-check
/** The address of the page: `#/i/EUR_USD?interval=5m` and the others. */
import { Topics } from "./topics.js";

/** first part of the path -> view; null: there is a symbol after it @type {Record<string, string>} */
const VIEWS = {
  "": "market",
  i: "instrument",
  book: "book",
  analytics: "analytics",
  alerts: "alerts",
  trading: "trading",
  scenarios: "scenarios",
  system: "system",
};
const PATHS = Object.fromEntries(Object.entries(VIEWS).map(([path, view]) => [view, path]));
const WITH_SYMBOL = new Set(["instrument", "book"]);

/** @param {string} hash @returns {import("./types.js").Route} */
function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [first, symbol, ...rest] = path.split("/");
  const found = Object.hasOwn(VIEWS, first) ? VIEWS[first] : "unknown";
  const complete = WITH_SYMBOL.has(found) ? Boolean(symbol) && !rest.length : symbol === undefined;
  return {
    view: complete ? found : "unknown",
    symbol: symbol ? decoded(symbol) : null,
    query: new URLSearchParams(query),
    hash,
  };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns {import("./types.js").Router} */
export function createRouter() {
  const topics = new Topics();
  let route = parseRoute(location.hash);
  const changed = () => {
    if (location.hash === route.hash) return;
    route = parseRoute(location.hash);
    topics.emit("change", route);
  };
  addEventListener("hashchange", changed);
  return {
    get route() {
      return route;
    },
    go(hash) {
      history.pushState(null, "", hash);
      changed();
    },
    query(values) {
      const query = new URLSearchParams(route.query);
      for (const [name, value] of Object.entries(values)) {
        if (value === null || value === undefined || value === "") query.delete(name);
        else query.set(name, String(value));
      }
      const path = route.hash.split("?")[0] || "#/";
      history.replaceState(null, "", query.size ? `${path}?${query}` : path);
      changed();
    },
    href(view, symbol, query) {
      const path = [PATHS[view], symbol ? encodeURIComponent(symbol) : null].filter((part) => part).join("/");
      const text = new URLSearchParams(query ?? {}).toString();
      return `#/${path}${text ? `?${text}` : ""}`;
    },
    on: (listener) => topics.on("change", listener),
  };
}
