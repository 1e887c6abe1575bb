"""Alerts of the observer: the state machine, the rules, and any series of values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.observability.fields import limits_of
from db.alert_changes import StoredAlert, changes_of
from db.alerts import ACKNOWLEDGED, FIRING, RESOLVED, SystemAlert
from jobs.observer.alerts.book import AlertBook, Resolution
from jobs.observer.alerts.machine import CALM, LONGEST_PAUSE, Level
from jobs.observer.alerts.rules import Reading, judge
from jobs.observer.alerts.values import Values

START = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMITS = {
    "cpu": limits_of("80/90"), "memory": limits_of("80/90"), "disk": limits_of("90/95"), "writer_lag": limits_of("10000/100000"),
    "observer_lag": limits_of("10000/100000"), "strategy_silent": limits_of("60/300"), "reject_rate": limits_of("0.05/0.2"),
}  # fmt: skip


class Run:
    """A book that gets one reading per second; `log` has (second, change)."""

    def __init__(self) -> None:
        self.book = AlertBook()
        self.second = 0
        self.log: list[tuple[int, str]] = []

    def put(self, values: Values, seconds: int = 1) -> Run:
        for _ in range(seconds):
            self.readings = judge(values, LIMITS, self.book.subjects())
            self.crossings = self.book.crossings(self.readings)
            for change in self.book.judge(self.readings, START + self.second * SECOND):
                if isinstance(change, Resolution):
                    self.log.append((self.second, "resolved " + "+".join(alert.severity for alert in change.alerts)))
                else:
                    self.log.append((self.second, change.severity))
            self.second += 1
        return self


# CPU: thresholds 80 and 90, resolved below 72 (both), or below 81 (a critical alert alone).
@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([(85, 10)], []),  # readings of seconds 0 to 9: 9 s
        ([(85, 11)], [(10, "warning")]),
        ([(80, 60)], []),  # not above
        ([(85, 9), (79, 1), (85, 10)], []),  # interrupted
        ([(85, 9), (None, 1), (85, 10)], []),  # a failed reading interrupts too
        ([(85, 9), (79, 1), (85, 11)], [(20, "warning")]),
        ([(95, 11)], [(10, "critical")]),  # one alert, of the highest severity
        ([(85, 11), (95, 11)], [(10, "warning"), (21, "critical")]),
        ([(85, 5), (95, 11)], [(10, "warning"), (15, "critical")]),  # each threshold has its own 10 s
        ([(85, 11), (95, 9), (85, 60)], [(10, "warning")]),
        ([(85, 11), (73, 100)], [(10, "warning")]),  # below the threshold, not below 0.9 of it
        ([(85, 11), (72, 100)], [(10, "warning")]),
        ([(85, 11), (71, 30)], [(10, "warning")]),  # 29 s
        ([(85, 11), (71, 31)], [(10, "warning"), (41, "resolved warning")]),
        ([(85, 11), (71, 29), (73, 1), (71, 30)], [(10, "warning")]),
        ([(85, 11), (71, 29), (None, 1), (71, 31)], [(10, "warning"), (71, "resolved warning")]),
        ([(85, 11), (95, 11), (80.5, 100)], [(10, "warning"), (21, "critical")]),  # both are resolved together
        ([(85, 11), (95, 11), (50, 31)], [(10, "warning"), (21, "critical"), (52, "resolved warning+critical")]),
        ([(95, 11), (80.5, 31)], [(10, "critical"), (41, "resolved critical")]),  # alone: 0.9 × 90
        ([(95, 11), (80.5, 32)], [(10, "critical"), (41, "resolved critical"), (42, "warning")]),
        ([(95, 11), (85, 100)], [(10, "critical")]),  # a decrease is no alert
        ([(85, 11), (50, 31), (85, 11)], [(10, "warning"), (41, "resolved warning"), (52, "warning")]),  # another episode
        ([(85, 11), (None, 200)], [(10, "warning")]),
        ([(float("nan"), 60)], []),
    ],
)
def test_series_of_values_causes_these_changes(series: list[tuple[float | None, int]], expected: list[tuple[int, str]]) -> None:
    run = Run()
    for value, seconds in series:
        run.put(Values(cpu=value), seconds)
    assert run.log == expected


def test_long_pause_between_readings_interrupts() -> None:
    for pause, fires in ((LONGEST_PAUSE, True), (LONGEST_PAUSE + SECOND, False)):
        run = Run().put(Values(cpu=85))
        run.second += int(pause.total_seconds()) - 1
        run.put(Values(cpu=85))
        assert bool(run.log) == fires
    run = Run().put(Values(cpu=85), 9)
    run.second -= 60  # a clock that was set back
    assert run.put(Values(cpu=85), 10).log == []


def test_acknowledged_alert_escalates_and_is_resolved_with_its_escalation() -> None:
    run = Run().put(Values(cpu=85), 11)
    run.book.open = [replace(alert, state=ACKNOWLEDGED, acknowledged_at=START + 11 * SECOND) for alert in run.book.open]
    assert run.book.firing == 0
    run.put(Values(cpu=95), 20)
    assert (run.log[-1], run.book.firing) == ((21, "critical"), 1)
    run.put(Values(cpu=1), 31)
    assert run.log[-1][1] == "resolved warning+critical"
    assert run.book.open == []


def test_book_with_open_alerts_continues_with_them() -> None:
    before = Run().put(Values(cpu=85), 11)
    after = Run()
    after.book.open = list(before.book.open)
    assert after.put(Values(cpu=85), 60).log == []
    assert after.put(Values(cpu=10), 31).log == [(90, "resolved warning")]


def test_restored_threshold_resolves_the_alert() -> None:
    run = Run()
    for limits, value in ((limits_of("1/2"), 40.0), (limits_of("90/95"), 40.0)):
        for _ in range(31):
            readings = judge(Values(disk=value), {**LIMITS, "disk": limits}, run.book.subjects())
            run.book.judge(readings, START + run.second * SECOND)
            run.second += 1
        assert len(run.book.open) == (1 if limits.warning == 1 else 0)


# rules


@pytest.mark.parametrize(
    ("values", "key", "severity", "message"),
    [
        (Values(cpu=80.1), "system:cpu", "warning", "CPU usage 80.1 % is above 80 %."),
        (Values(memory=99), "system:memory", "critical", "Memory usage 99.0 % is above 90 %."),
        (Values(disk=96.1), "system:disk", "critical", "Disk usage 96.1 % is above 95 %."),
        (Values(redis_answers=False), "system:redis", "critical", "Redis is unreachable."),
        (Values(database_answers=False), "system:database", "critical", "PostgreSQL is unreachable."),
        (Values(processes={"hub:5001@a1": 12.4}), "system:process:hub:5001@a1", "critical",
         "Process hub:5001@a1 has sent no report for 12 s."),
        (Values(unstored=10001), "system:writer_lag", "warning", "10001 prices and trades wait for the store, above 10000."),
        (Values(unprocessed=123456), "system:observer_lag", "critical", "123456 reports wait for the observer, above 100000."),
        (Values(sources={"binance": "stale"}), "system:source:binance", "warning", "Source binance is stale."),
        (Values(sources={"binance": "down"}), "system:source:binance", "critical", "Source binance is down."),
        (Values(silent={("mm-1", "mean"): 75}), "strategy:strategy:mm-1/mean", "warning",
         "Strategy mm-1/mean has an open position or order and has sent no report for 75 s, above 60 s."),
        (Values(orders=(2, 20)), "execution:reject_rate", "warning", "10.0 % of the orders of 15 minutes were rejected, above 5 %."),
        (Values(orders=(20, 20)), "execution:reject_rate", "critical", "100.0 % of the orders of 15 minutes were rejected, above 20 %."),
    ],
)  # fmt: skip
def test_rule_raises_the_alert_with_its_message(values: Values, key: str, severity: str, message: str) -> None:
    run = Run().put(values, 11)
    assert [(alert.key, alert.severity, alert.message) for alert in run.book.open] == [(key, severity, message)]


@pytest.mark.parametrize(
    "values",
    [
        Values(), Values(cpu=80, memory=80, disk=90, unstored=10000, unprocessed=0), Values(orders=(19, 19)), Values(orders=(1, 20)),
        Values(orders=(0, 0)), Values(processes={"hub": 5.0}, silent={("a", "b"): 60}), Values(redis_answers=True, database_answers=True),
        Values(sources={"a": "live", "b": "connecting", "c": "backing_off", "d": "ended"}), Values(cpu=float("inf")),
    ],
)  # fmt: skip
def test_other_values_raise_no_alert(values: Values) -> None:
    assert Run().put(values, 60).log == []


def test_connecting_source_keeps_its_alert_and_a_live_one_ends_it() -> None:
    run = Run().put(Values(sources={"binance": "down"}), 11).put(Values(sources={"binance": "connecting"}), 100)
    assert run.log == [(10, "critical")]
    assert run.put(Values(sources={"binance": "live"}), 31).log[1:] == [(141, "resolved critical")]


@pytest.mark.parametrize("gone", [Values(sources={}), Values(sources={"oanda": "live"})])
def test_subject_that_no_longer_exists_is_resolved_unless_the_reading_failed(gone: Values) -> None:
    run = Run().put(Values(sources={"binance": "down"}), 11)
    assert len(run.put(Values(), 100).log) == 1
    assert run.put(gone, 31).log[1:] == [(141, "resolved critical")]


def test_crossing_of_a_threshold_is_found_once() -> None:
    run = Run()
    seen = []
    for value in (10.0, 85.0, 85.0, 95.0, None, 95.0, 50.0, 50.0):
        seen.append([(each.threshold, each.exceeded) for each in run.put(Values(cpu=value)).crossings])
    assert seen == [[], [(80, True)], [], [(90, True)], [], [], [(80, False), (90, False)], []]


# any series

_levels = st.none() | st.sampled_from(
    [CALM, Level(), Level(below="critical"), Level("warning"), Level("warning", "critical"), Level("critical")]
)
_acts = st.lists(st.tuples(_levels, st.integers(1, 40), st.sampled_from([1, 1, 1, 3, 20]), st.booleans()), max_size=12)


@settings(max_examples=150, deadline=None)
@given(_acts)
def test_any_series_has_one_open_alert_of_a_severity_and_keeps_resolved_ones(acts: list[tuple[Level | None, int, int, bool]]) -> None:
    book, now = AlertBook(), START
    rows: dict[str, StoredAlert] = {}  # alert_id -> row as the table would have it
    for level, times, pause, acknowledges in acts:
        for _ in range(times):
            now += pause * SECOND
            before = dict(rows)
            texts = {"warning": "w", "critical": "c"}
            for change in book.judge([Reading("cpu", "system", "cpu", level, 1.0, {}, texts)], now):
                if isinstance(change, Resolution):
                    assert {alert.alert_id for alert in change.alerts} == {each.alert_id for each in rows.values() if each.active}
                    rows.update({alert.alert_id: alert for alert in change.alerts})
                else:
                    assert change.alert_id not in rows
                    rows[change.alert_id] = StoredAlert.of(change)
            opened = [row.severity for row in rows.values() if row.active]
            assert len(opened) == len(set(opened))
            assert {row.alert_id for row in book.open} == {row.alert_id for row in rows.values() if row.active}
            assert all(rows[name] == row for name, row in before.items() if row.state == RESOLVED)
        if acknowledges:
            book.open = [replace(row, state=ACKNOWLEDGED, acknowledged_at=now) for row in book.open]
            rows.update({row.alert_id: row for row in book.open})


# changes that were not sent yet


def test_changes_since_the_last_one_sent_are_in_order() -> None:
    fired = StoredAlert.of(SystemAlert("system", "cpu", "warning", START, 85.0, 80, "text"))
    acknowledged = replace(fired, state=ACKNOWLEDGED, acknowledged_at=START + SECOND, acknowledged_by="ada", updated_at=START + SECOND)
    resolved = acknowledged.resolved(START + 2 * SECOND)
    assert changes_of(fired) == [fired]
    assert changes_of(resolved) == [fired, acknowledged, resolved]
    for announced, count in ((FIRING, 2), (ACKNOWLEDGED, 1), (RESOLVED, 0)):
        assert len(changes_of(replace(resolved, announced=announced))) == count
    assert [each.state for each in changes_of(fired.resolved(START))] == [FIRING, RESOLVED]


def test_body_is_that_of_the_contract() -> None:
    moment = datetime(2025, 11, 18, 12, 34, 56, 789000, tzinfo=UTC)
    alert = SystemAlert("system", "disk", "critical", moment, 96.1, 95.0, "Disk usage 96.1 % is above 95 %.")
    time = "2025-11-18T12:34:56.789000Z"
    assert StoredAlert.of(alert).body() == {
        "alert_id": "system:disk:critical:1763469296789", "type": "system", "subject": "disk", "severity": "critical", "state": "firing",
        "active": True, "symbol": None, "symbol2": None, "value": 96.1, "previous": None, "threshold": 95,
        "message": "Disk usage 96.1 % is above 95 %.", "time": time, "updated_at": time, "acknowledged_at": None,
        "acknowledged_by": None, "comment": None, "resolved_at": None,
    }  # fmt: skip
