"""The part `observer` of the verdict."""

from __future__ import annotations

from datetime import UTC, datetime

from health.reports import Process, Report
from health.verdict import judge

NOW = datetime(2025, 11, 18, tzinfo=UTC)


def process(name: str, age: float, role: str = "observer") -> Process:
    report = Report(name, role, acting=True, started=NOW, at=NOW, body={"writer": {"unstored": {"reports": 3}}})
    return Process(name, age, missing=False, report=report)


def test_observer_fails_if_all_of_them_are_down() -> None:
    jobs = process("jobs@a", 1, "jobs")
    first, second = process("observer@a", 16), process("observer@b", 1)
    assert judge([jobs, first, second], NOW, own={}).failing == {}
    assert judge([jobs, first], NOW, own={}).failing == {"observer": "no observer process reports"}
    assert judge([jobs], NOW, own={}).failing == {}  # none is expected
    assert judge([jobs, first], NOW, own={}, settled=False).failing == {}


def test_lag_of_the_observer_is_not_that_of_the_writers() -> None:
    verdict = judge([process("jobs@a", 1, "jobs"), process("observer@a", 1)], NOW, own={})
    assert (verdict.writer["unstored"], verdict.writer["oldest_age_seconds"]) == (None, None)
