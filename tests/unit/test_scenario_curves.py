"""Queue and status of the four scenarios against dw/dt = λ(t) - μ, integrated by NumPy."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from db.scenarios.recording import Recording, read_recording
from db.scenarios.unpacking import lines_of, unpacked
from tests.support.even_recordings import even_recording, shipped
from tests.support.expected_queue import Expected, at_steps, expected_queue, status_changes
from tests.support.virtual_time import PlayedRun, play

STEP = 0.25  # seconds between two observations of a run
# name -> seconds to play
SECONDS = {"stable-mode": 120, "burst-mode": 90, "gradual-spike": 290, "extreme-spike": 100}
REAL = Path(__file__).resolve().parents[2] / "data" / "recordings" / "btcusdt_20240808.gz"
# Of nine messages of the recording, one is a diff and eight are tickers, which no queue
# holds. These scenarios prove that; the faster ones play the diffs alone, at the same times.
WITH_TICKERS = ("stable-mode", "burst-mode")


@cache
def recording(kind: str, *, tickers: bool) -> Recording:
    if kind == "even":
        return even_recording(60)
    lines = lines_of(unpacked([REAL.read_bytes()]))
    return read_recording(REAL.name, lines if tickers else [line for line in lines if b"@bookTicker" not in line[:80]])


@cache
def played(name: str, kind: str) -> PlayedRun:
    return play(shipped(name), [recording(kind, tickers=name in WITH_TICKERS)], SECONDS[name], step=STEP)


@cache
def expected(name: str, kind: str) -> Expected:
    return expected_queue(name, recording(kind, tickers=name in WITH_TICKERS), SECONDS[name])


@pytest.mark.parametrize("kind", ["even", "real"])
@pytest.mark.parametrize("name", ["stable-mode", "burst-mode", "gradual-spike"])
def test_queue_follows_the_closed_form(name: str, kind: str) -> None:
    run, of = played(name, kind), expected(name, kind)
    queue, w = np.array(run.queue), at_steps(of.w, run.times)
    wanted = at_steps(of.queue, run.times)
    # A few messages around an empty queue are no deviation of a continuous curve.
    assert np.all(np.abs(queue - wanted) <= np.maximum(0.1 * wanted, 4))
    delay = shipped(name).mean_delay
    assert np.all(np.abs(np.array(run.lag) - w * delay) <= np.maximum(0.1 * w * delay, 4 * delay))


@pytest.mark.parametrize("kind", ["even", "real"])
@pytest.mark.parametrize("name", ["stable-mode", "burst-mode", "gradual-spike"])
def test_status_changes_within_two_seconds(name: str, kind: str) -> None:
    found, wanted = played(name, kind).changes(), status_changes(expected(name, kind), name)
    assert [status for _, status in found] == [status for _, status in wanted]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in wanted], abs=2)


@pytest.mark.parametrize("kind", ["even", "real"])
def test_extreme_spike_empties_the_queue_as_often_as_the_closed_form(kind: str) -> None:
    run, of = played("extreme-spike", kind), expected("extreme-spike", kind)
    assert run.flow.queue.counts.overflows == pytest.approx(of.overflows, abs=1)
    # Between two overflows the queue grows like w: compare at equal times since the last one.
    found = [time for time, _, state, reason in run.books.books["BTCUSDT"].changes if (state, reason) == ("gap", "overflow")]
    wanted = of.times[1:][np.diff(of.w) < -1_000]
    periods = np.diff(found), np.diff(wanted)
    common = min(map(len, periods))
    assert periods[0][:common] == pytest.approx(periods[1][:common], rel=0.1)
    assert found[0] == pytest.approx(wanted[0], rel=0.1)


# The values of the table in section 11, for ten messages a second.


def first(run: PlayedRun, status: str) -> float:
    return next(time for time, each in run.changes() if each == status)


def test_stable_mode_stays_healthy() -> None:
    for kind in ("even", "real"):
        run = played("stable-mode", kind)
        assert max(run.queue) <= 2
        assert {each for _, each in run.changes()} == {"healthy"}
        assert (run.record.detect_seconds, run.record.recover_seconds) == (None, None)


def test_burst_mode_has_the_values_of_the_table() -> None:
    run = played("burst-mode", "even")
    assert run.flow.queue.counts.peak == pytest.approx(500, rel=0.1)
    assert max(run.lag) == pytest.approx(5, rel=0.1)
    burst = [(size, time) for size, time in zip(run.queue, run.times, strict=True) if 30 <= time < 55]
    assert next(time for size, time in burst if size <= 1) == pytest.approx(35.6, abs=0.6)
    changes = run.changes()
    degraded = [after - before for (before, status), (after, _) in pairwise(changes) if status == "degraded"]
    assert degraded == pytest.approx([8.4] * len(degraded), abs=0.5)
    assert {status for _, status in changes} == {"healthy", "degraded"}
    assert run.record.gaps == 0
    # Lag is above 1 s from 1 s after the begin of the burst until 4.4 s after its end.
    assert run.record.detect_seconds == pytest.approx(1, abs=0.5)
    assert run.record.recover_seconds == pytest.approx(4.4, abs=0.5)


def test_gradual_spike_has_the_values_of_the_table() -> None:
    run = played("gradual-spike", "even")
    assert first(run, "degraded") == pytest.approx(68, abs=2)
    assert first(run, "unhealthy") == pytest.approx(104, abs=2)
    sizes = list(zip(run.times, run.queue, strict=True))
    assert next(time for time, size in sizes if size > 1_000) == pytest.approx(92, abs=2)
    assert next(time for time, size in sizes if size >= 1_999) == pytest.approx(107, abs=2)
    assert max(run.lag) == pytest.approx(77, rel=0.05)
    assert run.times[run.lag.index(max(run.lag))] == pytest.approx(182, abs=2)
    last, status = run.changes()[-1]
    assert status == "healthy"
    assert last == pytest.approx(281, abs=2)
    assert run.record.gaps == 0
    assert run.run.finished(SECONDS["gradual-spike"])
    # More is due than processed from 56.8 s to 181.6 s.
    assert run.record.detect_seconds == pytest.approx(68.1 - 56.8, abs=1)
    assert run.record.recover_seconds == pytest.approx(280.6 - 181.6, abs=1)


def test_extreme_spike_has_the_values_of_the_table() -> None:
    run = played("extreme-spike", "even")
    assert first(run, "unhealthy") == pytest.approx(11.9, abs=0.5)
    changes = run.books.books["BTCUSDT"].changes
    assert changes[1][0] == pytest.approx(12.1, abs=0.2)
    assert run.record.gaps == run.record.resyncs == pytest.approx(14, abs=1)
    assert {reason for _, _, _, reason in changes} == {"start", "overflow", "scenario"}  # the recording starts again
    healthy, status = run.changes()[-1]
    assert status == "healthy"
    assert healthy - 40 == pytest.approx(25, abs=2)
    assert run.record.recover_seconds == pytest.approx(25, abs=2)
    assert run.record.detect_seconds == pytest.approx(0, abs=0.5)


def test_extreme_spike_with_the_recording_recovers_in_70_seconds() -> None:
    time, status = played("extreme-spike", "real").changes()[-1]
    assert status == "healthy"
    assert 40 <= time <= 110
