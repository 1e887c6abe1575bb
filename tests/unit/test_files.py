"""Recorded files as rows: digit by digit, and what a damaged or foreign one does."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.candles import CandleRow
from db.messages import Trade
from db.prices import PriceRow
from jobs.backfill.recordings import Record, inspect, read
from jobs.feeds.base import SourceError

ROOT = Path(__file__).parents[2]
TICKS = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"
CANDLES = ROOT / "data" / "recordings" / "EUR_USD_H1.csv.gz"
TRADES = ROOT / "tests" / "data" / "binance" / "ethusdt_20240808.gz"
ANSWERS = ROOT / "tests" / "data" / "oanda"
KINDS = dict.fromkeys(["EUR_USD", "AUD_JPY", "USD_JPY", "GBP_CHF", "EUR_CHF"], "fx") | {"ETHUSDT": "crypto", "AAPL": "equity"}
HEADER = "time,volume,mid_o,mid_h,mid_l,mid_c,bid_o,bid_h,bid_l,bid_c,ask_o,ask_h,ask_l,ask_c"
CANDLE = "2021-03-16T03:00:00Z,2249,1.2,1.4,1.1,1.3,1.1,1.3,1.0,1.2,1.3,1.5,1.2,1.4"

NOW = datetime(2025, 11, 18, tzinfo=UTC)

Bad = list[tuple[str, str]]


def everything(file: Path, *, after: int = 0) -> tuple[list[tuple[int, Record]], Bad]:
    bad: Bad = []
    return list(read(inspect(file), KINDS, lambda place, error: bad.append((place, str(error))), now=NOW, after=after)), bad


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_recorded_quotes_become_rows_with_every_digit() -> None:
    with gzip.open(TICKS, "rt") as text:
        lines = list(csv.DictReader(text))
    found, bad = everything(TICKS)
    assert (len(found), bad) == (25_177, [])
    for (place, row), line in zip(found, lines, strict=True):
        assert isinstance(row, PriceRow)
        assert (row.instrument, row.bid, row.ask, row.volume) == ("EUR_USD", line["bid"], line["ask"], None)
        assert 2 * Fraction(row.mid) == Fraction(line["bid"]) + Fraction(line["ask"])
        assert row.time == row.received == line["time"].replace("Z", "000Z")
        assert row.source == row.epoch == "file:EUR_USD_20140505.csv"
        assert row.seq == place
    assert [place for place, _ in found] == list(range(2, 25_179))


def test_recorded_candles_become_rows_with_every_digit() -> None:
    with gzip.open(CANDLES, "rt") as text:
        lines = list(csv.DictReader(text))
    found, bad = everything(CANDLES)
    assert (len(found), bad) == (4_000, [])
    for (_, row), line in zip(found, lines, strict=True):
        assert isinstance(row, CandleRow)
        for side, prices in (("mid", row.mid), ("bid", row.bid), ("ask", row.ask)):
            assert prices == tuple(line[f"{side}_{letter}"] for letter in "ohlc")
        assert (row.symbol, row.interval, row.source, row.complete) == ("EUR_USD", "1h", "oanda", True)
        assert (row.start_time, row.volume, row.trades) == (line["time"].replace("Z", ".000000Z"), line["volume"], int(line["volume"]))
        assert row.end_time > row.start_time


def test_recorded_trades_become_rows_and_other_messages_are_skipped() -> None:
    expected = []
    with gzip.open(TRADES, "rt") as text:
        for line in text:
            data = json.loads(line.split(" ", 1)[1]).get("data", {})
            if data.get("e") == "trade":
                expected.append((data["t"], data["p"], data["q"], "sell" if data["m"] else "buy", data["T"]))
    found, bad = everything(TRADES)
    assert (len(found), bad) == (6_106, [])
    for (_, row), (number, price, quantity, side, milliseconds) in zip(found, expected, strict=True):
        assert isinstance(row, Trade)
        assert (row.symbol, row.trade_id, row.price, row.quantity, row.side) == ("ETHUSDT", number, price, quantity, side)
        assert row.time.endswith(f"{milliseconds % 1000:03}000Z")


def test_candle_answer_without_mid_prices_gets_exact_mids() -> None:
    found, bad = everything(ANSWERS / "GetInstrumentCandles200Response.json")
    assert bad == []
    assert found[0] == (
        1,
        CandleRow(
            "AUD_JPY", "1m", "2023-10-06T20:56:00.000000Z", "2023-10-06T20:57:00.000000Z",
            ("95.305", "95.344", "95.2625", "95.298"), ("95.287", "95.303", "95.204", "95.244"), ("95.323", "95.385", "95.321", "95.352"),
            "91", 91, complete=True, source="oanda",
        ),
    )  # fmt: skip
    assert len(found) == 3


def test_candle_answer_of_several_instruments_yields_complete_candles() -> None:
    found, bad = everything(ANSWERS / "GetAccountCandlesLatest200Response.json")
    rows = [(row.symbol, row.interval) for _, row in found if isinstance(row, CandleRow)]
    assert rows == [("USD_JPY", "5m"), ("GBP_CHF", "1m"), ("GBP_CHF", "5m"), ("AUD_JPY", "1m"), ("EUR_CHF", "1m")]
    assert [each for each in bad if each[1].startswith("neither")] == [
        ("candle 1", "neither mid prices nor both bid and ask"),
        ("candle 3", "neither mid prices nor both bid and ask"),
    ]
    assert bad[1] == ("candle 2", "1m of USD_JPY, 2023-12-29T13:22:00.000000000Z"), "forming when it was recorded"
    assert len(bad) + len(found) == 14


@pytest.mark.parametrize("file", [TICKS, CANDLES, TRADES, ANSWERS / "GetInstrumentCandles200Response.json"], ids=lambda file: file.name)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_read_continues_after_any_place(file: Path, share: float) -> None:
    whole, _ = everything(file)
    cut = int(share * len(whole))
    after = whole[cut - 1][0] if cut else 0
    assert everything(file, after=after)[0] == whole[cut:]


def test_file_identity_ignores_packing_and_changes_with_growth(tmp_path: Path) -> None:
    plain = tmp_path / "EUR_USD_20140505.csv"
    plain.write_bytes(gzip.decompress(TICKS.read_bytes()))
    assert everything(plain)[0] == everything(TICKS)[0]
    before = inspect(plain)
    with plain.open("a") as file:
        file.write("2014-05-06T00:00:00Z,1.1,1.2\n")
    assert inspect(plain).name == before.name
    assert inspect(plain).digest != before.digest
    assert inspect(written(tmp_path, "EUR_USD\t'x\\.csv", "time,bid,ask\n")).name == "file:EUR_USD__x_.csv"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("EUR_USD.csv", "not,a,recording\n1,2,3\n", "is of no known format"),
        ("EUR_USD.csv", "", "is of no known format"),
        ("CAD_CHF_H1.csv", f"{HEADER}\n{CANDLE}\n", "names no known instrument"),
        ("EUR_USD.csv", f"{HEADER}\n{CANDLE}\n", "does not say of what interval"),
        ("EUR_USD_H1.csv", "time,mid_o,bid_o,ask_o\n2021-03-16T03:00:00Z,1,1,1\n", "its candles lack columns"),
        ("pricing.json", (ANSWERS / "pricing.json").read_text(), "no answer of OANDA's with candles"),
        ("list.json", "[1, 2]", "no answer of OANDA's with candles"),
        ("half.json", '{"instrument": "EUR_USD", "candles": [', "is damaged"),
    ],
)
def test_unknown_recording_is_refused_with_its_reason(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as error:
        everything(written(tmp_path, name, text))
    assert error.value.fatal


def test_damaged_or_missing_file_is_a_source_error(tmp_path: Path) -> None:
    half = tmp_path / "EUR_USD.csv.gz"
    half.write_bytes(TICKS.read_bytes()[:50_000])
    lines = zlib.decompressobj(31).decompress(TICKS.read_bytes()[:50_000]).decode().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    assert inspect(half).lines == len(whole) > 1_000
    taken: list[tuple[int, Record]] = []
    with pytest.raises(SourceError, match=f"is damaged after line {len(whole)}: the archive ends early"):
        taken.extend(read(inspect(half), KINDS, lambda place, error: None, now=NOW))
    assert [place for place, _ in taken] == list(range(2, len(whole) + 1))
    with pytest.raises(SourceError):
        inspect(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (CANDLE.replace("03:00", "03:30"), "no 1h candle of EUR_USD begins at 2021-03-16T03:30:00.000000Z"),
        (CANDLE.replace(",1.4,1.1,", ",1.25,1.1,"), "mid: high 1.25 or low 1.1 is inside open 1.2 and close 1.3"),
        (CANDLE.replace("2249", "many"), "'many' is not a decimal of at most 24 digits before and after the point"),
        (CANDLE.replace("1.5", "-1.5"), "'-1.5' is not a decimal of at most 24 digits before and after the point"),
        (CANDLE.replace("1.4,1.1", "0.0,1.1"), "a mid price of 1.2, 0.0, 1.1, 1.3 is not above 0"),
        (CANDLE.replace("2021", "0001"), "time 0001-03-16T03:00:00.000000Z is before 1971-01-01T00:00:00.000000Z"),
        (CANDLE.replace("2021-03-16T03", "9999-12-31T23"), "no candle begins at 9999-12-31T23:00:00+00:00"),
        (CANDLE.replace("2021-03-16T03", "2025-11-18T00"), "1h of EUR_USD, 2025-11-18T00:00:00.000000Z"),
        (CANDLE + ",7", "15 fields instead of 14"),
    ],
)
def test_bad_candle_is_skipped_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    found, bad = everything(written(tmp_path, "EUR_USD_H1.csv", f"{HEADER}\n{line}\n\n{CANDLE}\n"))
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
    found, bad = everything(written(tmp_path, "raw", f"{trade(**changes)}\n{trade()}\n"))
    assert [place for place, _ in bad] == ["line 1"]
    assert found == [(2, Trade("ETHUSDT", 5, "2024-08-08T23:54:15.342000Z", "2683.8", "0.1", "sell"))]


def test_trades_with_microseconds_or_without_a_stream_are_read(tmp_path: Path) -> None:
    bare = trade(T=1723161255342123, m=False).split(" ", 1)[1]
    line = f"1723161254087896568 {json.dumps(json.loads(bare)['data'])}"
    assert everything(written(tmp_path, "raw", line))[0] == [
        (1, Trade("ETHUSDT", 5, "2024-08-08T23:54:15.342123Z", "2683.8", "0.1", "buy"))
    ]


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


@pytest.mark.parametrize("name", GOOD)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
@given(garbage=st.lists(pieces, max_size=8))
def test_garbage_between_good_lines_loses_none_of_them(tmp_path: Path, name: str, garbage: list[str]) -> None:
    header, good = GOOD[name]
    lines = [line for piece in garbage for line in (good, piece)] + [good]
    found, bad = everything(written(tmp_path, name, header + "\n".join(lines) + "\n"))
    first = 2 if header else 1
    wanted = set(range(first, first + 2 * len(garbage) + 1, 2))
    assert wanted <= {place for place, _ in found}
    assert not {f"line {place}" for place in wanted} & {place for place, _ in bad}
