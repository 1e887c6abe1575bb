"""Replay of recordings: digits, pace and damaged files."""

from __future__ import annotations

import csv
import gzip
import logging
import threading
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import SourceSpec
from db.decimals import middle
from db.messages import Tick
from db.timestamps import parse_time
from jobs.feeds.base import SourceError
from jobs.feeds.files import recordings
from jobs.feeds.files.formats.model import Options
from jobs.feeds.files.recordings import Row, count_ticks, read_rows
from jobs.feeds.files.replay import MAX_TICKS_PER_BATCH, ReplaySource
from tests.support.fake_time import FakeTime

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
TICKS = RECORDINGS / "EUR_USD_20140505.csv.gz"
CANDLES = RECORDINGS / "EUR_USD_H1.csv.gz"
CALENDARS = {"EUR_USD": "fx", "USD_JPY": "fx", "EUR": "fx", "BTCUSDT": "crypto"}
NOW = datetime(2025, 11, 18, tzinfo=UTC)


def replay(
    file: Path, speed: float | None = None, *, loop: bool = False, time: FakeTime | None = None, options: Options | None = None
) -> ReplaySource:
    spec = SourceSpec("replay", file, speed, loop)
    return ReplaySource(spec, CALENDARS, clock=lambda: NOW, options=options, monotonic=(time or FakeTime()).monotonic)


def all_ticks(source: ReplaySource) -> list[Tick]:
    return [tick for raw in source.fetch(threading.Event()) for tick in source.parse(raw)]


def recording(folder: Path, *lines: str, name: str = "EUR_USD_test.csv", header: str = "time,bid,ask") -> Path:
    file = folder / name
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def seconds(*offsets: float) -> list[str]:
    return [f"2025-01-01T00:{int(offset // 60):02}:{offset % 60:06.3f}Z,1.10000,1.10010" for offset in offsets]


def test_recorded_ticks_keep_every_digit() -> None:
    with gzip.open(TICKS, "rt") as text:
        expected = list(csv.DictReader(text))
    ticks = all_ticks(replay(TICKS))
    assert len(ticks) == len(expected) == count_ticks(TICKS, CALENDARS) == 25_177
    for tick, line in zip(ticks, expected, strict=True):
        assert (tick.instrument, tick.bid, tick.ask) == ("EUR_USD", line["bid"], line["ask"])
        assert 2 * Fraction(tick.mid) == Fraction(line["bid"]) + Fraction(line["ask"])
        assert tick.time == line["time"].replace("Z", "000Z")
        assert (tick.source, tick.volume) == (f"replay:{TICKS.name}", None)


def test_recorded_candles_become_their_opening_quotes() -> None:
    with gzip.open(CANDLES, "rt") as text:
        expected = list(csv.DictReader(text))
    ticks = all_ticks(replay(CANDLES))
    assert len(ticks) == len(expected) == count_ticks(CANDLES, CALENDARS) == 4_000
    for tick, line in zip(ticks, expected, strict=True):
        assert (tick.bid, tick.mid, tick.ask) == (line["bid_o"], line["mid_o"], line["ask_o"])
        assert tick.time == line["time"].replace("Z", ".000000Z")


prices = st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,15})?", fullmatch=True)


@given(prices, prices)
def test_middle_is_an_exact_plain_decimal(bid: str, ask: str) -> None:
    text = middle(bid, ask)
    assert 2 * Fraction(text) == Fraction(bid) + Fraction(ask)
    assert "E" not in text


