"""The times of a gap filler's rounds, and the expected number of candles with weekends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.pacing import Stopped
from db.bus import BusError
from db.intervals import INTERVALS, candle_end, candle_start
from db.postgres import StoreError
from jobs.feeds.base import SourceError
from jobs.gaps.candles import expected
from jobs.gaps.filler import GapFiller
from jobs.runtime.source_events import SourceEvents


class FakeSourceEvent(threading.Event):
    """An event with waits that take no time.

    It is set at the times of `set_at`; `stop` is set at `until` seconds.
    """

    def __init__(self, stop: threading.Event, *, until: float, set_at: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.now = 0.0
        self._stop, self._until, self._set_at = stop, until, list(set_at)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a stop would have no effect"
        assert timeout <= 0.5, "a stop would take effect late"
        self.now += timeout
        if self.now >= self._until:
            self._stop.set()
        if self._set_at and self.now >= self._set_at[0]:
            self._set_at.pop(0)
            self.set()
        return self.is_set()


class Recorder:
    """A filling that runs one call of `script` per round, and none after the last."""

    def __init__(self, *script: Callable[[], bool]) -> None:
        self.script = list(script)
        self.rounds: list[tuple[float, bool]] = []  # (time, whether it follows a new connection)
        self.event: FakeSourceEvent | None = None

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        assert self.event is not None
        self.rounds.append((self.event.now, reconnected))
        return self.script.pop(0)() if self.script else False


def fails(error: Exception) -> Callable[[], bool]:
    def fail() -> bool:
        raise error

    return fail


def run(filling: Recorder, *, until: float, set_at: tuple[float, ...] = ()) -> list[tuple[float, bool]]:
    stop = threading.Event()
    event = filling.event = FakeSourceEvent(stop, until=until, set_at=set_at)
    GapFiller("test", filling, event, period=60.0, jitter=lambda: 1.0, monotonic=lambda: event.now).run(stop)
    return filling.rounds


def test_gap_filler_without_events_runs_at_the_start_and_every_period() -> None:
    assert run(Recorder(), until=130) == [(0, True), (60, False), (120, False)]


def test_gap_filler_runs_at_once_after_a_source_event() -> None:
    assert run(Recorder(), until=90, set_at=(10.0,)) == [(0, True), (10.0, True), (70.0, False)]


def test_source_event_during_a_round_causes_another_round() -> None:
    filling = Recorder()

    def set_event() -> bool:
        assert filling.event is not None
        filling.event.set()
        return False

    filling.script = [set_event]
    assert run(filling, until=30) == [(0, True), (0, True)]


def test_round_with_work_left_is_followed_at_once() -> None:
    assert run(Recorder(lambda: True, lambda: True), until=59) == [(0, True), (0, False), (0, False)]


@pytest.mark.parametrize(
    "error", [StoreError("away"), BusError("away"), SourceError("HTTP 503", fatal=False), ValueError("a bug"), KeyError("another")]
)
def test_failing_rounds_continue_with_growing_pauses(error: Exception) -> None:
    rounds = run(Recorder(*[fails(error)] * 4), until=13)
    assert [when for when, _ in rounds] == pytest.approx([0, 0.8, 2.4, 5.6, 12.0])


def test_success_resets_the_pause() -> None:
    rounds = run(Recorder(fails(StoreError("away")), lambda: True, fails(StoreError("away"))), until=2)
    assert [when for when, _ in rounds] == pytest.approx([0, 0.8, 0.8, 1.6])


def test_fatal_error_waits_a_whole_period() -> None:
    assert [when for when, _ in run(Recorder(fails(SourceError("HTTP 401", fatal=True))), until=61)] == [0, 60]


def test_stop_during_a_round_ends_the_gap_filler() -> None:
    filling = Recorder()
    stop = threading.Event()
    filling.event = FakeSourceEvent(stop, until=1000)

    def stopped() -> bool:
        stop.set()
        raise Stopped

    filling.script = [stopped]
    GapFiller("test", filling, filling.event).run(stop)
    assert len(filling.rounds) == 1


def test_source_event_is_per_source_and_stays_set() -> None:
    events = SourceEvents()
    events.set("binance")
    assert events.event("binance").is_set()
    assert not events.event("oanda").is_set()
    assert events.event("oanda") is events.event("oanda")


def trades_at(moment: datetime) -> bool:
    """Return whether the FX market is open: from Sunday to Friday, 17:00 New York."""
    local = moment.astimezone(ZoneInfo("America/New_York"))
    since_sunday = timedelta(days=local.isoweekday() % 7, hours=local.hour, minutes=local.minute, seconds=local.second)
    return timedelta(hours=17) <= since_sunday < timedelta(days=5, hours=17)


def enumerated(interval: str, start: datetime, end: datetime) -> int:
    count = 0
    while (following := candle_end("fx", interval, start)) <= end:
        count += trades_at(start)
        start = following
    return count


@given(
    interval=st.sampled_from(sorted(INTERVALS)),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001 - hypothesis requires naive bounds
    candles=st.integers(0, 60),
    more=st.integers(0, 10**6),
)
def test_expected_candles_are_those_of_open_market_hours(interval: str, moment: datetime, candles: int, more: int) -> None:
    start = candle_start("fx", interval, moment.replace(tzinfo=UTC))
    end = start + candles * INTERVALS[interval] + timedelta(seconds=more % INTERVALS[interval].total_seconds())
    found = expected(interval, start, end)
    # A 4-hour candle with a clock change has 3 or 5 hours; the estimate may be off by that.
    assert abs(found - enumerated(interval, start, end)) <= (1 if interval == "4h" else 0)
