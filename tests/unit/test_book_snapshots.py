"""Snapshots that race with diffs, in both markets; sequences from the rules of continuity."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.book_rig import BIDS, Rig

MARKETS = ["spot", "usdm"]
JOINED = [("syncing", "live", "start"), "snapshot start"]


def buffering(market: str, **options: Any) -> Rig:
    """Three diffs in the buffer: 100 … 104, 105 … 109, 110 … 114; a snapshot is requested."""
    rig = Rig(market, **options)
    rig.call("connected")
    assert rig.diff(100, 104) == ["request"]
    assert rig.diff(105, 109) + rig.diff(110, 114) == []
    return rig


@pytest.mark.parametrize(("market", "last"), [("spot", 98), ("spot", 1), ("usdm", 99), ("usdm", 1)])
def test_snapshot_older_than_the_first_diff_is_requested_again_and_the_buffer_kept(market: str, last: int) -> None:
    rig = buffering(market)
    assert rig.snapshot(last) == []
    assert rig.wait(0.4) == []
    assert rig.wait(0.1) == ["request"]
    assert rig.snapshot(102) == JOINED
    assert rig.machine.update_id == 114


@pytest.mark.parametrize(
    ("market", "last"),
    [*(("spot", last) for last in (99, 100, 103, 104, 109, 113)), *(("usdm", last) for last in (100, 103, 104, 105, 109, 114))],
)
def test_snapshot_inside_the_buffered_diffs_joins(market: str, last: int) -> None:
    rig = buffering(market)
    assert rig.snapshot(last) == JOINED
    assert (rig.machine.update_id, rig.diff(115)) == (114, ["update"])


@pytest.mark.parametrize(("market", "last"), [("spot", 114), ("spot", 117), ("spot", 119), ("usdm", 115), ("usdm", 120)])
def test_snapshot_newer_than_the_buffered_diffs_waits_for_the_next_one(market: str, last: int) -> None:
    rig = buffering(market)
    assert rig.snapshot(last) == []
    assert rig.diff(115, 120) == JOINED
    assert rig.machine.update_id == 120


@pytest.mark.parametrize("market", MARKETS)
def test_snapshot_that_no_diff_continues_is_requested_again(market: str) -> None:
    rig = buffering(market)
    assert rig.snapshot(117) == []
    assert rig.diff(121, 125) == []
    assert rig.wait(0.5) == ["request"]
    assert rig.snapshot(123) == JOINED


@pytest.mark.parametrize("market", MARKETS)
def test_snapshots_of_thirty_seconds_ago_join_when_the_buffer_is_old_enough(market: str) -> None:
    rig = buffering(market)
    found = rig.snapshot(1)
    first, requests = 115, 1
    while not found:
        rig.pass_time(0.1)
        if rig.diff(first) == ["request"]:
            requests += 1
            found += rig.snapshot(first - 300)
        first += 1
    assert found == JOINED
    assert rig.machine.update_id == first - 1
    # The waits are 0.5, 1, 2, 4, 8, 16 s: the sixth ends after more than 30 s.
    assert requests == 7


@pytest.mark.parametrize("market", MARKETS)
def test_refused_requests_wait_as_long_as_the_server_requires(market: str) -> None:
    rig = buffering(market)
    assert rig.failed(7.0) == [("syncing", "syncing", "snapshot_failed")]
    assert rig.wait(6.9) == []
    assert rig.wait(0.1) == ["request"]
    assert rig.snapshot(102) == JOINED


@pytest.mark.parametrize("market", MARKETS)
def test_waits_double_to_thirty_seconds(market: str) -> None:
    rig = buffering(market)
    waits = []
    for _ in range(9):
        assert rig.failed() == [("syncing", "syncing", "snapshot_failed")]
        before = rig.now
        while rig.wait(0.1) != ["request"]:
            pass
        waits.append(round(rig.now - before, 1))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize("market", MARKETS)
def test_request_that_is_never_answered_is_repeated(market: str) -> None:
    rig = buffering(market)
    assert rig.wait(29.9) == []
    assert rig.wait(0.1) == [("syncing", "syncing", "snapshot_failed")]
    assert rig.wait(0.5) == ["request"]
    assert rig.snapshot(102) == JOINED


@pytest.mark.parametrize("market", MARKETS)
def test_buffer_with_a_hole_keeps_the_diffs_after_it(market: str) -> None:
    rig = buffering(market)
    assert rig.diff(120, 124) == []
    assert rig.snapshot(112) == []
    assert rig.wait(0.5) == ["request"]
    assert rig.snapshot(122) == JOINED
    assert rig.machine.update_id == 124


@pytest.mark.parametrize("market", MARKETS)
def test_bad_message_while_the_snapshot_is_awaited_ends_the_chain(market: str) -> None:
    rig = buffering(market)
    assert rig.call("bad_message") == []
    assert rig.diff(120, 124) == []
    assert rig.snapshot(112) == []
    assert rig.wait(0.5) == ["request"]
    assert rig.snapshot(121) == JOINED


def test_bad_message_does_not_shorten_the_wait_of_the_server() -> None:
    rig = buffering("spot")
    rig.failed(60.0)
    assert rig.call("bad_message") + rig.diff(120, 124) + rig.call("overflow") == [("syncing", "syncing", "overflow")]
    assert rig.wait(59.9) == []
    assert rig.wait(0.1) == ["request"]


def test_diffs_of_a_bad_buffer_are_given_up() -> None:
    rig = buffering("spot")
    rig.diff(115, 119, bids=[["x", "1"]])
    assert rig.snapshot(102) == []
    assert rig.wait(0.5) == ["request"]
    rig.diff(120, 124)
    assert rig.snapshot(121, [*BIDS, ["7", "1"]]) == JOINED
