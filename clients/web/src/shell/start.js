// @ts-check
/** The first request of the page, and the life of its data: they exist while the session is open. */

const FIRST_RETRY_S = 1;
const LAST_RETRY_S = 30;

/**
 * Repeat a request until REST answers.
 * @template T
 * @param {() => Promise<T>} request
 * @param {{set(key: string, notice: import("../types.js").Notice | null): void}} banner
 * @returns {Promise<T>}
 */
export async function untilAnswer(request, banner) {
  for (let wait = FIRST_RETRY_S; ; wait = Math.min(LAST_RETRY_S, wait * 2)) {
    try {
      const answer = await request();
      banner.set("start", null);
      return answer;
    } catch (error) {
      const text = `${error instanceof Error ? error.message : "REST does not answer."}`;
      banner.set("start", { text, countdown: `Next attempt in ${wait} s.` });
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }
}

/**
 * Begin and end data, connection and views with the session.
 * @param {import("../types.js").App} app
 * @param {{start(): void, stop(): void}} feed
 * @param {{show(): void, close(): void}} stage
 */
export function followSession({ session, hub, config }, feed, stage) {
  function begin() {
    feed.start();
    hub.connect();
    stage.show();
  }
  session.on("change", (/** @type {string} */ state) => {
    hub.close("signed-out");
    if (state === "ended") return; // the panel lies over the data
    stage.close(); // nothing of the earlier session stays on the page
    feed.stop();
    if (state === "open") begin();
  });
  if (config.auth === "required" && !session.signedIn) session.unauthorized(null);
  else begin();
}
