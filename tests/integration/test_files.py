"""Recorded files as rows: digit by digit, and what a damaged or foreign one does."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from fractions import Fraction
from pathlib import Path

import pytest

from db.candles import CandleRow
from db.messages import Trade
from db.prices import PriceRow
from jobs.backfill.recordings import Recording, Row, open_recording, read
from jobs.feeds.base import SourceError
from tests.support.recordings import CALENDARS, NOW, read_all, written

ROOT = Path(__file__).parents[2]
TICKS = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"
CANDLES = ROOT / "data" / "recordings" / "EUR_USD_H1.csv.gz"
TRADES = ROOT / "tests" / "data" / "binance" / "ethusdt_20240808.gz"
ANSWERS = ROOT / "tests" / "data" / "oanda"


def opened(file: Path) -> Recording:
    return open_recording(file, CALENDARS, now=NOW)


def test_recorded_quotes_become_rows_with_every_digit() -> None:
    with gzip.open(TICKS, "rt") as text:
        lines = list(csv.DictReader(text))
    found, bad = read_all(TICKS)
    assert (len(found), bad) == (25_177, [])
    for (place, row), line in zip(found, lines, strict=True):
        assert isinstance(row, PriceRow)
        assert (row.instrument, row.bid, row.ask, row.volume) == ("EUR_USD", line["bid"], line["ask"], None)
        assert 2 * Fraction(row.mid) == Fraction(line["bid"]) + Fraction(line["ask"])
        assert row.time == row.received == line["time"].replace("Z", "000Z")
        assert (row.source, row.epoch) == ("import:tickwire", "file:EUR_USD_20140505.csv")
        assert row.seq == place
    assert [place for place, _ in found] == list(range(2, 25_179))


def test_recorded_candles_become_rows_with_every_digit() -> None:
    with gzip.open(CANDLES, "rt") as text:
        lines = list(csv.DictReader(text))
    found, bad = read_all(CANDLES)
    assert (len(found), bad) == (4_000, [])
    for (_, row), line in zip(found, lines, strict=True):
        assert isinstance(row, CandleRow)
        for side, prices in (("mid", row.mid), ("bid", row.bid), ("ask", row.ask)):
            assert prices == tuple(line[f"{side}_{letter}"] for letter in "ohlc")
        assert (row.symbol, row.interval, row.source, row.complete) == ("EUR_USD", "1h", "import:oanda", True)
        assert (row.start_time, row.volume, row.trades) == (line["time"].replace("Z", ".000000Z"), line["volume"], int(line["volume"]))
        assert row.end_time > row.start_time


def test_recorded_trades_become_rows_and_other_messages_are_skipped() -> None:
    expected = []
    with gzip.open(TRADES, "rt") as text:
        for line in text:
            data = json.loads(line.split(" ", 1)[1]).get("data", {})
            if data.get("e") == "trade":
                expected.append((data["t"], data["p"], data["q"], "sell" if data["m"] else "buy", data["T"]))
    found, bad = read_all(TRADES)
    assert (len(found), bad) == (6_106, [])
    for (_, row), (number, price, quantity, side, milliseconds) in zip(found, expected, strict=True):
        assert isinstance(row, Trade)
        assert (row.symbol, row.trade_id, row.price, row.quantity, row.side) == ("ETHUSDT", number, price, quantity, side)
        assert row.time.endswith(f"{milliseconds % 1000:03}000Z")


def test_candle_answer_without_mid_prices_gets_exact_mids() -> None:
    found, bad = read_all(ANSWERS / "GetInstrumentCandles200Response.json")
    assert bad == []
    assert found[0] == (
        1,
        CandleRow(
            "AUD_JPY", "1m", "2023-10-06T20:56:00.000000Z", "2023-10-06T20:57:00.000000Z",
            ("95.305", "95.344", "95.2625", "95.298"), ("95.287", "95.303", "95.204", "95.244"), ("95.323", "95.385", "95.321", "95.352"),
            "91", 91, complete=True, source="import:oanda",
        ),
    )  # fmt: skip
    assert len(found) == 3


def test_candle_answer_of_several_instruments_yields_complete_candles() -> None:
    found, bad = read_all(ANSWERS / "GetAccountCandlesLatest200Response.json")
    rows = [(row.symbol, row.interval) for _, row in found if isinstance(row, CandleRow)]
    assert rows == [("USD_JPY", "5m"), ("GBP_CHF", "1m"), ("GBP_CHF", "5m"), ("AUD_JPY", "1m"), ("EUR_CHF", "1m")]
    assert [each for each in bad if each[1].startswith("neither")] == [
        ("candle 1", "neither mid prices nor both bid and ask"),
        ("candle 3", "neither mid prices nor both bid and ask"),
    ]
    assert bad[1] == ("candle 2", "1m of USD_JPY, 2023-12-29T13:22:00.000000Z"), "forming when it was recorded"
    assert len(bad) + len(found) == 14


@pytest.mark.parametrize("file", [TICKS, CANDLES, TRADES, ANSWERS / "GetInstrumentCandles200Response.json"], ids=lambda file: file.name)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_read_continues_after_any_place(file: Path, share: float) -> None:
    whole, _ = read_all(file)
    cut = int(share * len(whole))
    after = whole[cut - 1][0] if cut else 0
    assert read_all(file, after=after)[0] == whole[cut:]


def test_file_identity_ignores_packing_and_changes_with_growth(tmp_path: Path) -> None:
    plain = tmp_path / "EUR_USD_20140505.csv"
    plain.write_bytes(gzip.decompress(TICKS.read_bytes()))
    assert read_all(plain)[0] == read_all(TICKS)[0]
    before = opened(plain)
    with plain.open("a") as file:
        file.write("2014-05-06T00:00:00Z,1.1,1.2\n")
    assert opened(plain).epoch == before.epoch
    assert opened(plain).digest != before.digest
    assert opened(written(tmp_path, "EUR_USD\t'x\\.csv", "time,bid,ask\n")).epoch == "file:EUR_USD__x_.csv"


def test_damaged_or_missing_file_is_a_source_error(tmp_path: Path) -> None:
    half = tmp_path / "EUR_USD.csv.gz"
    half.write_bytes(TICKS.read_bytes()[:50_000])
    lines = zlib.decompressobj(31).decompress(TICKS.read_bytes()[:50_000]).decode().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    assert len(whole) > 1_000
    taken: list[tuple[int, Row]] = []
    with pytest.raises(SourceError, match=f"is damaged after line {len(whole)}: the archive ends early"):
        taken.extend(read(opened(half), CALENDARS, lambda place, error: None, now=NOW))
    assert [place for place, _ in taken] == list(range(2, len(whole) + 1))
    with pytest.raises(SourceError):
        opened(tmp_path / "nothing.csv")
