"""The metrics of the observer against the reports that were sent; one process for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
import redis as redis_client

from config.metrics import METRICS
from config.settings import Settings
from db import topics
from db.alerts import Alert, raise_alert
from db.bus import Bus, ReportLimits
from db.postgres import Store
from db.reports.model import KINDS, Fill, Heartbeat, Report, Signal
from db.timestamps import utc_now
from tests.conftest import Servers, new_ground, until
from tests.support.exported import Values, of, read
from tests.support.ports import free_port
from tests.support.processes import observer

OUTCOMES = ("accepted", "duplicate", "rejected")
TYPES = ("volatility", "correlation", "system", "strategy", "execution")  # of alerts
COLLECTORS = ("market_data", "strategy", "execution", "system")
LIMITS = ReportLimits(rate=1_000_000)


@dataclass(frozen=True, slots=True)
class Place:
    """A running observer with its servers."""

    settings: Settings
    bus: Bus
    redis: redis_client.Redis
    store: Store
    port: int

    def values(self) -> Values:
        return read(self.port)

    def send(self, *reports: Report) -> None:
        self.bus.append_reports([list(reports)], LIMITS)

    def reports(self) -> dict[Any, float]:
        """(kind, outcome) -> number, without zeros."""
        return {key: number for key, number in of(self.values(), "tickwire_reports_total", "kind", "outcome").items() if number}


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, port = tmp_path_factory.mktemp("observer"), free_port()
    with ExitStack() as stack:
        settings, bus, store, client = stack.enter_context(new_ground(servers, folder))
        bus.set_instruments(servers.calendars)
        process = stack.enter_context(observer(settings, folder / "observer.log", METRICS_PORT=str(port)))
        until(lambda: bus.latest_snapshot() is not None, 60, lambda: process.output()[-3000:])
        yield Place(settings, bus, client, store, port)


def fill(number: int) -> Fill:
    return Fill(
        bot="bot", strategy="one", id=f"f-{number}", time=utc_now(), order_id=f"o-{number}", symbol="EUR_USD", side="buy",
        quantity=Decimal(1), price=Decimal("1.1"), fee=Decimal(0),
    )  # fmt: skip


def test_every_row_is_there_with_zeros_before_the_first_report(place: Place) -> None:
    until(lambda: of(place.values(), "tickwire_bus_unstored", "channel") == {"reports": 0}, 20, "the waiting reports")
    values = place.values()
    own = {name: row for name, row in METRICS.items() if "observer" in row.services}
    for name, row in own.items():
        assert of(values, name + ("_count" if row.kind == "histogram" else ""), *row.labels), name
    known = dict.fromkeys(((kind, outcome) for kind in KINDS for outcome in OUTCOMES), 0) | {("unreadable", "rejected"): 0}
    assert of(values, "tickwire_reports_total", "kind", "outcome") == known
    assert of(values, "tickwire_bus_unstored_limit", "channel") == {"reports": place.settings.stream_max_length}
    for name in ("tickwire_collector_errors_total", "tickwire_collector_circuit_open"):
        assert of(values, name, "collector") == dict.fromkeys(COLLECTORS, 0)
    assert set(of(values, "tickwire_alerts_firing", "type", "severity")) == set(product(TYPES, ("warning", "critical")))


def test_reports_are_counted_by_kind_and_outcome(place: Place) -> None:
    """Redis loses the ids of two fills: one comes again, the other one with another content."""
    fills = [fill(number) for number in range(5)]
    now = utc_now()
    beat = Heartbeat(bot="bot", strategy="one", id="h-1", time=now, equity=Decimal(100))
    signal = Signal(bot="bot", strategy="one", id="s-1", time=now, symbol="EUR_USD", signal="buy", outcome="generated")
    place.send(*fills, beat, signal, replace(signal, id="s-2"))
    accepted = {("fill", "accepted"): 5, ("heartbeat", "accepted"): 1, ("signal", "accepted"): 2}
    until(lambda: place.reports() == accepted, 20, lambda: str(place.reports()))
    for number in (0, 1):
        place.redis.delete(topics.report_key("bot", "fill", f"f-{number}"))
    place.send(fills[0], replace(fills[1], price=Decimal(7)))
    others = {("fill", "duplicate"): 1, ("fill", "rejected"): 1}
    until(lambda: place.reports() == accepted | others, 20, lambda: str(place.reports()))


def test_snapshots_have_one_duration_each(place: Place) -> None:
    def count() -> float:
        return of(place.values(), "tickwire_snapshot_build_seconds_count")[""]

    first = place.bus.latest_snapshot()
    assert first is not None
    assert first.seq <= count()  # a snapshot is counted before it is published
    until(lambda: (found := place.bus.latest_snapshot()) is not None and found.seq >= first.seq + 5, 20, "five more snapshots")
    assert first.seq + 5 <= count()
    values = place.values()
    assert of(values, "tickwire_snapshot_build_seconds_sum")[""] > 0
    assert of(values, "tickwire_snapshots_missed_total")[""] >= 0


def test_open_alerts_are_counted_by_type_and_severity(place: Place) -> None:
    alerts = [Alert("volatility", symbol, None, "warning", utc_now(), 0.03, None, 0.02, "high") for symbol in ("EUR_USD", "GBP_USD")]
    alerts.append(replace(alerts[0], severity="critical"))
    with place.store.transaction() as cursor:
        assert all(raise_alert(cursor, alert) for alert in alerts)

    def firing() -> dict[Any, float]:
        found = of(place.values(), "tickwire_alerts_firing", "type", "severity")
        return {severity: number for (kind, severity), number in found.items() if kind == "volatility"}

    until(lambda: firing() == {"warning": 2, "critical": 1}, 20, lambda: str(firing()))
