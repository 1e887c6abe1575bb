"""The loop from a source to the bus: no loss, no duplicate, a state for every fault."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from config.settings import SourceSpec
from db.admitted import UsualBatch
from db.bus import BusError, BusFenced, BusFull
from db.bus.fence import NO_FENCE, Fence
from db.messages import Tick, Trade
from db.timestamps import format_time
from jobs.feeds.base import LONGEST_DELAY, BadInput, Source, SourceError, State, as_source_error
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.ingest import LONGEST_BUS_DELAY, Ingest, Ingestion
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import FORGET_REFUSALS_SECONDS, REFUSED_SECONDS, Reporter, Status
from tests.conftest import until
from tests.support.fake_time import FakeTime

CALENDARS = {"EUR_USD": "fx"}


def tick(number: int) -> Tick:
    return Tick("EUR_USD", f"1.{number}1", f"1.{number}3", f"1.{number}2", "2025-01-01T00:00:00.000000Z", "scripted")


def trade(number: int) -> Trade:
    return Trade("EUR_USD", number, "2025-01-01T00:00:00.000000Z", f"1.{number}2", "3", "buy")


class Scripted(Source[Any]):
    """Yields the numbers of its script, raises its exceptions; a restart takes the next entry."""

    def __init__(self, script: Iterable[int | Exception], name: str = "scripted") -> None:
        self.name = name
        self.fetches = 0
        self._script = iter(script)

    def fetch(self, stop: threading.Event) -> Generator[int, None, None]:
        self.fetches += 1
        for entry in self._script:
            if isinstance(entry, Exception):
                raise entry
            yield entry

    def parse(self, raw: int) -> Sequence[Tick | Trade]:
        return [tick(raw)] if raw >= 0 else []


class Trading(Scripted):
    """Each number is a trade and its price."""

    def parse(self, raw: int) -> Sequence[Tick | Trade]:
        return [trade(raw), tick(raw)]


class MemoryBus:
    """Accepts batches, or raises the next exception of `refusals`.

    The refusal `lost` means that the bus accepted the batch and its response was lost.
    """

    def __init__(self, *refusals: Exception | str | None) -> None:
        self.refusals = list(refusals)
        self.offered: list[str | None] = []
        self.fences: list[Fence] = []
        self.taken: dict[str | None, list[Tick]] = {}
        self.changes: list[tuple[str, str]] = []
        self.trades: dict[str, list[Trade]] = {}
        self.reporting: Exception | None = None

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None, *, fence: Fence = NO_FENCE) -> None:
        self.offered.append(batch_id)
        self.fences.append(fence)
        refusal = self.refusals.pop(0) if self.refusals else None
        if isinstance(refusal, Exception):
            raise refusal
        self.taken.setdefault(batch_id, list(ticks))
        if refusal == "lost":
            raise BusError("the answer was lost")

    def publish_trades(self, trades: Sequence[Trade] | UsualBatch, batch_id: str, *, fence: Fence = NO_FENCE) -> None:
        self.trades.setdefault(batch_id, list(trades))

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        if self.reporting is not None:
            raise self.reporting
        self.changes.append((name, state))

    def bids(self) -> list[str]:
        return [each.bid for batch in self.taken.values() for each in batch]


class Run:
    """A source that has run to its end on a manual clock, with all its states."""

    def __init__(self, source: Source[Any], bus: MemoryBus, *, max_attempts: int = 3, until: float = float("inf")) -> None:
        self.time = FakeTime(until)
        self.states: list[str] = []
        self.status = Status(source.name, self.time.utc, threading.Event())
        change = self.status.change

        def record(state: State, detail: str | None = None, *, server_text: str = "") -> None:
            change(state, detail, server_text=server_text)
            if self.states[-1:] != [state.value]:
                self.states.append(state.value)

        self.status.change = record  # type: ignore[method-assign]
        admission = SourceAdmission(self.status, CALENDARS, self.time.utc, monotonic=self.time.monotonic)
        Ingest(source, bus, self.status, admission, max_attempts=max_attempts, jitter=lambda: 1.0, monotonic=self.time.monotonic).run(
            self.time
        )


def transient() -> Exception:
    return as_source_error(ConnectionResetError("reset"))


def test_finite_source_is_published_whole_and_reported_as_ended() -> None:
    bus = MemoryBus()
    run = Run(Scripted([1, 2, -1, 3]), bus)
    assert bus.bids() == ["1.11", "1.21", "1.31"]
    assert run.states == ["connecting", "live", "ended"]
    report = run.status.report()
    assert (report["state"], report["ticks"], report["detail"]) == ("ended", 3, None)
    assert report["last_tick"] == report["since"] == "2025-11-18T00:00:00.000000Z"


@pytest.mark.parametrize("refusal", [BusError("away"), BusFull("full"), "lost"])
def test_refused_batch_is_published_again_under_the_same_id(refusal: Exception | str) -> None:
    bus = MemoryBus(None, *[refusal] * 20)
    run = Run(Scripted([1, 2, 3]), bus)
    assert bus.bids() == ["1.11", "1.21", "1.31"]
    first, second, third = dict.fromkeys(bus.offered)
    assert bus.offered == [first, *[second] * 21, third]
    assert run.time.waits[0] < 1
    assert max(run.time.waits) == LONGEST_BUS_DELAY
    counts, full = run.status.counts, isinstance(refusal, BusFull)
    assert {reason: number for reason, number in counts.retries.values().items() if number} == {("full" if full else "lost",): 20}
    batches, seconds = counts.publish.read()
    assert sum(batches) == 3
    assert seconds == pytest.approx(sum(run.time.waits)), "retries included"


def test_batch_ids_of_two_runs_differ() -> None:
    buses = [MemoryBus(), MemoryBus()]
    for bus in buses:
        Run(Scripted([1, 2]), bus)
    ids = [str(batch_id).rpartition("/") for bus in buses for batch_id in bus.offered]
    assert [number for _, _, number in ids] == ["1", "2", "1", "2"]
    assert ids[0][0] == ids[1][0] != ids[2][0]


def test_unavailable_bus_is_one_episode_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = Run(Scripted([1, 2]), MemoryBus(None, *[BusError("away")] * 9))
    assert run.states == ["connecting", "live", "backing_off", "live", "ended"]
    assert [record.__dict__["state"] for record in caplog.records] == ["live", "backing_off", "live", "ended"]
    assert "away" in caplog.records[1].__dict__["detail"]


def test_full_bus_with_single_acceptances_is_one_episode() -> None:
    bus = MemoryBus(*[BusFull("full"), None] * 50)
    run = Run(Scripted([*range(50)]), bus)
    assert len(bus.bids()) == 50
    assert run.states == ["connecting", "backing_off", "ended"]


def test_episode_of_a_full_bus_ends_after_continuous_acceptance() -> None:
    class Slow(Scripted):
        def fetch(self, stop: threading.Event) -> Generator[int, None, None]:
            for raw in super().fetch(stop):
                yield raw
                stop.wait(2)

    run = Run(Slow([*range(6)]), MemoryBus(BusFull("full")))
    assert run.states == ["connecting", "backing_off", "live", "ended"]


def test_stop_ends_the_retries_of_a_refused_batch() -> None:
    bus = MemoryBus(*[BusError("away")] * 1000)
    run = Run(Scripted([1, 2]), bus, until=20)
    assert bus.taken == {}
    assert len(set(bus.offered)) == 1
    assert run.states == ["connecting", "backing_off"]


def test_transient_fault_restarts_the_source() -> None:
    source, bus = Scripted([1, transient(), transient(), 2]), MemoryBus()
    run = Run(source, bus)
    assert bus.bids() == ["1.11", "1.21"]
    assert source.fetches == 3
    assert run.states == ["connecting", "live", "backing_off", "connecting", "backing_off", "connecting", "live", "ended"]
    assert run.time.waits == pytest.approx([0.8, 1.6])
    assert run.status.counts.errors.values() == {(source.name, "transient"): 2}
    assert run.status.counts.reconnects.values() == {(source.name,): 1}


def test_accepted_batch_resets_the_back_off() -> None:
    run = Run(Scripted([transient(), 1, transient(), 2, transient(), 3, transient()]), MemoryBus(), max_attempts=1)
    assert run.time.waits == pytest.approx([0.8] * 4)
    assert "down" not in run.states


def test_source_after_the_last_attempt_is_down_and_still_retries(caplog: pytest.LogCaptureFixture) -> None:
    bus = MemoryBus()
    run = Run(Scripted([*[transient() for _ in range(7)], 1]), bus, max_attempts=3)
    assert run.time.waits == pytest.approx([0.8, 1.6, 3.2, *[LONGEST_DELAY] * 4])
    assert run.states == [*["connecting", "backing_off"] * 3, "connecting", "down", "live", "ended"]
    assert bus.bids() == ["1.11"]
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_fatal_fault_makes_the_source_down_without_retry() -> None:
    source = Scripted([1, as_source_error(BadInput("the token was refused")), 2])
    run = Run(source, MemoryBus())
    assert source.fetches == 1
    assert run.states == ["connecting", "live", "down"]
    assert run.status.report()["detail"] == "the token was refused"
    assert (run.status.counts.errors.values(), run.status.counts.reconnects.values()) == ({(source.name, "fatal"): 1}, {})


@pytest.mark.parametrize("step", ["fetch", "parse", "publish"])
def test_unexpected_exception_is_logged_with_traceback_and_retried(step: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Scripted):
        def parse(self, raw: int) -> Sequence[Tick | Trade]:
            if step == "parse" and raw == 1:
                raise ZeroDivisionError
            return super().parse(raw)

    script: list[int | Exception] = [ZeroDivisionError(), 2] if step == "fetch" else [1, 2]
    bus = MemoryBus(*([ZeroDivisionError()] if step == "publish" else []))
    run = Run(Broken(script), bus)
    assert bus.bids() == (["1.11", "1.21"] if step == "publish" else ["1.21"])
    assert bus.offered[0] == bus.offered[1 if step == "publish" else 0]
    assert run.states == ["connecting", "backing_off", "connecting", "live", "ended"]
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


def test_stop_ends_the_wait_between_attempts() -> None:
    run = Run(Scripted([transient() for _ in range(1000)]), MemoryBus(), until=100)
    assert run.states[-1] == "down"
    assert run.time.now >= 100


def test_failing_publishes_of_changes_are_logged_once_until_one_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    bus, rounds = MemoryBus(), []
    status = Status("one", FakeTime().utc, threading.Event())
    reporter = Reporter(bus, [status], threading.Event(), lambda: rounds.append(1))
    for failure in (BusError("away"), BusError("away"), None, ZeroDivisionError("bug")):
        bus.reporting = failure
        status.change(State.LIVE if status.state is State.CONNECTING else State.CONNECTING)
        reporter.report()
    assert [state for _, state in bus.changes] == ["live", "connecting", "live"]
    outages = [record for record in caplog.records if "not published" in record.message and record.levelno == logging.WARNING]
    assert [bool(record.exc_info) for record in outages] == [False, True]
    assert len(rounds) == 4
    assert set(status.report()) == {"state", "since", "failing_since", "last_tick", "ticks", "trades", "refused", "detail"}


def test_failing_since_is_kept_while_the_source_tries_again() -> None:
    clock = FakeTime()
    status = Status("feed", clock.utc, threading.Event(), monotonic=clock.monotonic)
    assert status.report()["failing_since"] is None
    began = format_time(clock.utc())
    for state in (State.BACKING_OFF, State.CONNECTING, State.BACKING_OFF, State.DOWN):
        status.change(state)
        assert status.report()["failing_since"] == began
        clock.wait(7)
    status.change(State.LIVE)
    assert status.report()["failing_since"] is None


def test_source_is_stale_while_every_record_is_refused() -> None:
    clock = FakeTime()
    status = Status("feed", clock.utc, threading.Event(), monotonic=clock.monotonic)
    status.count_refused("bad_price")
    for _ in range(3):
        status.note_all_refused()
        status.enter_live()
        assert status.state is State.LIVE
        clock.wait(REFUSED_SECONDS / 3)
    clock.wait(REFUSED_SECONDS / 3)
    status.note_all_refused()
    status.enter_live()
    assert (status.state, "bad_price" in str(status.report()["detail"])) == (State.STALE, True)
    status.note_admitted()
    status.enter_live()
    assert status.state is State.LIVE
    status.note_all_refused()
    clock.wait(FORGET_REFUSALS_SECONDS + 1)
    status.note_all_refused()  # one bad record now and then
    status.enter_live()
    assert status.state is State.LIVE


class Endless(Source[int]):
    def __init__(self, name: str) -> None:
        self.name = name

    def fetch(self, stop: threading.Event) -> Generator[int, None, None]:
        yield 1
        stop.wait()

    def parse(self, raw: int) -> list[Tick]:
        return [tick(raw)]


def test_broken_source_does_not_affect_another() -> None:
    bus = MemoryBus()
    sources = [Endless("good"), Scripted([as_source_error(BadInput("bad token"))], "bad"), Scripted([1, 2], "short")]
    ingestion = Ingestion(sources, bus, calendars=CALENDARS, max_attempts=3, clock=FakeTime().utc)
    ingestion.start()
    wanted = {"good": "live", "bad": "down", "short": "ended"}
    until(lambda: {each.name: each.report()["state"] for each in ingestion.statuses} == wanted)
    assert {each.name: each.report()["ticks"] for each in ingestion.statuses} == {"good": 1, "bad": 0, "short": 2}
    assert ingestion.stop(60)  # the sources wait for it without an end
    assert {("good", "live"), ("bad", "down"), ("short", "ended")} <= set(bus.changes)


def test_bus_that_refuses_reports_still_receives_prices() -> None:
    bus = MemoryBus()
    bus.reporting = BusError("away")
    ingestion = Ingestion([Endless("good")], bus, calendars=CALENDARS, max_attempts=3, clock=FakeTime().utc)
    ingestion.start()
    until(lambda: bus.bids() == ["1.11"])
    assert ingestion.stop(60)


def test_refused_batch_repeats_trades_and_prices_together() -> None:
    bus = MemoryBus(BusError("away"), None, BusFull("full"), None)
    run = Run(Trading([1, 2]), bus)
    assert [each.trade_id for batch in bus.trades.values() for each in batch] == [1, 2]
    assert bus.bids() == ["1.11", "1.21"]
    assert list(bus.trades) == list(bus.taken)
    report = run.status.report()
    assert (report["ticks"], report["trades"]) == (2, 2)


def test_heartbeat_makes_a_source_live_and_counts_no_tick() -> None:
    run = Run(Scripted([-1, -1]), MemoryBus())
    assert run.states == ["connecting", "live", "ended"]
    assert (run.status.report()["ticks"], run.status.report()["last_tick"]) == (0, None)


def test_retry_after_of_an_error_is_waited_out() -> None:
    run = Run(Scripted([SourceError("HTTP 429: slow down", fatal=False, retry_after=17.0), 1]), MemoryBus())
    assert run.time.waits == [17.0]
    assert run.states == ["connecting", "backing_off", "connecting", "live", "ended"]


def test_silent_live_source_is_stale_until_its_next_message() -> None:
    clock = FakeTime()
    changes: list[str] = []
    status = Status("feed", clock.utc, threading.Event(), stale_after=10, link_changed=changes.append, monotonic=clock.monotonic)
    clock.wait(60)
    status.check_silence()
    assert status.state is State.CONNECTING  # no message is expected yet
    status.note_activity()
    status.change(State.LIVE)
    for seconds, state in ((9, State.LIVE), (2, State.STALE), (50, State.STALE)):
        clock.wait(seconds)
        status.check_silence()
        assert status.state is state
    status.note_activity()
    status.change(State.LIVE)
    status.check_silence()
    assert (status.state, changes) == (State.LIVE, ["feed", "feed"])


def test_state_changes_during_an_outage_of_the_bus_are_published_later() -> None:
    bus = MemoryBus()
    status = Status("one", FakeTime().utc, threading.Event())
    reporter = Reporter(bus, [status], threading.Event())
    bus.reporting = BusError("away")
    status.change(State.LIVE)
    status.change(State.BACKING_OFF, "reset")
    reporter.report()
    assert bus.changes == []
    bus.reporting = None
    status.change(State.LIVE)
    reporter.report()
    reporter.report()
    assert bus.changes == [("one", "live"), ("one", "backing_off"), ("one", "live")]


def test_last_change_before_the_stop_is_published() -> None:
    bus, stop = MemoryBus(), threading.Event()
    status = Status("one", FakeTime().utc, threading.Event())
    status.change(State.DOWN, "HTTP 401")
    stop.set()
    Reporter(bus, [status], threading.Event()).run(stop)
    assert bus.changes == [("one", "down")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_source_thread_that_dies_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[str] = []

    def link_changed(name: str) -> None:
        raise RuntimeError("a bug")

    sources = [Endless("good")]
    ingestion = Ingestion(
        sources,
        MemoryBus(),
        calendars=CALENDARS,
        max_attempts=3,
        clock=FakeTime().utc,
        link_changed=link_changed,
        thread_failed=failed.append,
    )
    ingestion.start()
    until(lambda: failed == ["ingest-good"])
    assert ingestion.stop(60)
    assert failed == ["ingest-good"]
    assert any(record.exc_info and record.levelname == "ERROR" for record in caplog.records)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_reporter_thread_that_dies_is_reported() -> None:
    failed: list[str] = []
    source = Endless("good")
    source.stale_after = 1.0
    ingestion = Ingestion([source], MemoryBus(), calendars=CALENDARS, max_attempts=3, clock=FakeTime().utc, thread_failed=failed.append)
    ingestion.statuses[0]._stale_after = cast(float, "not a number")
    ingestion.start()
    until(lambda: failed == ["ingest-reporter"])
    assert ingestion.stop(60)


class Market(Scripted):
    """Each number is a trade that many seconds after the clock's start.

    Prices are made of admitted trades.
    """

    def parse(self, raw: int) -> Sequence[Tick | Trade]:
        moment = format_time(FakeTime().utc() + timedelta(seconds=raw))
        return [Trade("EUR_USD", 1, "2025-01-01T00:00:00.000000Z", "1.5", "3", "buy"), Trade("EUR_USD", raw, moment, "1.7", "4", "buy")]

    def prices(self, raw: int, trades: Sequence[Trade] | UsualBatch) -> Sequence[Tick]:
        trades = list(trades)
        return [Tick("EUR_USD", "1", "2", trades[-1].price, trades[-1].time, self.name, str(len(trades)))]


def test_refused_trade_is_counted_and_is_in_no_price() -> None:
    bus = MemoryBus()
    run = Run(Market([10, 301, 10**9]), bus)
    assert [[each.trade_id for each in batch] for batch in bus.trades.values()] == [[1, 10], [1], [1]]
    assert [(tick.mid, tick.volume) for batch in bus.taken.values() for tick in batch] == [("1.7", "2"), ("1.5", "1"), ("1.5", "1")]
    report = run.status.report()
    assert (report["trades"], report["ticks"], report["refused"]) == (4, 3, {"time_in_future": 2})


class Ahead(Scripted):
    """Each number is one price that many seconds ahead of the clock; None is a heartbeat.

    A second passes after each.
    """

    def __init__(self, script: Iterable[int | None], time: FakeTime) -> None:
        super().__init__([])
        self._numbers, self._time = script, time

    def fetch(self, stop: threading.Event) -> Generator[int | None, None, None]:  # type: ignore[override]
        for number in self._numbers:
            yield number
            self._time.now += 1

    def parse(self, raw: int | None) -> Sequence[Tick | Trade]:
        if raw is None:
            return []
        return [replace(tick(1), time=format_time(self._time.utc() + timedelta(seconds=raw)))]


def states_of(script: Iterable[int | None]) -> tuple[list[tuple[str, str | None]], Status]:
    time = FakeTime()
    status = Status("ahead", time.utc, threading.Event(), monotonic=time.monotonic)
    admission = SourceAdmission(status, CALENDARS, time.utc, monotonic=time.monotonic)
    Ingest(Ahead(script, time), MemoryBus(), status, admission, max_attempts=3, monotonic=time.monotonic).run(time)
    return [(state.value, detail) for state, detail in status.changes], status


def test_source_whose_times_are_ahead_for_thirty_seconds_is_stale(caplog: pytest.LogCaptureFixture) -> None:
    detail = "the source's times are 400 s ahead of this machine's clock: check the clock"
    with caplog.at_level(logging.ERROR):
        states, status = states_of([0, *[400] * 40, None, 400])
    assert states == [("connecting", None), ("live", None), ("stale", detail), ("ended", None)][1:]
    assert len(caplog.records) == 1
    assert status.report()["refused"] == {"time_in_future": 41}


def test_admitted_record_ends_the_state_stale() -> None:
    states, _ = states_of([*[400] * 32, None, 0, 400])
    assert [state for state, _ in states] == ["live", "stale", "live", "ended"]


@pytest.mark.parametrize("script", [[400] * 30, [400, *[None] * 60], [*[400] * 20, 0, *[400] * 20], [*[300] * 40]])
def test_source_with_few_times_ahead_stays_live(script: list[int | None]) -> None:
    states, _ = states_of(script)
    assert [state for state, _ in states] == ["live", "ended"]


def test_refused_lines_of_a_replay_are_counted_in_its_report(tmp_path: Path) -> None:
    bad = ["2020-01-01T00:00:00Z,1.1", "2020-01-01T00:00:00Z,1.3,1.2", "2099-01-01T00:00:00Z,1.1,1.2", "x,1,2"]
    file = tmp_path / "EUR_USD.csv"
    file.write_text("\n".join(["time,bid,ask", "2020-01-01T00:00:00Z,1.1,1.2", *bad]))
    source = ReplaySource(SourceSpec("replay", file, None), CALENDARS, clock=lambda: datetime(2021, 1, 1, tzinfo=UTC))
    bus = MemoryBus()
    run = Run(source, bus)
    assert bus.bids() == ["1.1"]
    assert run.status.report()["refused"] == source.refusals.counts == {"unreadable": 2, "bad_price": 1, "time_in_future": 1}


def test_refusals_are_logged_once_per_kind_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        states_of([400] * 25 + [0] + [400] * 25 + [0] + [400] * 25)
    lines = [vars(record) for record in caplog.records if record.levelname == "WARNING"]
    assert [(line["kind"], line["count"]) for line in lines] == [("time_in_future", 1), ("time_in_future", 58)]


class Permitted:
    """A permit whose number rises if `renews`, when the bus has refused it."""

    def __init__(self, *, renews: bool) -> None:
        self.fence = Fence("source:one", 1)
        self.refused: list[tuple[Fence, int]] = []
        self._renews = renews

    def refuse(self, fence: Fence, stored: int) -> None:
        self.refused.append((fence, stored))
        if self._renews:
            self.fence = Fence("source:one", stored + 1)


@pytest.mark.parametrize("renews", [True, False])
def test_fenced_batch_is_published_again_under_a_higher_number_or_never(renews: bool) -> None:
    time, bus = FakeTime(20), MemoryBus(None, BusFenced(7))
    status, permit = Status("one", time.utc, threading.Event()), Permitted(renews=renews)
    admission = SourceAdmission(status, CALENDARS, time.utc, monotonic=time.monotonic)
    source = Scripted([1, 2, 3])
    Ingest(source, bus, status, admission, max_attempts=3, permit=permit, jitter=lambda: 1.0, monotonic=time.monotonic).run(time)
    assert permit.refused == [(Fence("source:one", 1), 7)]
    assert bus.bids() == (["1.11", "1.21", "1.31"] if renews else ["1.11"])
    assert [fence.number for fence in bus.fences] == ([1, 1, 8, 8] if renews else [1, 1])
    assert status.counts.retries.values()["fenced",] == 1