def test_replay_at_max_speed_yields_full_batches_without_waits() -> None:
    stop = FakeTime()
    sizes = [len(raw) for raw in replay(TICKS, time=stop).fetch(stop)]
    assert sizes == [MAX_TICKS_PER_BATCH] * (25_177 // MAX_TICKS_PER_BATCH) + [25_177 % MAX_TICKS_PER_BATCH]
    assert stop.now == 0


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_lines_are_yielded_when_they_are_due(tmp_path: Path, speed: float) -> None:
    stop = FakeTime()
    source = replay(recording(tmp_path, *seconds(0, 0, 1.5, 3, 30)), speed, time=stop)
    seen = [(round(stop.now, 6), len(raw)) for raw in source.fetch(stop)]
    assert seen == [(0, 2), (round(1.5 / speed, 6), 1), (round(3 / speed, 6), 1), (round(30 / speed, 6), 1)]


def test_whole_day_keeps_its_pace() -> None:
    stop = FakeTime()
    source = replay(TICKS, 60.0, time=stop)
    first: Row | None = None
    for raw in source.fetch(stop):
        first = first or raw[0]
        for row in raw:
            assert (row.time - first.time).total_seconds() / 60 == pytest.approx(stop.now, abs=1e-6)


def test_replay_catches_up_after_a_delay(tmp_path: Path) -> None:
    stop = FakeTime()
    raws = replay(recording(tmp_path, *seconds(0, 1, 2, 3, 20)), 1.0, time=stop).fetch(stop)
    assert len(next(raws)) == 1
    stop.now += 10
    assert len(next(raws)) == 3
    assert stop.now == 10
    assert len(next(raws)) == 1
    assert stop.now == 20


def test_line_out_of_order_is_due_at_once(tmp_path: Path) -> None:
    stop = FakeTime()
    source = replay(recording(tmp_path, *seconds(5, 2, 6)), 1.0, time=stop)
    assert [len(raw) for raw in source.fetch(stop)] == [2, 1]
    assert stop.now == 1


def test_extreme_gap_does_not_break_the_wait(tmp_path: Path) -> None:
    stop = FakeTime(until=10_000)
    source = replay(recording(tmp_path, "1971-01-01T00:00:00Z,1.1,1.2", *seconds(0)), 0.01, time=stop)
    assert [len(raw) for raw in source.fetch(stop)] == [1]
    assert max(stop.waits) <= threading.TIMEOUT_MAX


def test_end_of_a_recording_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert len(all_ticks(replay(recording(tmp_path, *seconds(0, 1))))) == 2
    assert [record.message for record in caplog.records] == ["recording ended"]
    assert caplog.records[0].__dict__["ticks"] == 2


def test_looped_replay_begins_again_with_recorded_times(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stop = FakeTime(until=10)
    source = replay(recording(tmp_path, *seconds(0, 4)), 1.0, loop=True, time=stop)
    with caplog.at_level(logging.INFO):
        played = [(stop.now, tick.time[17:19]) for raw in source.fetch(stop) for tick in source.parse(raw)]
    assert played == [(0, "00"), (4, "04"), (4, "00"), (8, "04"), (8, "00")]
    assert [record.message for record in caplog.records] == ["recording begins again"] * 2


def test_bad_lines_are_counted_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = seconds(0, 1)
    bad = [
        "2025-01-01T00:00:00Z,1.1",
        "yesterday,1.1,1.2",
        "2025-01-01T00:00:00Z,nan,1.2",
        "2025-01-01T00:00:00Z,-1.1,1.2",
        "2025-01-01T00:00:00Z,0.0,1.2",
        "2025-01-01T00:00:00Z,1e5,1.2",
        "2025-01-01T00:00:00Z,1.3,1.2",
        "2025-01-01T00:00:00Z,١,٢",
        "2025-01-01T00:00:00Z,1.1,1.2,1.3",
        "\ufffd\x00",
    ]
    source = replay(recording(tmp_path, good[0], *bad, "", good[1]))
    with caplog.at_level(logging.WARNING):
        assert len(all_ticks(source)) == 2
    assert source.refusals.counts == {"unreadable": 4, "bad_price": 3, "not_a_decimal": 3}
    assert str(source.refusals).endswith("; first: line 3: 2 fields instead of 3")
    [record] = caplog.records
    assert (record.__dict__["line"], record.__dict__["reason"]) == (3, "2 fields instead of 3")


def test_line_of_the_future_is_left_out_without_a_wait(tmp_path: Path) -> None:
    stop = FakeTime()
    times = ["2025-11-17T23:59:59.999999Z", "2025-11-18T00:00:00Z", "2025-11-18T00:00:00.000001Z", "2099-01-01T00:00:00Z"]
    source = replay(recording(tmp_path, *[f"{time},1.1,1.2" for time in times]), 1.0, time=stop)
    assert [tick.time for raw in source.fetch(stop) for tick in source.parse(raw)] == [times[0], "2025-11-18T00:00:00.000000Z"]
    assert stop.now == pytest.approx(0.000001)
    assert source.refusals.counts == {"time_in_future": 2}


def test_recording_of_lines_that_are_not_admitted_ends_without_an_error(tmp_path: Path) -> None:
    source = replay(recording(tmp_path, "2099-01-01T00:00:00Z,1.1,1.2"))
    assert all_ticks(source) == []
    assert str(source.refusals).startswith("1 bad: 1 of kind time_in_future; first: line 2: time 2099")


def test_refused_lines_are_counted_once_despite_a_fault(tmp_path: Path) -> None:
    lines = [line for moment in seconds(*range(1_200)) for line in (moment, "bad")]
    source = replay(recording(tmp_path, *lines))
    first = source.fetch(threading.Event())
    next(first)
    first.close()
    assert len(all_ticks(source)) == 700
    assert len(source.refusals) in (1_200, 1_201), "a line that was read ahead may be counted again"


def test_recording_in_reverse_order_is_played_from_its_oldest_line(tmp_path: Path) -> None:
    stop = FakeTime()
    offsets = [0, 1, 1, 2.5, *range(4, 1_500)]
    file = recording(tmp_path, *[f"{line}{number}" for number, line in enumerate(seconds(*offsets))][::-1])
    source = replay(file, 1.0, time=stop)
    ticks = [tick for raw in source.fetch(stop) for tick in source.parse(raw)]
    assert [tick.ask for tick in ticks] == [f"1.10010{number}" for number in range(len(offsets))]
    assert [tick.time for tick in ticks] == sorted(tick.time for tick in ticks)
    assert stop.now == offsets[-1]


def test_recording_in_reverse_order_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_REVERSED_BYTES", 10_000)
    with pytest.raises(SourceError, match="sort it by time") as caught:
        all_ticks(replay(recording(tmp_path, *seconds(*range(1_500))[::-1])))
    assert caught.value.fatal


def test_latest_price_never_moves_back_in_time(tmp_path: Path) -> None:
    header = "time,instrument,bid,ask"
    lines = [
        f"2025-01-01T00:00:0{second}Z,{symbol},1.1,1.2"
        for second, symbol in [
            (1, "EUR_USD"),
            (5, "EUR_USD"),
            (3, "USD_JPY"),
            (4, "EUR_USD"),
            (6, "EUR_USD"),
            (7, "EUR_USD"),
            (2, "USD_JPY"),
        ]
    ]
    stop = FakeTime()
    source = replay(recording(tmp_path, *lines, name="all.csv", header=header), 1.0, time=stop)
    played = [(tick.instrument, tick.time[18]) for raw in source.fetch(stop) for tick in source.parse(raw)]
    assert played == [("EUR_USD", "1"), ("USD_JPY", "3"), ("EUR_USD", "4"), ("EUR_USD", "5"), ("EUR_USD", "6"), ("EUR_USD", "7")]
    assert source.refusals.counts == {"time_too_old": 1}
    assert source.refusals.first is not None
    assert source.refusals.first[0] == "line 8"


def test_recording_with_an_instrument_column_yields_several_instruments(tmp_path: Path) -> None:
    lines = ["2025-01-01T00:00:00Z,USD_JPY,150.10,150.12", "2025-01-01T00:00:00Z,EUR_USD,1.1,1.2", "2025-01-01T00:00:00Z,XXX_YYY,1,2"]
    source = replay(recording(tmp_path, *lines, name="all.csv", header="time,instrument,bid,ask"))
    assert [(tick.instrument, tick.mid) for tick in all_ticks(source)] == [("USD_JPY", "150.11"), ("EUR_USD", "1.15")]
    assert source.refusals.counts == {"unknown_instrument": 1}


@pytest.mark.parametrize("name", ["EUR_USD.csv", "EUR_USD_H1.csv", "eur_usd_20140505.csv"])
def test_instrument_is_read_from_the_file_name(tmp_path: Path, name: str) -> None:
    assert {tick.instrument for tick in all_ticks(replay(recording(tmp_path, *seconds(0), name=name)))} == {"EUR_USD"}


def test_recorded_times_become_contract_times(tmp_path: Path) -> None:
    times = ["2025-01-01T00:00:00", "2025-01-01T02:00:00+02:00", "2025-01-01T00:00:00.000Z"]
    ticks = all_ticks(replay(recording(tmp_path, *[f"{text},1.1,1.2" for text in times])))
    assert {tick.time for tick in ticks} == {"2025-01-01T00:00:00.000000Z"}
    assert parse_time(ticks[0].time).year == 2025


def truncated(folder: Path) -> Path:
    file = folder / TICKS.name
    file.write_bytes(TICKS.read_bytes()[:50_000])
    return file


def test_truncated_gzip_yields_its_lines_and_then_fails(tmp_path: Path) -> None:
    source = replay(truncated(tmp_path))
    taken: list[Row] = []
    with pytest.raises(SourceError, match="damaged") as caught:
        taken.extend(row for raw in source.fetch(threading.Event()) for row in raw)
    assert caught.value.fatal
    assert len(taken) > 1000


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("EUR_USD.csv", b"open,high,low\n1,2,3\n", "no known format"),
        ("EUR_USD.csv", b"", "no known format"),
        ("EUR_USD.csv", b"time,bid,ask\n", "no readable line"),
        ("EUR_USD.csv", b"time,bid,ask\nx,y,z\n", "no readable line"),
        ("NOBODY.csv", b"time,bid,ask\n", r"no instrument NOBODY \(from the file's name\)"),
        ("EUR_USD.csv.gz", b"time,bid,ask\n", "no readable line"),
        ("EUR_USD.csv.gz", gzip.compress(b"time,bid,ask\n", mtime=0)[:12], "damaged after line 0"),
        ("EUR_USD.csv.gz", gzip.compress(b"time,bid,ask\n2025-01-01,1,2\n", mtime=0)[:-9] + b"garbage!!", "damaged"),
    ],
)
def test_unplayable_file_is_a_fatal_error_with_its_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    for loop in (False, True):
        with pytest.raises(SourceError, match=reason) as caught:
            all_ticks(replay(file, loop=loop))
        assert caught.value.fatal
        assert name in str(caught.value)


