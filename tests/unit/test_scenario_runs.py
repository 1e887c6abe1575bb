"""The record of a run, its overloads and its shadow book: hand-made time lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from db.scenarios.model import Fault, Phase, Scenario
from jobs.books.play.runs import MAX_TIMELINE, Overloads, Run, Sight
from jobs.books.play.shadow import ShadowBooks
from jobs.feeds.scenario.messages import Played
from jobs.feeds.scenario.speeds import Speeds
from jobs.feeds.scenario.triggers import Effects
from tests.support.even_recordings import even_recording, shipped
from tests.support.small_books import SmallLevels
from tests.support.virtual_time import STARTED, play


def overloads(name: str) -> Overloads:
    scenario = shipped(name)
    return Overloads(Speeds(scenario.phases, repeat=scenario.repeat), rate=10, mean_delay=scenario.mean_delay)


def run_of(scenario: Scenario, effects: Effects | None = None) -> Run:
    speeds = Speeds(scenario.phases, repeat=scenario.repeat)
    return Run(
        "run", scenario, STARTED, speeds=speeds, effects=effects or Effects({}),
        overloads=Overloads(speeds, rate=10, mean_delay=scenario.mean_delay),
    )  # fmt: skip


def observe(run: Run, statuses: Iterable[tuple[float, str]]) -> None:
    for now, status in statuses:
        run.observe(now, Sight(status, 0, 0.0))  # type: ignore[arg-type]


def each_second(begin: int, end: int, bad: Sequence[int] = ()) -> list[tuple[float, str]]:
    return [(float(now), "degraded" if now in bad else "healthy") for now in range(begin, end)]


def test_overload_of_burst_mode_is_the_burst_of_each_cycle() -> None:
    found = overloads("burst-mode")
    assert found.first == 25
    assert [found.active(now) for now in (24, 25, 29.9, 30, 56)] == [False, True, True, False, True]
    assert [found.last_end(now) for now in (24, 27, 31, 59, 60, 3_000)] == [None, None, 30, 30, 60, 3_000]


def test_overload_of_gradual_spike_is_one_span_over_its_phases() -> None:
    found = overloads("gradual-spike")
    # The speed is 10 at 120 · 9/19 s, and at 150 + 60 · 10/19 s.
    assert found.first == pytest.approx(120 * 9 / 19)
    assert found.last_end(180) is None
    assert found.last_end(1_000) == pytest.approx(150 + 60 * 10 / 19)
    assert [found.active(now) for now in (56, 57, 130, 181, 182)] == [False, True, True, True, False]


@pytest.mark.parametrize("delay", [(0.0, 0.0), (1.0, 1.0)])
def test_worker_that_is_fast_enough_is_never_overloaded(delay: tuple[float, float]) -> None:
    scenario = replace(shipped("burst-mode"), delay_ms=delay)
    found = Overloads(Speeds(scenario.phases, repeat=True), rate=10, mean_delay=scenario.mean_delay)
    assert (found.first, found.active(27), found.last_end(40)) == (None, False, None)


def test_detection_and_recovery_are_counted_from_the_fault() -> None:
    effects = Effects({})
    run = run_of(shipped("stable-mode"), effects)
    observe(run, each_second(0, 10, bad=[3]))  # before any fault: no detection
    effects.note("silence", 10.5, 14.5)
    observe(run, each_second(10, 30, bad=[12, 13, 14, 15, 16]))
    record = run.record()
    assert (record.detect_seconds, record.recover_seconds) == (1.5, 2.5)


def test_recovery_needs_five_healthy_seconds() -> None:
    effects = Effects({})
    run = run_of(shipped("stable-mode"), effects)
    effects.note("drop", 1.0, 1.0)
    observe(run, each_second(1, 10, bad=[1, 2, 5, 6]))
    assert run.record().recover_seconds is None
    observe(run, each_second(10, 13))
    assert run.record().recover_seconds == 6.0  # healthy since 7 s


def test_fault_that_changes_no_status_is_recovered_at_once() -> None:
    effects = Effects({})
    run = run_of(shipped("stable-mode"), effects)
    effects.note("duplicate", 3.5, 3.5)
    observe(run, each_second(0, 10))
    assert (run.record().detect_seconds, run.record().recover_seconds) == (None, 0.0)


def test_fault_in_progress_is_not_recovered() -> None:
    effects = Effects({})
    run = run_of(shipped("stable-mode"), effects)
    effects.note("slow_bus", 1.0, 60.0)
    observe(run, each_second(0, 30))
    assert run.record().recover_seconds is None


def test_recovery_of_the_newest_overload_counts() -> None:
    run = run_of(shipped("burst-mode"))
    observe(run, each_second(0, 100, bad=[26, 27, 28, 29, 30, 31, 32, 33, 34, 57, 58, 59, 60, 61]))
    assert (run.record().detect_seconds, run.record().recover_seconds) == (1.0, 0.0)  # the third burst is not noticed


def test_run_is_finished_after_its_phases_and_five_healthy_seconds() -> None:
    scenario = replace(shipped("extreme-spike"), phases=(Phase(10, 1, 1),))
    run = run_of(scenario)
    observe(run, each_second(0, 20, bad=[9, 10, 11]))
    assert [run.finished(now) for now in (9, 16, 17)] == [False, False, True]


def test_repeated_run_never_finishes() -> None:
    run = run_of(shipped("stable-mode"))
    observe(run, each_second(0, 200))
    assert not run.finished(200)


def test_peaks_and_counts_are_recorded() -> None:
    run = run_of(shipped("stable-mode"))
    for now, size, lag in ((0, 5, 0.5), (1, 700, 2.25), (2, 3, 0.1)):
        run.observe(now, Sight("healthy", size, lag))
    for change in (
        ("syncing", "live", "start"), ("live", "gap", "crossed"), ("gap", "resyncing", "crossed"), ("resyncing", "live", "crossed"),
        ("live", "resyncing", "scenario"), ("resyncing", "live", "scenario"), ("live", "stale", "silent"), ("stale", "live", "silent"),
    ):  # fmt: skip
        run.note_state(*change)
    record = run.record(outcome="switched")
    assert (record.peak_queue, record.peak_lag_ms, record.gaps, record.resyncs, record.outcome) == (700, 2250.0, 1, 1, "switched")
    assert record.parameters == shipped("stable-mode").body()
    assert (record.scenario, record.seed, record.started, record.ended) == ("stable-mode", 1, STARTED, None)


def test_timeline_has_one_entry_a_second() -> None:
    run = run_of(shipped("gradual-spike"))
    for number in range(1, 601):
        run.observe(number / 4, Sight("healthy", number, 0.5, {"BTCUSDT": "live"}))
    timeline = run.record().timeline
    assert [entry["second"] for entry in timeline] == list(range(151))
    assert timeline[60] == {
        "second": 60, "phase": 0, "speed": 10.5, "status": "healthy", "queue": 240, "lag_ms": 500.0, "books": {"BTCUSDT": "live"},
    }  # fmt: skip
    assert [timeline[at]["phase"] for at in (119, 120, 150)] == [0, 1, 2]


def test_timeline_keeps_the_newest_hour() -> None:
    run = run_of(shipped("stable-mode"))
    observe(run, each_second(0, MAX_TIMELINE + 50))
    timeline = run.record().timeline
    assert (len(timeline), timeline[0]["second"]) == (MAX_TIMELINE, 50)


def diff(first: int, last: int, bids: str) -> Played:
    text = b'{"data":{"U":%d,"u":%d,"b":%b,"a":[]}}' % (first, last, bids.encode())
    return Played(0.0, "diff", "BTCUSDT", text, 0, first, last)


BASE = b'{"lastUpdateId":10,"bids":[["5","1"],["4","1"]],"asks":[["6","1"]]}'


def shadow_at_10() -> ShadowBooks:
    shadow = ShadowBooks(SmallLevels)
    shadow.follow(Played(0.0, "restart", "BTCUSDT", b"", 0, 10, 10, base=BASE))
    shadow.follow(diff(9, 10, '[["3","9"]]'))  # older than the snapshot
    shadow.follow(diff(11, 12, '[["5","2"]]'))
    shadow.follow(diff(13, 15, '[["5","0"]]'))
    return shadow


def test_shadow_stands_where_the_published_book_stands() -> None:
    shadow = shadow_at_10()
    assert shadow.check("BTCUSDT", 10, [["5", "1"], ["4", "1"]], [["6", "1"]])
    assert shadow.check("BTCUSDT", 12, [["5", "2"]], [["6", "1"]])
    assert shadow.check("BTCUSDT", 15, [["4", "1"]], [["6", "1"]])
    assert (shadow.checked, shadow.wrong, shadow.unchecked) == (3, 0, 0)


@pytest.mark.parametrize(
    ("bids", "asks"),
    [
        ([["5", "1"]], [["6", "1"]]),
        ([["5", "2"], ["4", "1"], ["3", "9"]], [["6", "1"]]),
        ([["4", "1"]], [["6", "1"]]),
        ([["5", "2"]], [["7", "1"]]),
    ],
)
def test_book_that_differs_is_wrong(bids: list[list[str]], asks: list[list[str]]) -> None:
    shadow = shadow_at_10()
    assert not shadow.check("BTCUSDT", 12, bids, asks)
    assert shadow.wrong == 1


@pytest.mark.parametrize("update_id", [9, 11, 14])
def test_id_inside_a_diff_is_not_compared(update_id: int) -> None:
    shadow = shadow_at_10()
    assert shadow.check("BTCUSDT", update_id, [], [])
    assert (shadow.checked, shadow.unchecked) == (0, 1)


def test_run_with_a_fault_has_all_its_figures() -> None:
    faults = (Fault("disconnect", at=20, seconds=6), Fault("drop", at=40))
    played = play(replace(shipped("stable-mode"), faults=faults), [even_recording(60, levels=6)], 60, real=True)
    record = played.record
    assert (record.gaps, record.resyncs, record.wrong_books) == (1, 2, 0)
    assert record.detect_seconds == pytest.approx(0, abs=0.3)
    # The last fault is the drop; its gap ends within 200 ms, between two observations.
    assert record.recover_seconds == pytest.approx(0, abs=0.3)
    states = [entry["books"]["BTCUSDT"] for entry in record.timeline if entry["second"] in (10, 22, 30)]
    assert states == ["live", "stale", "live"]
