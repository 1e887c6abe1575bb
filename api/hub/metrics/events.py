"""Events of clients of the namespace `/metrics`: channels, reports, acknowledgements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from marshmallow import Schema

from api.access.model import OBSERVE, OPERATE, REPORT
from api.hub.clients import Client
from api.hub.fanout import granted
from api.hub.metrics.acknowledgements import Acknowledgements
from api.hub.metrics.deferred import Deferred
from api.hub.metrics.report_queue import ReportQueue
from api.hub.metrics.rooms import MetricsRooms
from api.hub.schemas import metrics, request_costs
from api.hub.schemas.request_costs import Cost
from api.hub.schemas.requests import NothingSchema
from api.hub.transport.client_json import problem_of, readable
from api.schemas.alerts import AcknowledgedSchema
from api.schemas.report_documents import ReportsAcceptedSchema
from api.schemas.reports import check_reports, report_accepted
from db.bus import BatchOutcome, ReportLimits
from db.timestamps import format_time

_ACCEPTED, _ACKNOWLEDGED = "report_accepted", "alert_acknowledged"  # answers that are sent later
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
        answer = Deferred(client, "report", _ACCEPTED)
        self._reports.put(checked, answer)
        return answer

    def acknowledge_alert(self, client: Client, asked: dict[str, Any]) -> Deferred:
        """Put the request on the queue of the store. Raises `Refusal`."""
        answer = Deferred(client, "acknowledge_alert", _ACKNOWLEDGED)
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


Serve = Callable[[MetricsEvents, Client, dict[str, Any]], dict[str, Any] | Deferred]


class MetricsEvent(NamedTuple):
    """One row: an event of the namespace, its answer, and the scope that it needs."""

    name: str
    request: Schema
    answer: str
    answer_schema: type[Schema]
    serve: Serve
    scope: str
    cost: Cost = request_costs.cheap


METRICS_EVENTS = (
    MetricsEvent(
        "subscribe",
        metrics.MetricsSubscribeSchema(),
        "subscription_confirmed",
        metrics.MetricsSubscribedSchema,
        MetricsEvents.subscribe,
        OBSERVE,
    ),
    MetricsEvent(
        "unsubscribe",
        metrics.MetricsUnsubscribeSchema(),
        "unsubscription_confirmed",
        metrics.MetricsUnsubscribedSchema,
        MetricsEvents.unsubscribe,
        OBSERVE,
    ),
    MetricsEvent(
        "get_subscriptions",
        NothingSchema(),
        "subscriptions_info",
        metrics.MetricsSubscriptionsSchema,
        MetricsEvents.get_subscriptions,
        OBSERVE,
    ),
    MetricsEvent(
        "report",
        metrics.ReportRequestSchema(),
        _ACCEPTED,
        ReportsAcceptedSchema,
        MetricsEvents.report,
        REPORT,
        request_costs.reports,
    ),
    MetricsEvent(
        "acknowledge_alert",
        metrics.AcknowledgeRequestSchema(),
        _ACKNOWLEDGED,
        AcknowledgedSchema,
        MetricsEvents.acknowledge_alert,
        OPERATE,
    ),
)
