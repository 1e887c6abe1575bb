"""Events of clients of the namespace `/metrics`: channels, reports, acknowledgements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from api.hub.clients import Client
from api.hub.fanout import granted
from api.hub.metrics.acknowledgements import Acknowledgements
from api.hub.metrics.deferred import Deferred
from api.hub.metrics.report_queue import ReportQueue
from api.hub.metrics.rooms import MetricsRooms
from api.hub.transport.client_json import problem_of, readable
from api.schemas.reports import check_reports, report_accepted
from db.bus import BatchOutcome, ReportLimits
from db.timestamps import format_time

REPORT, ACCEPTED = "report", "report_accepted"
ACKNOWLEDGE, ACKNOWLEDGED = "acknowledge_alert", "alert_acknowledged"
_METADATA_LEVEL = 4  # below payload, list and report


class MetricsEvents:
    """Serves the events of the namespace. No handler waits: slow ones return `Deferred`.

    `clock` returns aware UTC.
    """

    def __init__(
        self, rooms: MetricsRooms, reports: ReportQueue, acknowledgements: Acknowledgements, clock: Callable[[], datetime]
    ) -> None:
        self.rooms = rooms
        self._reports = reports
        self._acknowledgements = acknowledgements
        self._clock = clock
        self._symbols: frozenset[str] = frozenset()

    def set_symbols(self, symbols: Iterable[str]) -> None:
        """Accept reports about these instruments from now on, disabled ones included."""
        self._symbols = frozenset(symbols)

    def subscribe(self, client: Client, asked: dict[str, Any]) -> dict[str, Any]:
        """Join the rooms of channels; answer with the newest snapshot."""
        self.rooms.join(client.id, asked["channels"], granted(asked["max_rate"]))
        return {
            "channels": self.rooms.held(client.id),
            "snapshot": self.rooms.snapshot(asked["channels"]),
            "max_rate": self.rooms.rate(client.id),
            "timestamp": self._now(),
        }

    def unsubscribe(self, client: Client, asked: dict[str, Any]) -> dict[str, Any]:
        """Leave the rooms of channels."""
        removed = self.rooms.leave(client.id, asked["channels"])
        return {"channels": self.rooms.held(client.id), "removed": removed, "timestamp": self._now()}

    def get_subscriptions(self, client: Client, _: dict[str, Any]) -> dict[str, Any]:
        """Return the channels of the client."""
        return {"channels": self.rooms.held(client.id), "max_rate": self.rooms.rate(client.id), "timestamp": self._now()}

    def report(self, client: Client, asked: dict[str, Any]) -> dict[str, Any] | Deferred:
        """Check reports, and put the good ones on the queue. Raises `Refusal`."""
        now = self._clock()
        checked = check_reports([_usable(entry) for entry in asked["reports"]], client.access, self._symbols, now)
        if not checked.reports:
            return report_accepted(checked, BatchOutcome(), ReportLimits(), now)
        answer = Deferred(client, REPORT, ACCEPTED)
        self._reports.put(checked, answer)
        return answer

    def acknowledge_alert(self, client: Client, asked: dict[str, Any]) -> Deferred:
        """Put the request on the queue of the store. Raises `Refusal`."""
        answer = Deferred(client, ACKNOWLEDGE, ACKNOWLEDGED)
        self._acknowledgements.put(client.access, asked, answer)
        return answer

    def _now(self) -> str:
        return format_time(self._clock())


def _usable(entry: Any) -> Any:
    """Return a report whose names can be quoted, and whose metadata JSON can contain."""
    if not isinstance(entry, dict):
        return entry
    if any(not name.isascii() for name in entry):
        entry = {readable(name): value for name, value in entry.items()}
    metadata = entry.get("metadata")
    return entry if metadata is None or problem_of(metadata, _METADATA_LEVEL) is None else {**entry, "metadata": False}
