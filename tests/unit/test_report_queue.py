"""The queue of reports: groups of batches, its limit, outages, and clients that have left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from api.access.model import anonymous
from api.errors import ErrorCode, Refusal
from api.hub.clients import Client
from api.hub.fanout import Fanout
from api.hub.metrics.deferred import Deferred
from api.hub.metrics.report_queue import MAX_REPORTS_PER_CALL, ReportQueue
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from api.schemas.reports import check_reports
from db.bus import BatchOutcome, BusError, Outcome, ReportLimits
from db.reports.model import Report
from tests.support.reports import MOMENT, fill_body
from tests.unit.test_missed_prices import Owner

SPACE = "/metrics"


class Bus:
    """Records the calls; `error` is raised, `outcome` replaces the outcome of each batch."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.error: Exception | None = None
        self.outcome: BatchOutcome | None = None

    def append_reports(self, batches: Sequence[Sequence[Report]], limits: ReportLimits) -> list[BatchOutcome]:
        self.calls.append([len(batch) for batch in batches])
        if self.error:
            raise self.error
        return [self.outcome or BatchOutcome((Outcome.NEW,) * len(batch)) for batch in batches]


class Clients:
    """One client of a fan-out, and what it received."""

    def __init__(self) -> None:
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None, SPACE)
        self.events: list[tuple[str, Any]] = []
        self.acks: list[Any] = []
        box = Outbox(Owner(), 2**20)
        box.open(self._take)
        self.fanout.add("client", box)
        self.client = Client("client", self.fanout, anonymous(), Bucket(Allowance(50, 200, lambda: 0.0)), "")

    def _take(self, data: bytes) -> int:
        name, body = orjson.loads(data[data.index(b"[") :])
        self.events.append((name, body))
        return len(data)

    def answer(self) -> Deferred:
        answer = Deferred(self.client, "report", "report_accepted")
        answer.acknowledge = lambda body: self.acks.append(orjson.loads(body))
        return answer


class Line:
    """A queue with one client."""

    def __init__(self, limit: int = 10_000) -> None:
        self.bus, self.clients = Bus(), Clients()
        self.queue = ReportQueue(self.bus, ReportLimits(), lambda: MOMENT, limit)

    def put(self, first: int, count: int) -> None:
        bodies = [fill_body(number) for number in range(first, first + count)]
        self.queue.put(check_reports(bodies, anonymous(), frozenset({"EUR_USD"}), MOMENT), self.clients.answer())


def test_everything_that_waits_goes_in_one_call() -> None:
    line = Line()
    for number in range(3):
        line.put(number, number + 1)
    assert line.queue.busy
    line.queue.write()
    assert not line.queue.busy
    assert line.bus.calls == [[1, 2, 3]]
    bodies = [body for _, body in line.clients.events]
    assert [name for name, _ in line.clients.events] == ["report_accepted"] * 3
    assert [body["accepted"] for body in bodies] == [1, 2, 3]
    assert bodies == line.clients.acks


def test_call_has_at_most_its_number_of_reports_but_one_batch() -> None:
    line = Line()
    for number in range(4):
        line.put(1000 * number, 400)
    for _ in range(3):
        line.queue.write()
    assert line.bus.calls == [[400, 400], [400, 400]]
    assert MAX_REPORTS_PER_CALL == 1000


def test_full_queue_refuses_a_batch_as_a_whole() -> None:
    line = Line(limit=5)
    line.put(0, 3)
    with pytest.raises(Refusal) as refusal:
        line.put(10, 3)
    assert refusal.value.code is ErrorCode.TOO_MANY_REQUESTS
    assert 1 <= refusal.value.details["retry_after"] <= 3
    line.put(20, 2)
    line.queue.write()
    assert line.bus.calls == [[3, 2]]
    line.put(30, 5)


def test_outage_refuses_everything_that_waits() -> None:
    line = Line()
    for number in range(3):
        line.put(1000 * number, 500)
    line.bus.error = BusError("connection refused")
    line.queue.write()
    assert line.bus.calls == [[500, 500]]
    assert [(name, body["code"], body["event"]) for name, body in line.clients.events] == [("error", "unavailable", "report")] * 3
    assert [ack["details"]["retry_after"] >= 1 for ack in line.clients.acks] == [True] * 3
    line.bus.error = None
    line.put(0, 1)
    line.queue.write()
    assert line.clients.acks[-1]["accepted"] == 1


def test_unexpected_error_is_internal_and_the_queue_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    line.put(0, 1)
    line.bus.error = RuntimeError("a fault of ours")
    line.queue.write()
    assert line.clients.acks[0]["code"] == "internal"
    assert [record.exc_info is not None for record in caplog.records] == [True]
    line.bus.error = None
    line.put(0, 1)
    line.queue.write()
    assert line.clients.acks[1]["accepted"] == 1


@pytest.mark.parametrize(
    ("outcome", "code"), [(BatchOutcome(full=True), "unavailable"), (BatchOutcome(retry_after=0.2), "too_many_requests")]
)
def test_batch_that_redis_refuses_is_an_error(outcome: BatchOutcome, code: str) -> None:
    line = Line()
    line.bus.outcome = outcome
    line.put(0, 2)
    line.queue.write()
    assert line.clients.acks[0]["code"] == code
    assert line.clients.acks[0]["details"]["retry_after"] >= 1


def test_client_that_has_left_gets_no_answer_and_its_reports_are_written() -> None:
    line = Line()
    line.put(0, 2)
    line.clients.fanout.remove("client")
    line.queue.write()
    assert line.bus.calls == [[2]]
    assert line.clients.events == line.clients.acks == []


def test_closed_queue_refuses_new_batches_and_writes_the_others() -> None:
    line = Line()
    line.put(0, 1)
    line.queue.close()
    with pytest.raises(Refusal) as refusal:
        line.put(1, 1)
    assert refusal.value.code is ErrorCode.UNAVAILABLE
    line.queue.write()
    assert line.clients.acks[0]["accepted"] == 1


def test_moment_of_the_answer_is_that_of_the_write() -> None:
    line = Line()
    line.put(0, 1)
    line.queue.write()
    assert line.clients.acks[0]["timestamp"] == "2025-11-18T12:34:56.789123Z"
    assert datetime(2025, 11, 18, 12, 34, 56, 789_123, tzinfo=UTC) == MOMENT
