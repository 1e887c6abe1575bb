"""The way of a message from the bus to the clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import orjson

from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.rules import RuleIndex, Series
from api.hub.alerts.volatility_feed import VolatilityFeed
from api.hub.books.feed import BookFeed
from api.hub.books.status import StatusFeed
from api.hub.clients import Clients
from api.hub.events import MAIN, namespaces
from api.hub.fanout import Fanout
from api.hub.metrics.acknowledgements import Acknowledgements
from api.hub.metrics.report_queue import ReportQueue
from api.hub.metrics.rooms import MetricsRooms, SnapshotFeed
from api.hub.own_report import HubReport
from api.hub.relay.lazy import Wanted
from api.hub.relay.relay import Listener, Relay
from api.hub.rights.audience import Audience
from api.hub.schemas.metrics import METRICS_SPACE
from api.hub.schemas.requests import PRICE
from api.hub.topic_log import TopicLog
from api.hub.transport.eventlet_loop import Eventlet
from config.exposition import Families
from config.settings import Settings
from db import topics
from db.bus import Bus, ReportLimits
from db.postgres import Store
from db.timestamps import format_time
from health.timing import Timing

METRICS_KIND = "metrics"  # of subscriptions


class Market(NamedTuple):
    """The way of a message from the bus to the clients. `known` changes with the instruments."""

    instruments: list[str]
    known: set[str]
    fanouts: dict[str, Fanout]
    clients: Clients
    topic_log: TopicLog
    rules: RuleIndex
    feed: VolatilityFeed
    report: HubReport
    relay: Relay
    metrics: MetricsRooms
    reports: ReportQueue
    acknowledgements: Acknowledgements
    snapshots: SnapshotFeed
    books: BookFeed
    status: StatusFeed
    listeners: dict[str, list[Listener]]  # channel -> its listeners


def make_market(
    settings: Settings,
    bus: Bus,
    store: Store,
    clock: Callable[[], datetime],
    instruments: list[str],
    timing: Timing,
    families: Callable[[], Families] | None,
) -> Market:
    """Return the relay and its parts; `instruments` are the enabled ones.

    `families` are the metrics of the report, None without them.
    """
    fanouts = {namespace: _fanout(namespace, settings.flush_interval_ms / 1000) for namespace in namespaces()}
    topic_log, rules, known, clients = TopicLog(bus.shard_of), RuleIndex(), set(instruments), Clients()
    notifier = AlertNotifier(rules, fanouts[MAIN], lambda: format_time(clock()))
    feed = VolatilityFeed(store, notifier.volatility)
    report = HubReport(settings, bus, clock, lambda: sum(len(each.clients()) for each in fanouts.values()), timing, families)
    metrics = MetricsRooms(fanouts[METRICS_SPACE])
    snapshots = SnapshotFeed(clock, [metrics.update])
    books = BookFeed(bus, known, settings.heartbeat_interval, clock, time.monotonic)
    status = StatusFeed(settings, bus, clock)
    books.heartbeats.append(status.heartbeat)
    books.states.append(status.book_state)
    listeners: dict[str, list[Listener]] = {
        topics.PRICES: [notifier.price],
        topics.DATA_READY: [feed.data_ready],
        topics.METRICS: [snapshots.received],
        topics.OBSERVABILITY_EVENTS: [metrics.event],
        topics.BOOKS: [books.book],
        topics.BOOK_STATES: [books.book_state],
        topics.HEARTBEATS: [books.heartbeat],
        topics.SCENARIO_CHANGES: [status.scenario_changed],
    }
    relay = Relay(
        bus,
        topic_log,
        fanouts,
        known,
        listeners,
        Eventlet(),
        checked=report.received,
        send_by_rights=Audience(clients, fanouts).send,
        begin=partial(_take_latest, bus, snapshots, status),
        caught_up=books.catch_up,
        needs_bus={topics.BOOKS: books.needs_bus},
        process=lambda: report.name,
        wanted={topics.PRICES: Wanted(rules.series, lambda instrument: (instrument, PRICE))},
    )
    return Market(
        instruments=instruments,
        known=known,
        fanouts=fanouts,
        clients=clients,
        topic_log=topic_log,
        rules=rules,
        feed=feed,
        report=report,
        relay=relay,
        metrics=metrics,
        reports=ReportQueue(bus, ReportLimits(settings.reports_rate, settings.report_dedupe_seconds), clock),
        acknowledgements=Acknowledgements(store, clock),
        snapshots=snapshots,
        books=books,
        status=status,
        listeners=listeners,
    )


def _fanout(namespace: str, interval: float) -> Fanout:
    """Return the fan-out of a namespace; every room of `/metrics` is of one kind."""
    kinds = (lambda room: METRICS_KIND) if namespace == METRICS_SPACE else topics.kind_of
    return Fanout(time.monotonic, Eventlet().call_later, namespace, kind_of=kinds, interval=interval)


def _take_latest(bus: Bus, snapshots: SnapshotFeed, status: StatusFeed) -> None:
    """Begin with the newest snapshot of the metrics, if Redis keeps one, and with the status."""
    status.begin()
    if latest := bus.latest_snapshot():
        snapshots.take(latest.body())


def current(series: Series, topic_log: TopicLog, feed: VolatilityFeed) -> Decimal | None:
    """Return the present value of a series, with which a new rule begins."""
    instrument, metric = series
    if metric == PRICE:
        body = topic_log.latest(instrument)
        return None if body is None else Decimal(orjson.loads(body)["price"]["mid"])
    figure = feed.current(instrument)
    return None if figure is None else Decimal(repr(figure))
