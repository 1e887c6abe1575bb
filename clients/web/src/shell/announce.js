// @ts-check
/** Summaries for screen readers: at most one every 10 s. Texts in between are joined. */

const PAUSE_MS = 10_000;

/** @param {HTMLElement} region @returns {(text: string) => void} */
export function createAnnouncer(region) {
  /** @type {string[]} */
  let waiting = [];
  let timer = 0;
  function speak() {
    timer = 0;
    if (!waiting.length) return;
    region.textContent = waiting.join(". ");
    waiting = [];
    timer = window.setTimeout(speak, PAUSE_MS);
  }
  return (text) => {
    if (!waiting.includes(text)) waiting.push(text);
    if (!timer) speak();
  };
}
