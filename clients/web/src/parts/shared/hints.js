// @ts-check
/** Explanations of figures that more than one view shows. */

/** What the hub counts as a client. */
export const CLIENTS_HINT = "Connections to a namespace of the hub: a page of this dashboard has two, prices and metrics";
