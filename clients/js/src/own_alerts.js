/**
 * The user's own alerts. The hub deletes them with the connection and assigns new ids when they are
 * set again. The user keeps the first id of each alert, its own id.
 */
export class OwnAlerts {
  #payloads = new Map(); // own id -> payload of set_alert
  #ownIds = new Map(); // id of the hub -> own id

  /** Store an accepted alert and return it with its own id, which is `id` if it was set before. */
  set(payload, { alert }, id = alert.id) {
    this.#payloads.set(id, payload);
    this.#ownIds.set(alert.id, id);
    return { ...alert, id };
  }

  /** All alerts, to set them again on a new connection, as [own id, payload]. */
  toSetAgain() {
    this.#ownIds.clear();
    return [...this.#payloads];
  }

  /** The body of `alert_triggered` with the own id. An alert with `once` is dropped. */
  fired(body) {
    const id = this.ownId(body.id);
    if (body.once) this.drop(id);
    return { ...body, id };
  }

  /** Remove an alert. */
  drop(id) {
    this.#payloads.delete(id);
    for (const [hubId, ownId] of this.#ownIds) if (ownId === id) this.#ownIds.delete(hubId);
  }

  /** The own id of an id of the hub. */
  ownId(id) {
    return this.#ownIds.get(id) ?? id;
  }

  /** The id of the hub for an own id. An unknown id is returned unchanged. */
  hubId(id) {
    for (const [hubId, ownId] of this.#ownIds) if (ownId === id) return hubId;
    return id;
  }
}
