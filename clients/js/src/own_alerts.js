/**
 * The user's own alerts. The hub forgets them with the connection and names them anew when they are set again; the user goes on with
 * the id that each had at first.
 */
export class OwnAlerts {
  #payloads = new Map(); // the user's id -> what was asked
  #ownIds = new Map(); // the hub's id -> the user's

  /** `alert_set` was the answer to `asked`: the alert, with the user's id. `id` is that where it is set again. */
  set(payload, { alert }, id = alert.id) {
    this.#payloads.set(id, payload);
    this.#ownIds.set(alert.id, id);
    return { ...alert, id };
  }

  /** A new connection: what to set again, as [id, asked]. */
  toSetAgain() {
    this.#ownIds.clear();
    return [...this.#payloads];
  }

  /** `alert_triggered`, with the user's id. */
  fired(body) {
    const id = this.ownId(body.id);
    if (body.once) this.drop(id);
    return { ...body, id };
  }

  /** Forget one. */
  drop(id) {
    this.#payloads.delete(id);
    for (const [hubId, ownId] of this.#ownIds) if (ownId === id) this.#ownIds.delete(hubId);
  }

  /** The user's id for the hub's. */
  ownId(id) {
    return this.#ownIds.get(id) ?? id;
  }

  /** The hub's id for the user's. */
  hubId(id) {
    for (const [hubId, ownId] of this.#ownIds) if (ownId === id) return hubId;
    return id;
  }
}
