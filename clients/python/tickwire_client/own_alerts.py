"""The alerts a client waits for. The hub forgets them with the connection: they are set again, and keep their id here. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tickwire_client import parse
from tickwire_client.messages import Alert, Body


@dataclass(slots=True)
class _Entry:
    asked: Body  # the payload of its set_alert
    alert: Alert
    hub_id: str
    connection: int  # the number of the connection on which the hub has it


class OwnAlerts:
    """Alerts by the id the user knows: the one the hub gave it first."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def set(self, asked: Body, answer: Body, connection: int, own_id: str | None = None) -> Alert:
        """The hub has taken it, for the first time or (`own_id`) again."""
        hub_id = answer["alert"]["id"]
        alert = parse.alert({**answer["alert"], "id": own_id or hub_id})
        self._entries[alert.id] = _Entry(asked, alert, hub_id, connection)
        return alert

    def to_set_again(self, connection: int) -> list[tuple[str, Body]]:
        """Those that this connection does not have: own id, payload."""
        return [(own_id, entry.asked) for own_id, entry in self._entries.items() if entry.connection != connection]

    def holds(self, own_id: str) -> bool:
        return own_id in self._entries

    def alerts(self) -> list[Alert]:
        """In the order they were set."""
        return [entry.alert for entry in self._entries.values()]

    def hub_id(self, own_id: str) -> str:
        """What the hub calls it; an id that is unknown here is for the hub to judge."""
        entry = self._entries.get(own_id)
        return entry.hub_id if entry else own_id

    def own_id(self, hub_id: str) -> str:
        return next((own_id for own_id, entry in self._entries.items() if entry.hub_id == hub_id), hub_id)

    def drop(self, own_id: str) -> None:
        self._entries.pop(own_id, None)

    def fired(self, body: Body) -> Body:
        """An `alert_triggered`, with the id the user knows; one that fires once is done with."""
        own_id = self.own_id(body["id"])
        if body["once"]:
            self.drop(own_id)
        return {**body, "id": own_id}
