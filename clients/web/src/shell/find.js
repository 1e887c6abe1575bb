// @ts-check
/** The text of the find field. The list filters by it. */
import { Topics } from "../topics.js";

/** @returns {import("../types.js").Find} */
export function createFind() {
  const topics = new Topics();
  let text = "";
  return {
    get text() {
      return text;
    },
    set(next) {
      if (next === text) return;
      text = next;
      topics.emit("change", text);
    },
    focus: () => topics.emit("focus"),
    on: (listener) => topics.on("change", listener),
    onFocus: (listener) => topics.on("focus", listener),
  };
}
