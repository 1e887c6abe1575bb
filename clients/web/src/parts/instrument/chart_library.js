// @ts-check
/** lightweight-charts, loaded with the first chart. */

const ADDRESS = new URL("../../../vendor/lightweight-charts.mjs", import.meta.url).href;

/** @type {Promise<any>|null} */
let loading = null;

/** @returns {Promise<any>} its exports */
export function library() {
  loading ??= import(ADDRESS).catch((error) => {
    loading = null; // the next chart tries again
    throw error;
  });
  return loading;
}
