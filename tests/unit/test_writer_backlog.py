"""The roll-up and the gap scan under writers that are behind, by a fake clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from config.process.duties import ROLL_UP
from config.settings import load
from db.timestamps import utc_now
from jobs import scheduler
from jobs.feeding import Feeding
from jobs.gaps.filler import GapFiller
from jobs.measures.backlog import WriterBacklog
from jobs.runtime.context import JobContext
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Writer
from tests.support.fake_time import FakeTime

PRICES, TRADES = "a writer", "another writer"


class Steps(RollUp):
    """A roll-up whose runs take `seconds`."""

    def __init__(self, time: FakeTime, backlog: WriterBacklog, seconds: float) -> None:
        super().__init__(cast(Any, None), cast(Any, None), time.utc, monotonic=time.monotonic, backlog=backlog)
        self.time, self.seconds = time, seconds
        self.runs: list[tuple[float, float]] = []  # begin and end

    def run_once(self, stop: threading.Event) -> int:
        begun = self.time.now
        self.time.now += self.seconds
        self.runs.append((begun, self.time.now))
        return 1


class Rounds:
    """A filling that takes `seconds` in each round, and always has more to do if `more` is set."""

    def __init__(self, time: FakeTime, seconds: float = 0.0, *, more: bool = True) -> None:
        self.time, self.seconds, self.more = time, seconds, more
        self.rounds: list[tuple[float, bool]] = []  # begin, and whether it follows an event

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        self.rounds.append((self.time.now, reconnected))
        self.time.now += self.seconds
        return self.more and len(self.rounds) < 50


class Event(threading.Event):
    """The event of a source, with the waits of a fake clock."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        self.time = time

    def wait(self, timeout: float | None = None) -> bool:
        self.time.wait(timeout)
        return self.is_set()


class At(FakeTime):
    """A fake clock that calls a function once it has reached a time."""

    def __init__(self, until: float, at: float, call: Callable[[], object]) -> None:
        super().__init__(until)
        self.at, self.call = at, call

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        if self.now >= self.at:
            self.at = float("inf")
            self.call()
        return self.is_set()


def behind(*writers: str) -> WriterBacklog:
    backlog = WriterBacklog()
    for writer in writers:
        backlog.note(writer, True)
    return backlog


def scans(time: FakeTime, backlog: WriterBacklog, filling: Rounds, event: threading.Event | None = None) -> list[tuple[float, bool]]:
    GapFiller("test", filling, event or Event(time), jitter=lambda: 1.0, monotonic=time.monotonic, backlog=backlog).run(time)
    return filling.rounds


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.5, 7.0])
def test_candles_are_at_most_five_seconds_late_plus_one_step(seconds: float) -> None:
    """A trade is in the candles of the first run that begins after it, published at its end."""
    time = FakeTime(until=60)
    rollup = Steps(time, behind(PRICES), seconds)
    rollup.run(time)
    stored = [tenth / 10 for tenth in range(500)]
    published = [next(end for begin, end in rollup.runs if begin >= each) for each in stored]
    latest = max(at - each for at, each in zip(published, stored, strict=True))
    # If steps take longer than the postponement, a trade that comes during one waits for its end.
    assert latest <= max(5.0, seconds + 1.0) + seconds + 1e-6
    assert len(rollup.runs) == (12 if seconds < 4 else 8), "it runs once in 5 s"


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_gap_scan_is_at_most_30_seconds_late(seconds: float) -> None:
    time = FakeTime(until=100)
    rounds = scans(time, behind(TRADES), Rounds(time, seconds))
    assert [begun for begun, _ in rounds] == pytest.approx([0, 30, 60, 90])


def test_writer_that_is_not_behind_postpones_nothing() -> None:
    time = FakeTime(until=10)
    rollup = Steps(time, WriterBacklog(), 0.0)
    rollup.run(time)
    assert [begun for begun, _ in rollup.runs] == pytest.approx(range(10))
    time = FakeTime(until=1)
    assert [begun for begun, _ in scans(time, WriterBacklog(), Rounds(time))] == [0.0] * 50


def test_gap_scan_without_work_keeps_its_period() -> None:
    time = FakeTime(until=130)
    assert [begun for begun, _ in scans(time, behind(TRADES), Rounds(time, more=False))] == pytest.approx([0, 60, 120])


