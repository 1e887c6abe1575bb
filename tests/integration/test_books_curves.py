"""Scenarios of the product by the worker in virtual time: queue, status and run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import cache
from itertools import pairwise

import pytest

from db.bus import Bus
from db.postgres import Store
from db.scenarios.recording import Recording
from db.scenarios.run_record import RunRecord
from db.timestamps import utc_now
from tests.conftest import Servers, new_database
from tests.support.even_recordings import even_recording, shipped
from tests.support.virtual_books import VirtualBooks

# Few messages around an empty queue are no deviation of a continuous curve.
SMALL = 8


@pytest.fixture(scope="module")
def parts(servers: Servers) -> Iterator[tuple[Bus, Store]]:
    with ExitStack() as stack:
        url = stack.enter_context(new_database(servers))
        bus = stack.enter_context(closing(Bus(servers.redis_url, utc_now)))
        yield bus, stack.enter_context(closing(Store(url)))


@cache
def recording() -> Recording:
    """Ten diffs a second of few levels, so that the books need little time."""
    return even_recording(60, levels=2)


def play(parts: tuple[Bus, Store], name: str, seconds: float) -> tuple[VirtualBooks, RunRecord]:
    """Play a scenario of the product from its begin."""
    books, run_id = VirtualBooks(*parts, None), str(uuid.uuid4())
    books.offer(run_id, shipped(name), [recording()])
    books.play(seconds)
    books.scenario.close()
    record = books.record(run_id)
    assert record.wrong_books == 0
    return books, record


def status_changes(books: VirtualBooks) -> list[tuple[float, str]]:
    """Changes of the status that last: between two rounds of a recording the book is made anew."""
    ends = [*(time for time, _ in books.statuses[1:]), books.times[-1]]
    lasting = [(time, status) for (time, status), end in zip(books.statuses, ends, strict=True) if end - time > 0.1]
    return [lasting[0]] + [new for old, new in pairwise(lasting) if new[1] != old[1]]


def test_stable_mode_stays_healthy(parts: tuple[Bus, Store]) -> None:
    books, record = play(parts, "stable-mode", 70)
    assert [status for _, status in status_changes(books)] == ["healthy"]
    assert record.peak_queue <= 2
    assert (record.gaps, record.detect_seconds, record.recover_seconds) == (0, None, None)


def test_burst_mode_has_the_values_of_the_table(parts: tuple[Bus, Store]) -> None:
    books, record = play(parts, "burst-mode", 65)
    assert [status for _, status in status_changes(books)] == ["healthy", *["degraded", "healthy"] * 2]
    assert [time for time, _ in status_changes(books)][1:] == pytest.approx([26, 34.4, 56, 64.4], abs=2)
    # λ - μ = 100/s for 5 s; then 10/s - 100/s until the queue is empty.
    for queue, time in zip(books.queue, books.times, strict=True):
        inside = time % 30 - 25
        w = 100 * inside if inside >= 0 else max(0.0, 500 - 90 * (inside + 25)) if time >= 30 else 0.0
        assert queue == pytest.approx(w, rel=0.1, abs=SMALL)
    assert [record.peak_queue, max(books.lag)] == pytest.approx([500, 5], rel=0.1)
    assert [record.detect_seconds, record.recover_seconds] == pytest.approx([1, 4.4], abs=0.5)
    assert record.gaps == 0


def test_extreme_spike_has_the_values_of_the_table(parts: tuple[Bus, Store]) -> None:
    books, record = play(parts, "extreme-spike", 75)
    changes = status_changes(books)
    assert next(time for time, status in changes if status == "unhealthy") == pytest.approx(11.9, abs=0.5)
    time, status = changes[-1]
    assert status == "healthy"
    assert time - 40 == pytest.approx(25, abs=2)
    full = [after for (before, size), (after, smaller) in pairwise(zip(books.times, books.queue, strict=True)) if smaller < size - 1_000]
    assert full[0] == pytest.approx(12.1, abs=0.2)
    assert len(full) == record.gaps == record.resyncs == pytest.approx(14, abs=1)
    assert record.peak_queue == 2_000
    assert record.detect_seconds == pytest.approx(0, abs=0.5)
    assert record.recover_seconds == pytest.approx(25, abs=2)


def test_begin_of_the_gradual_spike_follows_the_closed_form(parts: tuple[Bus, Store]) -> None:
    """Up to the full queue; tests of the queue alone play the rest."""
    books, record = play(parts, "gradual-spike", 112)
    # λ = 10 + t·190/120 passes μ = 100 at 56.8 s; from there w is the integral of λ - μ.
    for queue, time in zip(books.queue, books.times, strict=True):
        w = 190 / 240 * max(0.0, time - 90 * 120 / 190) ** 2
        assert queue == pytest.approx(min(w, 2_000), rel=0.1, abs=SMALL)
    assert [status for _, status in status_changes(books)] == ["healthy", "degraded", "unhealthy"]
    assert [time for time, _ in status_changes(books)][1:] == pytest.approx([68, 104], abs=2)
    passed = [next(time for time, size in zip(books.times, books.queue, strict=True) if size >= bound) for bound in (1_001, 1_999)]
    assert passed == pytest.approx([92, 107], abs=2)
    assert (record.gaps, record.resyncs) == (0, 0)


def test_slow_bus_raises_queue_and_lag(parts: tuple[Bus, Store]) -> None:
    books, run_id = VirtualBooks(*parts, None, spends=True), str(uuid.uuid4())
    phases, faults = [{"seconds": 600, "speed": 5}], [{"kind": "slow_bus", "at": 2, "seconds": 10, "ms": 49}]
    books.begin(run_id, [recording()], phases=phases, faults=faults)
    books.play(30)
    books.scenario.close()
    record = books.record(run_id)
    # 1 ms of delay and 49 ms for each publish: μ = 20/s against λ = 50/s, for 10 s.
    assert record.peak_queue == pytest.approx(300, rel=0.1)
    assert record.peak_lag_ms == pytest.approx(300 * 50, rel=0.2)
    assert (record.gaps, record.wrong_books) == (0, 0)
    assert [status for _, status in status_changes(books)] == ["healthy", "degraded", "healthy"]
    # 1 s of lag are 20 messages; after the fault the queue is empty in 300/(1,000 - 50) s.
    assert [time for time, _ in status_changes(books)][1:] == pytest.approx([2.7, 12.3], abs=2)


def test_slow_database_holds_the_worker_for_each_statement(parts: tuple[Bus, Store]) -> None:
    books, run_id = VirtualBooks(*parts, None, spends=True), str(uuid.uuid4())
    phases, faults = [{"seconds": 600, "speed": 5}], [{"kind": "slow_database", "at": 3, "count": 2, "ms": 1_500}]
    books.begin(run_id, [recording()], phases=phases, faults=faults)
    books.play(15)
    books.scenario.close()
    record = books.record(run_id)
    assert books.waited == [1.5, 1.5]
    # 50 messages a second are due while a statement takes 1.5 s.
    assert record.peak_queue == pytest.approx(75, rel=0.1)
    assert (record.gaps, record.wrong_books) == (0, 0)
    assert books.statuses[-1][1] == "healthy"


FAULTS = [
    {"kind": "corrupt", "every": 37},
    {"kind": "drop", "every": 53},
    {"kind": "reorder", "every": 41, "count": 5},
    {"kind": "silence", "every": 150, "seconds": 6, "count": 1},
    {"kind": "snapshot_refused", "every": 3},
]


def test_equal_seeds_give_equal_time_lines(parts: tuple[Bus, Store]) -> None:
    runs = []
    for seed in (7, 7, 8):
        books, run_id = VirtualBooks(*parts, None), str(uuid.uuid4())
        books.begin(run_id, [recording()], seed=seed, processing_delay_ms=[1, 300], faults=FAULTS)
        books.play(40)
        books.scenario.close()
        record = books.record(run_id)
        assert record.wrong_books == 0
        assert record.gaps
        figures = record.peak_queue, record.peak_lag_ms, record.gaps, record.resyncs, record.detect_seconds, record.recover_seconds
        runs.append((record.timeline, figures, books.queue))
    assert runs[0] == runs[1]
    assert runs[2] != runs[0]
