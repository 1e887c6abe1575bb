"""Recorded files as rows: digit by digit, and what a damaged or foreign one does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from db.messages import Trade
from db.prices import PriceRow
from jobs.backfill.recordings import Row
from jobs.feeds.files.formats.model import FileRefused
from tests.support.examples import with_shared_fixtures
from tests.support.recordings import read_all, written

ROOT = Path(__file__).parents[2]
ANSWERS = ROOT / "tests" / "data" / "oanda"
HEADER = "time,volume,mid_o,mid_h,mid_l,mid_c,bid_o,bid_h,bid_l,bid_c,ask_o,ask_h,ask_l,ask_c"
CANDLE = "2021-03-16T03:00:00Z,2249,1.2,1.4,1.1,1.3,1.1,1.3,1.0,1.2,1.3,1.5,1.2,1.4"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("EUR_USD.csv", "not,a,recording\n1,2,3\n", "no known format. Line 1: 'not,a,recording'."),
        ("EUR_USD.csv", "", "no known format. Line 1: ''."),
        ("CAD_CHF_H1.csv", f"{HEADER}\n{CANDLE}\n", "no instrument CAD_CHF (from the file's name)"),
        ("EUR_USD.csv", f"{HEADER}\n{CANDLE}\n", "the interval of its candles is not known: add --interval"),
        (
            "EUR_USD_H1.csv",
            "time,mid_o,bid_o,ask_o\n2021-03-16T03:00:00Z,1,1,1\n",
            "no column volume, bid_h, bid_l, bid_c, ask_h, ask_l, ask_c, which oanda needs",
        ),
        ("pricing.json", (ANSWERS / "pricing.json").read_text(), "no answer of OANDA's with candles"),
        ("list.json", "[1, 2]", "no answer of OANDA's with candles"),
        ("half.json", '{"instrument": "EUR_USD", "candles": [', "damaged: unexpected end of data"),
    ],
)
def test_unknown_recording_is_refused_with_its_reason(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(FileRefused, match=re.escape(message)):
        read_all(written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (CANDLE.replace("03:00", "03:30"), "no 1h candle of EUR_USD begins at 2021-03-16T03:30:00.000000Z"),
        (CANDLE.replace(",1.4,1.1,", ",1.25,1.1,"), "mid: high 1.25 or low 1.1 is inside open 1.2 and close 1.3"),
        (CANDLE.replace("2249", "many"), "'many' is not a decimal of at most 24 digits before and after the point"),
        (CANDLE.replace("1.5", "-1.5"), "'-1.5' is not a decimal of at most 24 digits before and after the point"),
        (CANDLE.replace("1.4,1.1", "0.0,1.1"), "a mid price of 1.2, 0.0, 1.1, 1.3 is not above 0"),
        (CANDLE.replace("2021", "0001"), "time 0001-03-16T03:00:00.000000Z is before 1971-01-01T00:00:00.000000Z"),
        (CANDLE.replace("2021-03-16T03", "9999-12-31T23"), "no candle begins at 9999-12-31T23:00:00.000000Z"),
        (CANDLE.replace("2021-03-16T03", "2025-11-18T00"), "1h of EUR_USD, 2025-11-18T00:00:00.000000Z"),
        (CANDLE + ",7", "15 fields instead of 14"),
    ],
)
def test_bad_candle_is_skipped_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    found, bad = read_all(written(tmp_path, "EUR_USD_H1.csv", f"{HEADER}\n{line}\n\n{CANDLE}\n"))
    assert bad == [("line 2", reason)]
    assert [place for place, _ in found] == [4]


def trade(**changes: object) -> str:
    data = {"e": "trade", "E": 1, "s": "ETHUSDT", "t": 5, "p": "2683.8", "q": "0.1", "T": 1723161255342, "m": True, **changes}
    return f"1723161254087896568 {json.dumps({'stream': 'ethusdt@trade', 'data': data})}"


@pytest.mark.parametrize(
    "changes",
    [
        {"s": "DOGEUSDT"},
        {"t": "5"},
        {"t": -1},
        {"t": 2**63},
        {"p": "0"},
        {"p": "-1"},
        {"p": 1.5},
        {"q": None},
        {"T": 5},
        {"T": "x"},
        {"q": "0"},
        {"m": 1},
        {"t": True},
    ],
)
def test_bad_trade_is_skipped(tmp_path: Path, changes: dict[str, object]) -> None:
    found, bad = read_all(written(tmp_path, "raw", f"{trade(**changes)}\n{trade()}\n"))
    assert [place for place, _ in bad] == ["line 1"]
    assert found == [(2, Trade("ETHUSDT", 5, "2024-08-08T23:54:15.342000Z", "2683.8", "0.1", "sell"))]


def test_trades_with_microseconds_or_without_a_stream_are_read(tmp_path: Path) -> None:
    bare = trade(T=1723161255342123, m=False).split(" ", 1)[1]
    line = f"1723161254087896568 {json.dumps(json.loads(bare)['data'])}"
    assert read_all(written(tmp_path, "raw", line))[0] == [(1, Trade("ETHUSDT", 5, "2024-08-08T23:54:15.342123Z", "2683.8", "0.1", "buy"))]


GOOD = {
    "EUR_USD.csv": ("time,bid,ask\n", "2014-05-05T00:00:23.668Z,1.38710,1.38726"),
    "EUR_USD_H1.csv": (HEADER + "\n", CANDLE),
    "raw": ("", trade()),
}
pieces = st.one_of(
    st.text(st.characters(exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(["1.5", "", "2014-05-05", "9999-12-31T23:59:59-23:59", "EUR_USD", "nan", "1e5", "0"]), max_size=16).map(
        ",".join
    ),
    st.recursive(st.one_of(st.none(), st.integers(), st.text()), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
        lambda value: f'1723161254087896568 {json.dumps({"e": "trade", "data": value})} "trade"'
    ),
    st.dictionaries(st.sampled_from(list("estpqTm")), st.one_of(st.none(), st.integers(), st.just("trade"), st.lists(st.integers()))).map(
        lambda data: f"1 {json.dumps({'e': 'trade', **data})}"
    ),
)


def content(row: Row) -> Row:
    """Return the row without the position of a quote among equal ones."""
    return replace(row, seq=0, occurrence=1) if isinstance(row, PriceRow) else row


@pytest.mark.parametrize("name", GOOD)
@example(garbage=["0001-01-01,,"])  # a quote by its time, without prices
@with_shared_fixtures(max_examples=80)
@given(garbage=st.lists(pieces, max_size=8))
def test_garbage_between_good_lines_loses_none_of_them(tmp_path: Path, name: str, garbage: list[str]) -> None:
    header, good = GOOD[name]
    lines = [line for piece in garbage for line in (good, piece)] + [good]
    [(_, alone)] = read_all(written(tmp_path, name, f"{header}{good}\n"))[0]
    found, bad = read_all(written(tmp_path, name, header + "\n".join(lines) + "\n"))
    # By content: equal quotes with a quote of another time between them are moved to the end.
    assert sum(content(row) == content(alone) for _, row in found) >= len(garbage) + 1
    first = 2 if header else 1
    wanted = set(range(first, first + 2 * len(garbage) + 1, 2))
    assert not {f"line {place}" for place in wanted} & {place for place, _ in bad}
