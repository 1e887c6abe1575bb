"""Alerts: judged and stored in the run's own transaction, then published until the bus accepts
them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from config.pacing import Outage
from db.alerts import (
    Alert,
    EpisodeRow,
    Subject,
    alert_key,
    mark_published,
    read_episodes,
    resolve_alerts,
    unpublished_alerts,
    write_alerts,
    write_episodes,
)
from db.bus import BusError, Publisher
from db.postgres import Cursor, Store, StoreError
from db.timestamps import format_time
from jobs.figures.alert_rules import AlertRule, Episode, judge

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One value to judge, of an instrument or of a pair.

    The rule judges `measure`. `previous` is the earlier value of a pair.
    """

    measure: float
    value: float
    previous: float | None = None


def raise_alerts(
    cursor: Cursor,
    kind: str,
    seen: Mapping[Subject, Seen],
    rule_of: Callable[[Subject], AlertRule],
    moment: datetime,
    message: Callable[[Subject, Seen, str, float], str],
) -> int:
    """Judge the values at `moment`; store the alerts and the new states. Returns the number of new
    alerts.

    The end of an episode resolves its open alerts.
    A rule does not judge the same time twice, so a repeated run changes nothing.
    """
    stands = read_episodes(cursor, kind)
    after: dict[Subject, EpisodeRow] = {}
    alerts: list[Alert] = []
    for subject, each in seen.items():
        row = stands.get(subject)
        if row is not None and row.as_of >= moment:
            continue
        episode = Episode() if row is None else Episode(row.severity, row.alerted, row.told)
        verdict = judge(rule_of(subject), episode, each.measure, moment)
        after[subject] = EpisodeRow(verdict.episode.severity, verdict.episode.alerted, verdict.episode.told, moment)
        if verdict.severity is not None and verdict.threshold is not None:
            text = message(subject, each, verdict.severity, verdict.threshold)
            symbol, symbol2 = subject
            alerts.append(
                Alert(kind, symbol, symbol2 or None, verdict.severity, moment, each.value, each.previous, verdict.threshold, text)
            )
    write_episodes(cursor, kind, after)
    calm = [alert_key(kind, subject) for subject, row in after.items() if row.severity is None]
    resolve_alerts(cursor, calm, moment)
    return write_alerts(cursor, alerts)


def publish_alerts(store: Store, bus: Publisher, clock: Callable[[], datetime]) -> int:
    """Publish the stored alerts that are unpublished; return their number.

    Raises `StoreError` or `BusError`; the remaining alerts follow the next time. After a kill
    between publishing and marking, an alert is published again under its batch id, which the bus
    recognises for a day. The id consists of the alert's content, not of its number in the table:
    another database has other alerts.
    """
    with store.transaction() as cursor:
        waiting = unpublished_alerts(cursor)
    for alert_id, alert in waiting:
        _publish(bus, alert)
        with store.transaction() as cursor:
            mark_published(cursor, alert_id, clock())
    return len(waiting)


def _publish(bus: Publisher, alert: Alert) -> None:
    batch_id = f"alert:{alert.type}:{alert.symbol}:{alert.symbol2 or ''}:{alert.severity}:{format_time(alert.time)}/1"
    if alert.symbol2 is None:
        bus.publish_volatility_alert(
            alert.symbol, alert.value, threshold=alert.threshold, severity=alert.severity, message=alert.message, batch_id=batch_id
        )
    else:
        bus.publish_correlation_alert(
            alert.symbol, alert.symbol2, alert.value, previous=alert.previous or 0.0, threshold=alert.threshold, severity=alert.severity,
            message=alert.message, batch_id=batch_id,
        )  # fmt: skip


def keep_publishing(store: Store, bus: Publisher, clock: Callable[[], datetime], stop: threading.Event) -> None:
    """Publish the alerts that a run could not publish, until `stop` is set."""
    outage = Outage(log, "alerts wait", monotonic=time.monotonic)
    while not stop.wait(RETRY_SECONDS):
        try:
            if count := publish_alerts(store, bus, clock):
                log.info("alerts published", extra={"alerts": count})
            outage.recovered()
        except Exception as error:  # noqa: BLE001 - the outage logs it
            outage.failed(error, traceback=not isinstance(error, BusError | StoreError))


def pairs_of(symbols: Sequence[str]) -> list[Subject]:
    """Every pair of different symbols once, in alphabetical order."""
    ordered = sorted(symbols)
    return [(first, second) for position, first in enumerate(ordered) for second in ordered[position + 1 :]]
