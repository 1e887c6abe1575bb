// @ts-check
/** The pane of the open view: loads its module on first use, and closes it when another one opens. */
import { h } from "../h.js";
import { refusalOf } from "./readable.js";

const RETRY_MS = 5_000;
const MAX_ATTEMPTS = 30; // the page keeps every module that it has loaded

/** view -> its module @type {Record<string, string>} */
const MODULES = {
  market: "market",
  instrument: "instrument",
  book: "instrument",
  analytics: "analytics",
  alerts: "alerts",
  trading: "trading",
  scenarios: "scenarios",
  system: "system",
};
const TITLES = /** @type {Record<string, string>} */ ({
  market: "Market",
  analytics: "Analytics",
  alerts: "Alerts",
  trading: "Trading",
  scenarios: "Scenarios",
  system: "System",
  unknown: "No such view",
});

/**
 * @param {import("../../types.js").App} app
 * @param {HTMLElement} root
 * @param {(title: string) => void} setTitle
 */
export function mountStage(app, root, setTitle) {
  let attempt = 0; // a browser may remember that an address could not be loaded
  /** @type {{name: string, symbol: string | null, section: HTMLElement, failed: boolean, view: import("../../types.js").View | null} | null} */
  let open = null;

  /** @param {import("../../types.js").Route} route */
  async function show(route) {
    const name = MODULES[route.view] ?? "unknown";
    document.documentElement.dataset.view = route.view;
    setTitle(`${route.symbol?.replace("_", "/") ?? TITLES[route.view]} · Tickwire`);
    if (open?.name === name && open.symbol === route.symbol && open.view?.update) return open.view.update(route);
    const moved = open !== null;
    close();
    const section = h("section", { class: `view view-${name}`, tabindex: "0", "aria-label": TITLES[route.view] ?? route.symbol });
    const mine = (open = { name, symbol: route.symbol, section, failed: /** @type {boolean} */ (false), view: /** @type {import("../../types.js").View | null} */ (null) });
    root.replaceChildren(back(), section);
    if (moved && document.activeElement === document.body) enter(section);
    if (name === "unknown") return section.append(unknown());
    try {
      const [module, refusal] = await Promise.all([load(name), route.symbol && refusalOf(app, route.symbol)]);
      if (mine !== open) return;
      if (refusal) return section.replaceChildren(refusal);
      mine.view = module.open(app, section, app.router.route);
    } catch (error) {
      if (error instanceof TypeError && /import/.test(error.message)) attempt += 1;
      else reportError(error);
      if (mine !== open) return;
      mine.failed = true;
      section.replaceChildren(failed(() => retry()));
    }
  }

  /** @param {string} name */
  function load(name) {
    return attempt ? import(`../../views/${name}.js?attempt=${attempt}`) : import(`../../views/${name}.js`);
  }

  function retry() {
    close();
    show(app.router.route);
  }

  function close() {
    const last = open;
    open = null;
    last?.view?.close();
    last?.section.remove();
  }

  app.router.on(show);
  app.paint.every(RETRY_MS, () => open?.failed && attempt < MAX_ATTEMPTS && retry());
  return { show: () => show(app.router.route), close };
}

/** Move the focus of a closed view to the new one, without a visible frame. @param {HTMLElement} section */
function enter(section) {
  section.classList.add("view-entered");
  section.addEventListener("blur", () => section.classList.remove("view-entered"), { once: true });
  section.focus({ preventScroll: true });
}

/** Visible if the view lies over the list. */
function back() {
  return h("a", { class: "view-close", href: "#/", "aria-label": "Close the view", title: "Close the view", text: "×" });
}

function unknown() {
  return h("div", { class: "note" }, h("h2", { text: "There is no such view" }), h("p", {}, h("a", { href: "#/", text: "Open the market" })));
}

/** @param {() => void} retry */
function failed(retry) {
  const button = h("button", { class: "button", type: "button", text: "Try again", onclick: retry });
  return h("div", { class: "note", role: "alert" }, h("h2", { text: "This view could not be loaded" }), h("p", { text: "REST does not answer. The page tries again every 5 s." }), h("p", {}, button));
}
