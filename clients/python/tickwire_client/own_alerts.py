"""The client's own alerts (`set_alert`). Pure.

The hub deletes them with the connection. The client sets them again on the next connection, under
new ids of the hub, and keeps the first id for its user.
"""

from __future__ import annotations

from dataclasses import dataclass

from tickwire_client import parse
from tickwire_client.messages import Alert, Body


@dataclass(slots=True)
class _Entry:
    payload: Body  # the payload of its set_alert
    alert: Alert
    hub_id: str
    connection: int  # number of the connection on which it was set


class OwnAlerts:
    """Alerts by their own id, which is the first id that the hub assigned."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def set(self, payload: Body, answer: Body, connection: int, own_id: str | None = None) -> Alert:
        """Store an alert that the hub has accepted; `own_id` is given if it was set before."""
        hub_id = answer["alert"]["id"]
        alert = parse.alert({**answer["alert"], "id": own_id or hub_id})
        self._entries[alert.id] = _Entry(payload, alert, hub_id, connection)
        return alert

    def to_set_again(self, connection: int) -> list[tuple[str, Body]]:
        """The alerts that are not set on this connection, as (own id, payload)."""
        return [(own_id, entry.payload) for own_id, entry in self._entries.items() if entry.connection != connection]

    def holds(self, own_id: str) -> bool:
        return own_id in self._entries

    def alerts(self) -> list[Alert]:
        """All alerts, in the order of `set`."""
        return [entry.alert for entry in self._entries.values()]

    def hub_id(self, own_id: str) -> str:
        """The id of the hub. An unknown id is returned unchanged, so that the hub can refuse it."""
        entry = self._entries.get(own_id)
        return entry.hub_id if entry else own_id

    def own_id(self, hub_id: str) -> str:
        return next((own_id for own_id, entry in self._entries.items() if entry.hub_id == hub_id), hub_id)

    def drop(self, own_id: str) -> None:
        self._entries.pop(own_id, None)

    def fired(self, body: Body) -> Body:
        """The body of `alert_triggered` with the own id. An alert with `once` is dropped."""
        own_id = self.own_id(body["id"])
        if body["once"]:
            self.drop(own_id)
        return {**body, "id": own_id}
