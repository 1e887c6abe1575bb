"""Every row of the continuity rules, and messages with and without the right form."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from jobs.books.messages import Diff, Snapshot, Ticker, read_diff, read_snapshot, read_ticker
from jobs.books.sequence import NEXT, RULES, SEEN, Gap, Place
from tests.support.depth import SPOT_BTC

# Ids of a diff (U, u, pu); the book or the snapshot is at id 100.
FIRST = [
    ("spot", (90, 99, None), SEEN),
    ("spot", (90, 100, None), SEEN),
    ("spot", (90, 101, None), NEXT),
    ("spot", (101, 101, None), NEXT),
    ("spot", (101, 110, None), NEXT),
    ("spot", (102, 110, None), Gap(101, 102)),
    ("usdm", (80, 99, 70), SEEN),
    ("usdm", (90, 100, 70), NEXT),
    ("usdm", (100, 100, 70), NEXT),
    ("usdm", (100, 110, 99), NEXT),
    ("usdm", (101, 110, 100), Gap(100, 101)),
    ("usdm", (105, 110, 100), Gap(100, 105)),
]
LATER = [
    ("spot", (90, 99, None), SEEN),
    ("spot", (100, 100, None), SEEN),
    ("spot", (101, 105, None), NEXT),
    ("spot", (95, 105, None), NEXT),  # node-binance-api #218
    ("spot", (102, 105, None), Gap(101, 102)),
    ("spot", (150, 155, None), Gap(101, 150)),
    ("usdm", (90, 99, 80), SEEN),
    ("usdm", (90, 100, 80), SEEN),
    ("usdm", (104, 110, 100), NEXT),
    ("usdm", (95, 110, 100), NEXT),
    ("usdm", (101, 110, 99), Gap(100, 99)),
    ("usdm", (105, 110, 103), Gap(100, 103)),
    ("usdm", (101, 110, None), Gap(100, 101)),
]


def diff(first: int, last: int, previous: int | None) -> Diff:
    return Diff(first, last, previous, 0, [], [])


@pytest.mark.parametrize(("market", "ids", "expected"), FIRST)
def test_place_of_the_first_diff_after_a_snapshot(market: str, ids: tuple[int, int, int | None], expected: Place) -> None:
    assert RULES[market].first_place(100, diff(*ids)) == expected


@pytest.mark.parametrize(("market", "ids", "expected"), LATER)
def test_place_of_a_later_diff(market: str, ids: tuple[int, int, int | None], expected: Place) -> None:
    assert RULES[market].place(100, diff(*ids)) == expected


def test_gap_counts_missing_ids() -> None:
    assert (Gap(101, 150).missing, Gap(100, 103).missing, Gap(100, 99).missing) == (49, 3, 0)


# messages

USUAL: dict[str, Any] = {
    "e": "depthUpdate",
    "E": 5,
    "s": "BTCUSDT",
    "U": 1,
    "u": 2,
    "b": [["1.50", "2.0"], ["1.40", "0.00"]],
    "a": [["1.60", "3.0"]],
}


def test_diff_with_and_without_the_wrapper() -> None:
    expected = Diff(1, 2, None, 5, [["1.50", "2.0"], ["1.40", "0.00"]], [["1.60", "3.0"]])
    assert read_diff(orjson.dumps(USUAL)) == expected
    assert read_diff(orjson.dumps({"stream": "btcusdt@depth@100ms", "data": USUAL})) == expected
    assert read_diff(orjson.dumps(USUAL, option=orjson.OPT_INDENT_2)) == expected
    assert read_diff(orjson.dumps({**USUAL, "pu": 0})) == expected._replace(previous_id=0)
    assert read_diff(orjson.dumps({**USUAL, "b": [], "a": []})) == expected._replace(bids=[], asks=[])


def test_every_recorded_line_that_is_cut_is_refused() -> None:
    with gzip.open(SPOT_BTC.file, "rb") as lines:
        line = next(line.rstrip().partition(b" ")[2] for line in lines if b"@depth" in line[:60])
    for end in range(len(line)):
        with pytest.raises(ValueError, match="no diff"):
            read_diff(line[:end])


BAD_LEVELS = [
    [["1.50"]],
    [["1.50", "2.0", "3.0"]],
    [["1.50", 2.0]],
    [[1.5, "2.0"]],
    [["1.50", None]],
    [["", "2.0"]],
    [["1.50", ""]],
    [["1.50", "-2.0"]],
    [["-1.50", "2.0"]],
    [["0.00", "2.0"]],
    [["nan", "2.0"]],
    [["1.50", "Infinity"]],
    [["1e5", "2.0"]],
    [["1_000.0", "2.0"]],
    [["1.50", "1.2.3"]],
    [["1.50", "1,2"]],
    [[" 1.50", "2.0"]],
    [["1.5\u0663", "2.0"]],
    [["1234567890.1234567", "2.0"]],
    [["1" * 25, "2.0"]],
    ["12"],
    [{"price": "1.50"}],
    "12",
    None,
    {},
]


@pytest.mark.parametrize("levels", BAD_LEVELS)
def test_diff_or_snapshot_with_a_bad_level_is_refused(levels: Any) -> None:
    for side in "ba":
        with pytest.raises(ValueError, match="no diff"):
            read_diff(orjson.dumps({**USUAL, side: levels}))
    for side in ("bids", "asks"):
        with pytest.raises(ValueError, match="no snapshot"):
            read_snapshot(orjson.dumps({"lastUpdateId": 1, "bids": [], "asks": [], side: levels}), 1000)


@pytest.mark.parametrize("change", [{"U": "1"}, {"u": None}, {"E": 1.5}, {"pu": "0"}, {"pu": None}, {"u": -1}, {"U": True}])
def test_diff_with_a_bad_id_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no diff"):
        read_diff(orjson.dumps({**USUAL, **change}))


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"null", b'"x"', b'{"data":[]}', b'{"data":1}', b"{}", b'{"e":"trade"}'])
def test_other_json_is_refused(text: bytes) -> None:
    for read, kind in ((read_diff, "diff"), (read_ticker, "book ticker"), (lambda message: read_snapshot(message, 5), "snapshot")):
        with pytest.raises(ValueError, match=f"no {kind}"):
            read(text)


def test_window_of_a_snapshot_is_open_on_a_side_with_fewer_levels_than_requested() -> None:
    bids, asks = [["3", "1"], ["2", "1"]], [["4", "1"]]
    assert Snapshot(1, bids, asks, 2).window == ("2", None)
    assert Snapshot(1, bids, asks, 1).window == ("2", "4")
    assert Snapshot(1, bids, asks, 3).window == (None, None)
    assert Snapshot(1, bids, [], 2).window == ("2", None)
    assert Snapshot(1, [], [], 2).window == (None, None)


def test_window_of_a_recorded_snapshot_has_both_bounds() -> None:
    assert Snapshot(1, [["3", "1"], ["2", "1"]], [["4", "1"]], None).window == ("2", "4")
    assert Snapshot(1, [], [["4", "1"]], None).window == (None, "4")


def test_snapshot_keeps_the_texts_of_the_exchange() -> None:
    found = read_snapshot(b'{"lastUpdateId":7,"E":1,"bids":[["1.50","2.0"]],"asks":[["1.60","3"]]}', 1000)
    assert found == Snapshot(7, [["1.50", "2.0"]], [["1.60", "3"]], 1000)


def test_ticker_with_and_without_the_wrapper() -> None:
    body = {"u": 9, "s": "BTCUSDT", "b": "1.50", "B": "2.0", "a": "1.60", "A": "3.0"}
    expected = Ticker(9, ["1.50", "2.0"], ["1.60", "3.0"])
    assert read_ticker(orjson.dumps(body)) == read_ticker(orjson.dumps({"stream": "x@bookTicker", "data": body})) == expected
    for name, value in (("u", "9"), ("b", "x"), ("A", 3)):
        with pytest.raises(ValueError, match="no book ticker"):
            read_ticker(orjson.dumps({**body, name: value}))
