// @ts-check
/** The frame "REPLAY / SCENARIO – not live": hatched, in every view, not to be dismissed. */
import { h, write } from "./h.js";

const TEXT = "REPLAY / SCENARIO – not live";
const MARK = "[not live] ";

/**
 * The name of the running replay or scenario; null if the data are live.
 * @param {import("../types.js").Config} config
 * @param {any} health answer of /health or null
 * @param {string | null} scenario from the events of the hub
 */
function simulation(config, health, scenario) {
  const sources = Object.keys(health?.sources ?? {});
  const played = config.simulated === "scenario" || config.features.includes("scenarios") || sources.includes("scenario");
  const running = played ? (scenario ?? health?.current_scenario ?? null) : null; // /health has a default without one
  const replay = sources.find((name) => name === "replay" || name.startsWith("replay:"));
  return running ?? replay ?? config.simulated ?? null;
}

/** @param {import("../types.js").App} app @param {HTMLElement} root */
export function mountFrame(app, root) {
  const name = h("span", { class: "frame-name" });
  root.append(
    h("div", { class: "frame-edge", "aria-hidden": "true" }),
    h("p", { class: "frame-bar" }, h("strong", { text: TEXT }), " ", name),
  );
  /** @type {string | null} */
  let scenario = null;
  function show() {
    const found = simulation(app.config, app.store.health, scenario);
    root.hidden = found === null;
    document.documentElement.toggleAttribute("data-simulated", found !== null);
    write(name, found ?? "");
    const title = document.title.replace(MARK, "");
    document.title = found === null ? title : MARK + title;
  }
  if (app.config.features.includes("scenarios")) app.hub.heartbeat(); // its events name a new scenario
  app.store.on("sources", () => {
    scenario = null; // /health is newer than the last event
    show();
  });
  app.hub.on("scenario", (/** @type {any} */ body) => {
    scenario = body.current_scenario;
    show();
  });
  show();
  return { title: (/** @type {string} */ text) => { document.title = text; show(); } };
}
