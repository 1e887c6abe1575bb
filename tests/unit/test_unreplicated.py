"""Health while a server of the bus accepts batches without confirmation by a replica."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from health.reports import Process, Report
from health.verdict import DEGRADED, HEALTHY, judge

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PART = {"bus": {"unreplicated": ["redis-1:6379"]}}


def process(name: str, role: str, **parts: object) -> Process:
    body = {"acting": True, "failing": {}, **parts}
    return Process(name, 0.5, missing=False, report=Report(name, role, True, NOW, NOW, body))


@pytest.mark.parametrize("role", ["books", "rest"])
def test_part_of_any_process_makes_the_system_degraded(role: str) -> None:
    jobs, other = process("jobs@a", "jobs"), process(f"{role}@a", role, **PART)
    assert (judge([jobs], NOW, own={}).status, judge([jobs], NOW, own={}).unreplicated) == (HEALTHY, False)
    verdict = judge([jobs, other], NOW, own={})
    assert (verdict.status, verdict.unreplicated) == (DEGRADED, True)


def test_process_that_is_down_does_not_count() -> None:
    gone = replace(process("books@a", "books", **PART), age_seconds=60.0)
    assert judge([process("jobs@a", "jobs"), gone], NOW, own={}).unreplicated is False
