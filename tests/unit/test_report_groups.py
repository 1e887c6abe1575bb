"""Group commit of reports: threads share calls of the bus, and each has its own result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.rest.observability.report_groups import MAX_REPORTS_PER_CALL, ReportGroups
from db.bus import BatchOutcome, BusError, Outcome, ReportLimits
from db.reports.model import Report
from tests.support.reports import fill

LIMITS = ReportLimits()


class SlowBus:
    """A bus whose calls the test lets go on. A batch that begins with `f-13` is refused as full."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []  # sizes of the batches of each call
        self.began = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.fails: BusError | None = None

    def append_reports(self, batches: Sequence[Sequence[Report]], limits: ReportLimits) -> list[BatchOutcome]:
        self.calls.append([len(batch) for batch in batches])
        self.began.release()
        assert self.go_on.acquire(timeout=60)
        if self.fails is not None:
            raise self.fails
        return [BatchOutcome(full=True) if batch[0].id == "f-13" else BatchOutcome((Outcome.NEW,) * len(batch)) for batch in batches]


def waiting(groups: ReportGroups) -> int:
    return len(groups._waiting)


def until_waiting(groups: ReportGroups, count: int) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if waiting(groups) == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{waiting(groups)} batches wait")


def test_batches_that_arrive_during_a_call_share_the_next_one() -> None:
    bus = SlowBus()
    groups = ReportGroups(bus)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(groups.append_reports, [[fill(1)]], LIMITS)
        assert bus.began.acquire(timeout=60)
        others = [pool.submit(groups.append_reports, [[fill(number), fill(number + 100)]], LIMITS) for number in (12, 13, 14)]
        until_waiting(groups, 3)
        bus.go_on.release(2)
        assert first.result(60) == [BatchOutcome((Outcome.NEW,))]
        assert [each.result(60)[0].full for each in others].count(True) == 1
    assert bus.calls == [[1], [2, 2, 2]]


def test_call_has_a_limit_of_reports() -> None:
    bus = SlowBus()
    bus.go_on.release(10)
    half = [fill(number) for number in range(100, 100 + MAX_REPORTS_PER_CALL // 2 + 1)]
    assert len(ReportGroups(bus).append_reports([half, half, half[:10]], LIMITS)) == 3
    assert bus.calls == [[501], [501, 10]]


def test_failure_reaches_each_thread() -> None:
    bus = SlowBus()
    groups = ReportGroups(bus)
    with ThreadPoolExecutor(3) as pool:
        bus.fails = BusError("away")
        results = [pool.submit(groups.append_reports, [[fill(number)]], LIMITS) for number in range(3)]
        bus.go_on.release(10)
        for each in results:
            with pytest.raises(BusError, match="away"):
                each.result(60)
    bus.fails = None
    assert groups.append_reports([[fill(9)]], LIMITS) == [BatchOutcome((Outcome.NEW,))]
