// @ts-check
/** A panel that a section of the stream fills: its states, and what it shows without figures. */

import { h, write } from "../h.js";
import { panel } from "./panel.js";

/**
 * `show(section, state)` runs only if the section has figures. `none`: what to do without them.
 * @param {import("../../types.js").App} app
 * @param {{title: string, name: string, none: (Node|string)[], show: (section: any, state: any) => void, empty?: (section: any) => boolean}} options
 * @param {Node[]} children
 */
export function sectionPanel(app, { title, name, none, show, empty = () => false }, children) {
  const note = h("p", { class: "section-note", hidden: true });
  const absence = h("p", { class: "section-empty dim", hidden: true }, ...none);
  const figures = h("div", { class: "section-figures" }, ...children);
  const made = panel(app, { title });
  made.content.append(note, absence, figures);
  return {
    element: made.element,
    close: () => made.close(),
    /** @param {import("./stream.js").StreamState} state */
    paint(state) {
      const section = state.body?.[name];
      if (!section && state.missing === null) return;
      const absent = !section?.timestamp || empty(section);
      const text = state.missing ?? staleText(section);
      write(note, text);
      note.hidden = text === "";
      absence.hidden = !absent || text !== "";
      figures.hidden = absent;
      figures.classList.toggle("dim", text !== "");
      made.set(absent ? (text === "" ? "empty" : "error") : "ready");
      if (!absent) show(section, state);
    },
  };
}

/** @param {any} section */
function staleText(section) {
  return section?.stale ? `! These figures are old: the observer cannot compute them (${section.error_code}).` : "";
}