def test_count_of_an_unreadable_file_is_a_source_error(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(SourceError):
            count_ticks(file, CALENDARS)


def test_count_of_a_damaged_recording_ends_at_the_damage(tmp_path: Path) -> None:
    file = truncated(tmp_path)
    with pytest.raises(SourceError, match="damaged after line") as caught:
        all_ticks(replay(file))
    assert f"line {count_ticks(file, CALENDARS) + 1}:" in str(caught.value)


def test_replay_continues_after_a_fault() -> None:
    source = replay(TICKS)
    first = source.fetch(threading.Event())
    before = [*next(first), *next(first)]
    first.close()
    after = [row for raw in source.fetch(threading.Event()) for row in raw]
    assert before + after == list(read_rows(TICKS, source.name, CALENDARS, lambda line, error: None, now=NOW))


def test_prices_of_the_real_recording_are_plausible() -> None:
    assert all(Decimal(tick.bid) < Decimal(tick.mid) < Decimal(tick.ask) for tick in all_ticks(replay(CANDLES)))


FORMATS = Path(__file__).parents[1] / "data" / "formats"
OF_QUOTES = ["metatrader5-ticks", "metatrader4-ticks", "histdata-ticks", "dukascopy-ticks", "truefx", "ticks", "tickwire"]


def moved(folder: Path, name: str) -> Path:
    """A copy of the format's sample in a year before `NOW`."""
    [sample] = [file for file in FORMATS.iterdir() if file.name.split(".")[-2:] == [name, "csv"] and "_1h" not in file.name]
    file = folder / sample.name
    file.write_text(sample.read_text().replace("2026", "2025"))
    return file


@pytest.mark.parametrize("name", OF_QUOTES)
def test_quotes_of_every_format_are_played(tmp_path: Path, name: str) -> None:
    file = moved(tmp_path, name)
    options = Options(timezone="America/New_York+07:00" if "metatrader" in name else None)
    source = replay(file, options=options)
    ticks = all_ticks(source)
    assert [tick.time for tick in ticks] == [f"2025-03-02T09:00:0{second}Z" for second in ("0.123000", "0.623000", "1.000000")]
    assert {(tick.instrument, float(tick.bid) < float(tick.mid) < float(tick.ask)) for tick in ticks} == {("EUR_USD", True)}
    assert str(source.refusals) == "0 bad", "a line before both sides are known is not bad"
    assert count_ticks(file, CALENDARS, options) == (4 if name == "metatrader5-ticks" else 3)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("metatrader5-ticks", "metatrader5-ticks has the broker's time: add --timezone"),
        ("ohlc", "no instrument AAPL"),
        ("histdata-m1", "histdata-m1 has candles of one price, which have no quotes: manage.py import stores them"),
        ("binance-trades", "binance-trades has trades; a replay takes quotes. manage.py import stores trades"),
    ],
)
def test_file_without_quotes_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        all_ticks(replay(moved(tmp_path, name)))
    assert caught.value.fatal
    assert reason in str(caught.value)


def test_file_of_local_times_in_reverse_order_is_played_from_its_oldest_line(tmp_path: Path) -> None:
    # In New York, the hour from 01:00 occurs twice on 2025-11-02.
    lines = ["2025.11.02 02:00:00,1.6,1.7", "2025.11.02 01:10:00,1.5,1.7", "2025.11.02 01:50:00,1.4,1.7", "2025.11.02 00:10:00,1.3,1.7"]
    file = tmp_path / "EURUSD.csv"
    file.write_text("\n".join(lines))
    ticks = all_ticks(replay(file, options=Options(timezone="America/New_York")))
    assert [(tick.time[11:16], tick.bid) for tick in ticks] == [("04:10", "1.3"), ("05:50", "1.4"), ("06:10", "1.5"), ("07:00", "1.6")]


def test_zip_and_unknown_option_of_a_recording(tmp_path: Path) -> None:
    packed = tmp_path / "EURUSD.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(moved(tmp_path, "truefx"), "EURUSD-2025-03.csv")
    assert len(all_ticks(replay(packed))) == 3
    with pytest.raises(SourceError, match=r"recording .*EURUSD\.zip: 'Mars' is no zone"):
        all_ticks(replay(packed, options=Options(timezone="Mars")))