def test_source_event_during_the_postponement_is_kept() -> None:
    time = At(59, 10.0, lambda: event.set())
    event = Event(time)
    rounds = scans(time, behind(TRADES), Rounds(time, more=False), event)
    assert rounds == [(0, True), (30, True)]


def test_yield_ends_when_the_last_of_several_writers_has_caught_up() -> None:
    backlog = behind(PRICES, TRADES)
    backlog.note(PRICES, False)
    time = At(4.4, 2.5, lambda: backlog.note(TRADES, False))
    rollup = Steps(time, backlog, 0.0)
    rollup.run(time)
    assert [begun for begun, _ in rollup.runs] == pytest.approx([0, 2.5, 3.5])


def test_stop_ends_a_postponement() -> None:
    time = FakeTime(until=2)
    assert scans(time, behind(TRADES), Rounds(time)) == [(0, True)]
    assert time.now <= 2.25


class Bus:
    """A bus without messages."""

    def open_group(self, *_: object, **__: object) -> None: ...

    def recount(self, *_: object, **__: object) -> None: ...

    def shards_of(self, channel: str) -> list[int]:
        return [0, 1]


class Queue:
    """A queue that returns one batch of `sizes` per read."""

    channel, table, other_tables, left_out = "prices", "prices", (), 0

    def __init__(self, *sizes: int, most: int = 10) -> None:
        self.sizes, self.most, self.shards = list(sizes), most, None

    def read(self, count: int, wait_ms: int, *, again: bool = False) -> list[int]:
        return [] if again or not self.sizes else list(range(self.sizes.pop(0)))

    def size(self, entries: list[int]) -> int:
        return len(entries)

    def store(self, cursor: object, entries: list[int]) -> dict[str, int]:
        return {}

    def settle(self, entries: list[int]) -> None: ...


class Store:
    def transaction(self) -> Any:
        return threading.Lock()  # any context manager


def writer(queue: Queue, backlog: WriterBacklog, **more: Any) -> Writer[Any]:
    return Writer(cast(Any, Bus()), cast(Any, Store()), BatchRule(5, 20), cast(Any, queue), backlog=backlog, **more)


def test_writer_is_behind_from_a_full_batch_to_one_that_is_not() -> None:
    backlog = WriterBacklog()
    filling = writer(Queue(9, 10, 10, 9, 10, 0), backlog)
    seen = []
    for _ in range(6):
        filling._gather(threading.Event())
        seen.append(backlog.behind)
    assert seen == [False, True, True, False, True, False]


def test_batch_that_is_filled_while_it_waits_is_no_backlog() -> None:
    backlog = WriterBacklog()
    entries = writer(Queue(4, 6), backlog)._gather(threading.Event())
    assert (len(entries), backlog.behind) == (10, False)


def test_one_of_two_writers_that_is_behind_is_enough() -> None:
    backlog = WriterBacklog()
    writers = [writer(Queue(10, 0), backlog), writer(Queue(6, 10, 0), backlog)]
    seen = []
    for each in (0, 1, 0, 1, 1):
        writers[each]._gather(threading.Event())
        seen.append(backlog.behind)
    assert seen == [True, True, False, True, False]


@pytest.mark.parametrize("last", ["ends", "has no shards"])
def test_writer_without_work_postpones_nothing(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backlog, stop = WriterBacklog(), threading.Event()
    seen: list[bool] = []

    def write(entries: object) -> int:
        seen.append(backlog.behind)
        if last == "ends":
            raise SystemExit
        return 10

    class Idle(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append(backlog.behind)
            self.set()
            return True

    shards = iter([[0], []])
    filling = writer(Queue(10), backlog, served=lambda: next(shards, []))
    monkeypatch.setattr(filling, "write_batch", write)
    if last == "ends":
        with pytest.raises(SystemExit):
            filling.run(stop)
    else:
        filling.run(Idle())
    assert seen[0], "the batch was full"
    assert not any([*seen[1:], backlog.behind])


def test_services_of_a_process_share_one_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[WriterBacklog] = []
    for kind in (Writer, RollUp, GapFiller):
        monkeypatch.setattr(kind, "run", lambda self, stop: found.append(self._backlog))
    context = JobContext(load({"SOURCES": "binance"}, dotenv=None), cast(Any, None), cast(Any, None), utc_now)
    services = scheduler.services(Feeding(context))
    for write in services.writers.values():
        write(context, lambda: [0])
    services.others[ROLL_UP](context)
    services.gaps(context, "binance")
    assert found == [context.measures.backlog] * 5
