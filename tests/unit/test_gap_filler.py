"""When gaps are looked for, and that nothing ends it; how many candles a market that closes at weekends should have."""

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


class Bell(threading.Event):
    """A bell whose waits take no time; it rings by itself at the times of `rings`, and stops everything at `until` seconds."""

    def __init__(self, stop: threading.Event, *, until: float, rings: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.now = 0.0
        self._stop, self._until, self._rings = stop, until, list(rings)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None, "a stop would not be noticed"
        assert timeout <= 0.5, "a stop would be noticed late"
        self.now += timeout
        if self.now >= self._until:
            self._stop.set()
        if self._rings and self.now >= self._rings[0]:
            self._rings.pop(0)
            self.set()
        return self.is_set()


class Recorder:
    """A filling that does what `script` says, round after round, and nothing when that is over."""

    def __init__(self, *script: Callable[[], bool]) -> None:
        self.script = list(script)
        self.rounds: list[tuple[float, bool]] = []  # when, and whether after a connection was made
        self.bell: Bell | None = None

    def round(self, reconnected: bool, stop: threading.Event) -> bool:
        assert self.bell is not None
        self.rounds.append((self.bell.now, reconnected))
        return self.script.pop(0)() if self.script else False


def fails(error: Exception) -> Callable[[], bool]:
    def fail() -> bool:
        raise error

    return fail


def run(filling: Recorder, *, until: float, rings: tuple[float, ...] = ()) -> list[tuple[float, bool]]:
    stop = threading.Event()
    bell = filling.bell = Bell(stop, until=until, rings=rings)
    GapFiller("test", filling, bell, period=60.0, jitter=lambda: 1.0, monotonic=lambda: bell.now).run(stop)
    return filling.rounds


def test_it_looks_at_the_start_and_every_period() -> None:
    assert run(Recorder(), until=130) == [(0, True), (60, False), (120, False)]


def test_a_source_that_comes_live_is_looked_after_at_once() -> None:
    assert run(Recorder(), until=90, rings=(10.0,)) == [(0, True), (10.0, True), (70.0, False)]


def test_a_ring_during_a_round_is_not_lost() -> None:
    filling = Recorder()

    def ring() -> bool:
        assert filling.bell is not None
        filling.bell.set()
        return False

    filling.script = [ring]
    assert run(filling, until=30) == [(0, True), (0, True)]


def test_what_is_not_done_goes_on_at_once() -> None:
    assert run(Recorder(lambda: True, lambda: True), until=59) == [(0, True), (0, False), (0, False)]


@pytest.mark.parametrize(
    "error", [StoreError("away"), BusError("away"), SourceError("HTTP 503", fatal=False), ValueError("a bug"), KeyError("another")]
)
def test_no_failure_ends_it_and_each_is_followed_by_a_longer_pause(error: Exception) -> None:
    rounds = run(Recorder(*[fails(error)] * 4), until=13)
    assert [when for when, _ in rounds] == pytest.approx([0, 0.8, 2.4, 5.6, 12.0])


def test_after_a_success_pauses_begin_anew() -> None:
    rounds = run(Recorder(fails(StoreError("away")), lambda: True, fails(StoreError("away"))), until=2)
    assert [when for when, _ in rounds] == pytest.approx([0, 0.8, 0.8, 1.6])


def test_what_only_an_operator_can_mend_is_not_asked_for_again_and_again() -> None:
    assert [when for when, _ in run(Recorder(fails(SourceError("HTTP 401", fatal=True))), until=61)] == [0, 60]


def test_stop_ends_it_even_in_the_middle_of_a_round() -> None:
    filling = Recorder()
    stop = threading.Event()
    filling.bell = Bell(stop, until=1000)

    def stopped() -> bool:
        stop.set()
        raise Stopped

    filling.script = [stopped]
    GapFiller("test", filling, filling.bell).run(stop)
    assert len(filling.rounds) == 1


def test_each_source_has_its_own_bell_and_a_ring_waits_for_its_listener() -> None:
    events = SourceEvents()
    events.set("binance")
    assert events.event("binance").is_set()
    assert not events.event("oanda").is_set()
    assert events.event("oanda") is events.event("oanda")


def trades_at(moment: datetime) -> bool:
    """Whether the FX market is open: from Sunday to Friday, 17:00 New York."""
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
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001 - hypothesis wants it so
    candles=st.integers(0, 60),
    more=st.integers(0, 10**6),
)
def test_expected_candles_are_those_of_the_hours_in_which_there_is_a_market(
    interval: str, moment: datetime, candles: int, more: int
) -> None:
    start = candle_start("fx", interval, moment.replace(tzinfo=UTC))
    end = start + candles * INTERVALS[interval] + timedelta(seconds=more % INTERVALS[interval].total_seconds())
    found = expected(interval, start, end)
    # A 4-hour candle in which the clocks change has 3 or 5 hours; of an estimate that much may be off.
    assert abs(found - enumerated(interval, start, end)) <= (1 if interval == "4h" else 0)
