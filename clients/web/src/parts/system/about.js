// @ts-check
/** Versions, links to the documents, and the licences of other projects. */

import { h } from "../h.js";
import { panel } from "../shared/panel.js";

const LINKS = [
  ["docs", "/docs", "try the routes"],
  ["redoc", "/redoc", "read the routes"],
  ["openapi.json", "/openapi.json", "the routes, for programs"],
  ["asyncapi.json", "/asyncapi.json", "the events of the hub, for programs"],
  ["health", "/health", "the health of each part"],
  ["symbols", "/symbols", "the instruments"],
];

/** @param {import("../../types.js").App} app */
export function links(app) {
  const made = panel(app, { title: "Documents and data" });
  made.content.append(h("ul", { class: "system-links" }, ...LINKS.map(([href, text, about]) =>
    h("li", {}, h("a", { href, text }), h("span", { class: "dim", text: ` ${about}` })))));
  made.set("ready");
  return made;
}

/** @param {import("../../types.js").App} app */
export function about(app) {
  return panel(app, {
    title: "About",
    load: async () => ({
      files: await app.rest.get("ui/vendor/vendor.json"),
      notice: await app.rest.text("ui/vendor/NOTICE"),
    }),
    show: (/** @type {any} */ body, /** @type {HTMLElement} */ content) => content.replaceChildren(
      versions(app),
      h("h3", { text: "Software of other projects in this page" }),
      licences(body.files),
      h("details", {}, h("summary", { text: "NOTICE" }), h("pre", { class: "system-notice", tabindex: "0", "aria-label": "NOTICE", text: body.notice })),
    ),
  });
}

/** @param {import("../../types.js").App} app */
function versions(app) {
  const server = app.store.health?.version ?? app.config.version;
  return h("p", {}, `Tickwire ${server}, MIT licence. This page was loaded from version ${app.config.version}. Charts by `,
    h("a", { href: "https://www.tradingview.com/", rel: "noreferrer", text: "TradingView" }), " and uPlot.");
}

/** @param {Record<string, any>} files */
function licences(files) {
  /** @type {Map<string, any>} */
  const packages = new Map(Object.values(files).map((file) => [file.package, file]));
  const rows = [...packages.values()].map((file) => h("tr", {}, h("th", { scope: "row", text: file.package }), h("td", { text: file.version }),
    h("td", {}, h("a", { href: `ui/vendor/${file.licence_file}`, text: file.licence }))));
  return h("div", { class: "live-table-region", role: "region", tabindex: "0", "aria-label": "Licences" },
    h("table", { class: "table" }, h("caption", { class: "sr-only", text: "Licences" }),
      h("thead", {}, h("tr", {}, ...["Package", "Version", "Licence"].map((text) => h("th", { scope: "col", text })))), h("tbody", {}, ...rows)));
}
