/**
 * The user's own alerts. The hub forgets them with the connection and names them anew when they are set again; the user goes on with
 * the id that each had at first.
 */
export class OwnAlerts {
  #asked = new Map(); // the user's id -> what was asked
  #theirs = new Map(); // the hub's id -> the user's

  /** `alert_set` was the answer to `asked`: the alert, with the user's id. `id` is that where it is set again. */
  set(asked, { alert }, id = alert.id) {
    this.#asked.set(id, asked);
    this.#theirs.set(alert.id, id);
    return { ...alert, id };
  }

  /** A new connection: what to set again, as [id, asked]. */
  forgotten() {
    this.#theirs.clear();
    return [...this.#asked];
  }

  /** `alert_triggered`, with the user's id. */
  triggered(body) {
    const id = this.ours(body.id);
    if (body.once) this.drop(id);
    return { ...body, id };
  }

  /** Forget one. */
  drop(id) {
    this.#asked.delete(id);
    for (const [theirs, ours] of this.#theirs) if (ours === id) this.#theirs.delete(theirs);
  }

  /** The user's id for the hub's. */
  ours(id) {
    return this.#theirs.get(id) ?? id;
  }

  /** The hub's id for the user's. */
  hubs(id) {
    for (const [theirs, ours] of this.#theirs) if (ours === id) return theirs;
    return id;
  }
}
