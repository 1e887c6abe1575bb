"""Every row of the table of transitions, and the cases between the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.books.parts.states import State, StateChange
from tests.support.book_rig import ASKS, BIDS, Rig

Steps = Callable[[Rig], list[Any]]


def syncing(rig: Rig) -> None:
    rig.call("connected")
    assert rig.diff(100) == ["request"]


def live(rig: Rig) -> None:
    rig.live()


def resyncing(rig: Rig) -> None:
    rig.live().call("bad_message")


def thin(rig: Rig) -> None:
    rig.live().diff(101, bids=[["9", "0"], ["8", "0"]])


def silent(rig: Rig) -> None:
    rig.live().wait(5.0)


def disconnected(rig: Rig) -> None:
    rig.live().call("disconnected")


def broken(reason: str, *more: Any) -> list[Any]:
    return [("live", "gap", reason), ("gap", "resyncing", reason), *more]


TRANSITIONS: list[tuple[str, Callable[[Rig], None], Steps, list[Any]]] = [
    ("snapshot joins, syncing", syncing, lambda rig: rig.join(100), [("syncing", "live", "start"), "snapshot start"]),
    (
        "snapshot joins, resyncing",
        resyncing,
        lambda rig: rig.diff(102) + rig.join(102),
        [("resyncing", "live", "bad_message"), "snapshot bad_message"],
    ),
    ("update id is missing", live, lambda rig: rig.diff(102), broken("missing_update", "request")),
    ("best bid above best ask", live, lambda rig: rig.diff(101, bids=[["11.5", "1"]]), broken("crossed", "request")),
    ("best bid equals best ask", live, lambda rig: rig.diff(101, asks=[["9.00", "1"]]), broken("crossed", "request")),
    (
        "audit finds a difference",
        live,
        lambda rig: rig.diff(101) + rig.ticker(101, ["9", "2"], ["11", "1"]) + rig.ticker(102, ["9", "1"], ["11", "1"]),
        ["update", *broken("diverged", "request")],
    ),
    ("queue is full", live, lambda rig: rig.call("overflow"), broken("overflow", "request")),
    ("depth message cannot be parsed", live, lambda rig: rig.call("bad_message"), broken("bad_message", "request")),
    (
        "price with 16 significant digits",
        live,
        lambda rig: rig.diff(101, bids=[["8.123456789012345", "1"]]),
        broken("bad_message", "request"),
    ),
    (
        "side without a proven level",
        live,
        lambda rig: rig.diff(101, bids=[["9", "0"], ["8", "0"]]),
        [("live", "resyncing", "thin"), "request"],
    ),
    ("both sides have levels again", thin, lambda rig: rig.diff(102, bids=[["8", "3"]]), [("resyncing", "live", "thin"), "snapshot thin"]),
    ("silence", live, lambda rig: rig.wait(5.0), [("live", "stale", "silent")]),
    (
        "older event times",
        live,
        lambda rig: rig.pass_time(4.0) + rig.diff(101, late=3.0) + rig.pass_time(4.0) + rig.diff(102, late=5.0),
        ["update", ("live", "stale", "silent")],
    ),
    ("connection lost", live, lambda rig: rig.call("disconnected"), [("live", "stale", "disconnected")]),
    ("stale, chain continues", silent, lambda rig: rig.diff(101), [("stale", "live", "silent"), "snapshot silent"]),
    ("stale, chain is broken", silent, lambda rig: rig.diff(102), [("stale", "resyncing", "silent"), "request"]),
    ("stale, bad message", silent, lambda rig: rig.call("bad_message"), [("stale", "resyncing", "silent"), "request"]),
    (
        "stale, another connection",
        silent,
        lambda rig: rig.call("disconnected") + rig.call("connected") + rig.diff(101),
        [("stale", "resyncing", "silent"), "request"],
    ),
    (
        "connected again",
        disconnected,
        lambda rig: rig.call("connected") + rig.diff(101) + rig.diff(102) + rig.join(102),
        [("stale", "resyncing", "disconnected"), "request", ("resyncing", "live", "disconnected"), "snapshot disconnected"],
    ),
    (
        "connected without a loss before",
        live,
        lambda rig: rig.call("connected"),
        [("live", "stale", "disconnected"), ("stale", "resyncing", "disconnected")],
    ),
    (
        "request fails, syncing",
        syncing,
        lambda rig: rig.failed() + rig.wait(0.4) + rig.wait(0.1),
        [("syncing", "syncing", "snapshot_failed"), "request"],
    ),
    (
        "request fails, resyncing",
        resyncing,
        lambda rig: rig.failed() + rig.wait(0.5),
        [("resyncing", "resyncing", "snapshot_failed"), "request"],
    ),
    ("queue is full, syncing", syncing, lambda rig: rig.call("overflow"), [("syncing", "syncing", "overflow"), "request"]),
    ("queue is full, resyncing", resyncing, lambda rig: rig.call("overflow"), [("resyncing", "resyncing", "overflow"), "request"]),
    (
        "buffer is full, resyncing",
        resyncing,
        lambda rig: [each for first in range(102, 113) for each in rig.diff(first)],
        [("resyncing", "resyncing", "overflow"), "request"],
    ),
    ("scenario", live, lambda rig: rig.call("scenario") + rig.diff(7), [("live", "resyncing", "scenario"), "request"]),
]


@pytest.mark.parametrize("market", ["spot", "usdm"])
@pytest.mark.parametrize(("prepare", "steps", "expected"), [row[1:] for row in TRANSITIONS], ids=[row[0] for row in TRANSITIONS])
def test_transition(market: str, prepare: Callable[[Rig], None], steps: Steps, expected: list[Any]) -> None:
    rig = Rig(market, buffer_max=10)
    prepare(rig)
    assert steps(rig) == expected


def test_process_begins_to_keep_the_book() -> None:
    rig = Rig()
    assert rig.last == [StateChange(State.SYNCING, None, rig.machine.reason, None)]
    assert (rig.machine.state, rig.machine.reason, rig.machine.since) == ("syncing", "start", 1000.0)


def test_buffer_of_a_refresh_is_full() -> None:
    rig = Rig(refresh_levels=3, buffer_max=10)
    syncing(rig)
    assert rig.snapshot(99)[-1] == "refresh"
    found = [each for first in range(101, 112) for each in rig.diff(first)]
    assert found == ["update"] * 10 + broken("overflow", "request")


# ids of a gap


@pytest.mark.parametrize(("market", "how", "ids"), [("spot", {}, (101, 105)), ("usdm", {"previous": 103}, (100, 103))])
def test_gap_carries_the_expected_and_the_received_id(market: str, how: dict[str, Any], ids: tuple[int, int]) -> None:
    rig = Rig(market).live()
    rig.diff(105, **how)
    changes = [output for output in rig.last if isinstance(output, StateChange)]
    assert [(change.update_id, change.expected_id, change.received_id) for change in changes] == [(100, *ids), (100, *ids)]


def test_seen_diff_is_ignored_but_ends_the_silence() -> None:
    rig = Rig().live()
    rig.wait(4.0)
    assert rig.diff(100) == []
    assert rig.wait(4.9) == []
    assert rig.wait(0.1) == [("live", "stale", "silent")]


def test_overlapping_spot_diff_is_applied() -> None:
    rig = Rig().live()
    assert rig.diff(95, 103, bids=[["8.5", "1"]]) == ["update"]
    assert rig.machine.update_id == 103


# no update between leaving `live` and the next snapshot


def test_no_update_is_sent_outside_live() -> None:
    rig = Rig().live()
    found = rig.diff(105)
    for first in range(106, 110):
        found += rig.diff(first)
    found += rig.snapshot(104) + rig.diff(110)
    assert found == broken("missing_update", "request", ("resyncing", "live", "missing_update"), "snapshot missing_update", "update")


def test_late_diffs_keep_a_stale_book_stale_and_its_chain_whole() -> None:
    rig = Rig().live()
    found = []
    for first, late in enumerate((2.0, 4.0, 6.0, 8.0, 7.0), start=101):
        rig.pass_time(2.5)
        found += rig.diff(first, late=late)
    assert found == ["update", "update", ("live", "stale", "silent")]
    rig.pass_time(0.1)
    assert rig.diff(106) == [("stale", "live", "silent"), "snapshot silent"]


@pytest.mark.parametrize("skew_ms", [-60_000, 60_000])
def test_shifted_event_times_change_no_state(skew_ms: int) -> None:
    rig = Rig().live()
    found = []
    for first in range(101, 131):
        rig.now += 0.1
        found += rig.diff(first, skew_ms=skew_ms if 110 <= first < 120 else 0)
    assert found == ["update"] * 30


def test_many_shifts_of_the_event_times_add_up_to_nothing() -> None:
    rig = Rig().live()
    found = []
    for first in range(101, 401):
        rig.pass_time(0.1)
        found += rig.diff(first, skew_ms=60_000 if first % 2 else 0)
    assert found == ["update"] * 300


def test_thin_book_with_a_side_that_stays_empty_waits_for_a_snapshot() -> None:
    rig = Rig()
    thin(rig)
    assert rig.diff(102) == []
    assert rig.snapshot(101, [["7", "1"], ["6", "1"]]) == [("resyncing", "live", "thin"), "snapshot thin"]
    assert rig.machine.book.complete.low == "6"


def test_full_buffer_of_a_thin_book_leaves_its_chain_whole() -> None:
    rig = Rig(buffer_max=10)
    thin(rig)
    found = []
    for first in range(102, 132):
        found += rig.diff(first) + rig.failed()
    assert found.count(("resyncing", "resyncing", "overflow")) >= 2
    assert rig.diff(132, bids=[["8", "3"]])[-2:] == [("resyncing", "live", "thin"), "snapshot thin"]


def test_full_queue_ends_the_chain_of_a_thin_book() -> None:
    rig = Rig()
    thin(rig)
    assert rig.call("overflow") == [("resyncing", "resyncing", "overflow"), "request"]
    assert rig.diff(102, bids=[["8", "3"]]) == []


def test_gap_in_a_thin_book_ends_the_chain() -> None:
    rig = Rig()
    thin(rig)
    assert rig.diff(103, bids=[["8", "3"]]) == ["request"]
    assert rig.diff(104, bids=[["8", "4"]]) == []
    assert rig.snapshot(103)[-1] == "snapshot thin"


def test_crossed_snapshot_is_never_live_and_requested_again() -> None:
    rig = Rig()
    syncing(rig)
    assert rig.snapshot(99, [["12", "1"], ["8", "1"]]) == []
    assert rig.wait(0.5) == ["request"]
    rig.diff(101)
    assert rig.snapshot(100) == [("syncing", "live", "start"), "snapshot start"]


def test_snapshot_with_an_empty_side_is_not_live_until_the_side_has_levels() -> None:
    rig = Rig()
    syncing(rig)
    assert rig.snapshot(99, []) == []
    assert rig.diff(101, bids=[["9", "1"]]) == [("syncing", "live", "start"), "snapshot start"]


def test_disconnected_book_ignores_snapshots_and_the_queue() -> None:
    rig = Rig()
    disconnected(rig)
    assert rig.snapshot(100) + rig.call("overflow") + rig.failed() + rig.wait(60.0) == []
    assert rig.machine.state == "stale"


def test_counters_of_the_states() -> None:
    rig = Rig().live()
    rig.diff(105)
    rig.now += 1.0
    rig.snapshot(105)
    rig.diff(106)
    assert (rig.machine.resyncs, rig.machine.state, rig.machine.since, rig.machine.last_message) == (1, "live", 1001.0, 1001.0)


# refresh


def test_refresh_replaces_the_book_while_it_stays_live() -> None:
    rig = Rig(refresh_levels=3)
    rig.call("connected")
    rig.diff(99)
    rig.snapshot(99)
    assert rig.diff(100)[-2:] == ["snapshot start", "refresh"]
    assert rig.diff(101, bids=[["8.5", "2"]]) == ["update"]
    wider = [["9", "1"], ["8.5", "2"], ["8", "1"], ["7", "1"]], [["11", "1"], ["12", "1"], ["13", "1"], ["14", "1"]]
    assert rig.snapshot(101, *wider, limit=4) == ["snapshot refreshed"]
    assert (rig.machine.reason, rig.machine.book.complete.low) == ("refreshed", "7")
    assert (rig.machine.audit.snapshots_passed, rig.machine.audit.snapshots_failed) == (1, 0)
    assert rig.diff(102) == ["update"]


def test_refresh_newer_than_the_book_waits_for_the_diff() -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    rig.snapshot(99)
    assert rig.snapshot(102, [["9", "1"], ["8.5", "2"]]) == []
    assert rig.diff(101) == ["update"]
    assert rig.diff(102, 103, bids=[["8.5", "2"]], asks=[["11", "4"]]) == ["snapshot refreshed"]
    assert rig.machine.book.top(1) == ([["9", "1"]], [["11", "4"]])


@pytest.mark.parametrize("changed", [[["9", "2"], ["8", "1"]], [["9", "1"], ["8.5", "1"]]])
def test_refresh_that_differs_inside_both_windows_is_diverged(changed: list[list[str]]) -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    rig.snapshot(99)
    assert rig.snapshot(100, changed) == broken("diverged", "request")
    assert (rig.machine.audit.snapshots_passed, rig.machine.audit.snapshots_failed) == (0, 1)


def test_refresh_is_requested_every_ten_seconds_at_most() -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    found = rig.snapshot(99)
    for first in range(101, 351):
        rig.now = round(rig.now + 0.1, 3)
        found += [each for each in rig.diff(first) if each != "update"]
        rig.failed()
    assert found[2:] == ["refresh"] * 3


def test_refused_refresh_waits_as_long_as_the_server_requires() -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    assert rig.snapshot(99)[-1] == "refresh"
    assert rig.failed(60.0) == []
    found = []
    for first in range(101, 141):
        rig.now += 1.5
        found.append(rig.diff(first))
    assert found == [["update"]] * 39 + [["update", "refresh"]]


def test_refresh_frees_the_buffer() -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    rig.snapshot(99)
    for first in range(101, 301):
        rig.diff(first)
    assert len(rig.machine._buffer) == 200
    assert rig.snapshot(300) == ["snapshot refreshed"]
    assert len(rig.machine._buffer) == 0
    for first in range(301, 501):
        rig.diff(first)
    assert len(rig.machine._buffer) <= 64


def test_refresh_without_an_answer_is_given_up() -> None:
    rig = Rig(refresh_levels=3, buffer_max=1000)
    syncing(rig)
    rig.snapshot(99)
    number = rig.number
    found = []
    for first in range(101, 411):
        rig.now = round(rig.now + 0.1, 3)
        found += [each for each in rig.diff(first) + rig.call("tick") if each != "update"]
    assert found == ["refresh"]
    assert rig.number != number


def test_snapshot_that_nobody_requested_replaces_the_book() -> None:
    rig = Rig().live()
    rig.diff(101)
    assert rig.snapshot(100, [["9", "1"], ["8", "1"], ["7", "1"]], limit=3, asked=False) == ["snapshot refreshed"]
    assert rig.machine.book.complete.low == "7"


def test_answer_to_an_old_request_does_not_count() -> None:
    rig = Rig(refresh_levels=3)
    syncing(rig)
    assert rig.snapshot(99)[-1] == "refresh"
    old = rig.number
    assert rig.diff(105)[-1] == "request"
    new, rig.number = rig.number, old
    assert rig.snapshot(104) + rig.failed() == []
    rig.number = new
    assert rig.snapshot(104)[-1] == "snapshot missing_update"


# audit


def test_diff_is_checked_after_a_ticker_with_a_greater_id() -> None:
    rig = Rig().live()
    assert rig.ticker(100, ["9", "1"], ["11", "1"]) == []
    assert rig.diff(101) == ["update"]
    assert rig.machine.audit.checked == 0
    assert rig.ticker(103, ["9", "5"], ["11", "1"]) == []
    assert (rig.machine.audit.checked, rig.machine.audit.failed) == (1, 0)


def test_difference_is_found_before_the_diff_is_published() -> None:
    rig = Rig().live()
    rig.ticker(101, ["9", "4"], ["11", "1"])
    rig.ticker(102, ["9", "4"], ["11", "1"])
    assert rig.diff(101, bids=[["9", "3"]]) == broken("diverged", "request")


def test_audit_that_counts_changes_no_state() -> None:
    rig = Rig(audit_is_on=False).live()
    rig.diff(101)
    assert rig.ticker(101, ["9", "4"], ["11", "1"]) + rig.ticker(102, ["9", "4"], ["11", "1"]) == []
    assert (rig.machine.audit.checked, rig.machine.audit.failed, rig.machine.state) == (1, 1, "live")


def test_ticker_of_the_connection_before_is_not_compared() -> None:
    rig = Rig().live()
    rig.ticker(100, ["9", "4"], ["11", "1"])
    rig.call("connected")
    rig.diff(105)
    rig.diff(106)
    rig.snapshot(105)
    assert rig.diff(107) + rig.ticker(108, ["9", "1"], ["11", "1"]) == ["update"]
    assert rig.machine.audit.checked == 0


def test_tickers_of_another_recording_have_ids_of_their_own() -> None:
    rig = Rig().live()
    rig.ticker(100, ["9", "4"], ["11", "1"])
    rig.ticker(5000, ["9", "4"], ["11", "1"])
    rig.call("scenario")
    rig.diff(7)
    rig.join(7)
    assert rig.diff(8) + rig.ticker(8, ["9", "1"], ["11", "1"]) + rig.ticker(9, ["9", "1"], ["11", "1"]) == ["update"]
    assert (rig.machine.audit.checked, rig.machine.audit.failed) == (1, 0)


def test_ticker_with_other_zeros_at_the_end_is_equal() -> None:
    rig = Rig().live()
    rig.diff(101)
    rig.ticker(101, ["9.0", "1.00"], ["11.00", "1"])
    assert rig.ticker(102, BIDS[0], ASKS[0]) == []
    assert (rig.machine.audit.checked, rig.machine.audit.failed) == (1, 0)
