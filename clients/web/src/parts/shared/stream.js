// @ts-check
/** The newest snapshot of the metrics for all panels of a view, painted at most 10 times a second. */

const PAINT_MS = 95; // below the 100 ms between two snapshots, because their distance varies
const MISSING_MS = 5000; // without a snapshot

/**
 * @typedef {{body: any, missing: string|null, now: number}} StreamState
 *   `missing`: why the figures are old or absent; null if they are current
 */

/**
 * `paint` runs inside the frame of the page; `receive` runs for each snapshot.
 * @param {import("../../types.js").App} app
 * @param {{channels: string[], maxRate: number, paint: (state: StreamState) => void, receive?: (body: any) => void}} options
 * @returns {{repaint(): void, close(): void}}
 */
export function stream(app, { channels, maxRate, paint, receive }) {
  const opened = app.clock.local();
  let [body, error, arrived, painted, changed] = /** @type {[any, any, number, number, boolean]} */ ([null, null, opened, -Infinity, true]);
  const repaint = () => {
    changed = true;
    app.paint.request();
  };
  const release = app.hub.metrics({ channels, maxRate }, (/** @type {any} */ snapshot, /** @type {any} */ refusal) => {
    error = refusal ?? null;
    if (snapshot) {
      body = snapshot;
      arrived = app.clock.local();
      receive?.(snapshot);
    }
    repaint();
  });
  const ends = [
    release,
    app.paint.register(() => {
      const moment = performance.now(); // a clock that is set back would stop the panels
      if (!changed || app.paint.paused || moment - painted < PAINT_MS) return;
      [changed, painted] = [false, moment];
      paint({ body, missing: reason(error, body, app.clock.local() - arrived), now: app.clock.now() });
    }),
    app.paint.every(1000, repaint),
  ];
  return { repaint, close: () => ends.forEach((end) => end()) };
}

/** @param {any} error @param {any} body @param {number} waited ms */
function reason(error, body, waited) {
  const text = "The metrics stream is not available.";
  if (error) return error.code === "forbidden" ? `${text} Your key lacks the scope \`observe\`.` : `${text} ${error.reason ?? ""}`.trim();
  if (waited < MISSING_MS) return null;
  return body === null ? `${text} No process \`observer\` publishes snapshots.` : `${text} The last snapshot is ${Math.floor(waited / 1000)} s old.`;
}
