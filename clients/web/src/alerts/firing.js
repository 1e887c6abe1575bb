// @ts-check
/** The number of alerts with state `firing`, for the top bar. */
import { alerts } from "./alerts.js";

/** @param {import("../types.js").App} app @param {(count: number | null) => void} show */
export function countFiring(app, show) {
  const model = alerts(app);
  return model.on(() => show(model.loaded ? model.firing : null));
}
