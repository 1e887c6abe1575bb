"""`manage.py import`: the rows of a file once, as pandas reads them, under one source."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from api.app import create_app
from cli.imports import Output, load
from config import settings as settings_module
from config.pacing import Stopped
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.prices import PriceRow
from db.reference import first_calendars
from db.timestamps import utc_now
from jobs.backfill import file_tasks
from jobs.backfill.file_tasks import Contents, Selection, recorded_months
from jobs.backfill.imports import Importer, ImportRequest
from jobs.backfill.recordings import open_recording, read
from jobs.backfill.report import Notes
from jobs.feeds.files.formats.detect import NAMES
from jobs.feeds.files.formats.model import Options
from tests.support.importing import Importing
from tests.support.processes import ROOT, environ_of

SAMPLES = ROOT / "tests" / "data" / "formats"
BROKER = "America/New_York+07:00"
TEXT_TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"


@pytest.fixture
def importing(store: Store) -> Importing:
    return Importing(store)


def broker(zone: str = BROKER, **options: Any) -> ImportRequest:
    return ImportRequest(Options(timezone=zone, **options))


def bars(folder: Path, name: str, start: datetime, step: timedelta, number: int) -> Path:
    """A MetaTrader 5 export of made-up bars at the broker's wall clock, weekends left out."""
    walk, level = random.Random(name), 108_000
    lines = ["<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"]
    moment = start
    while len(lines) <= number:
        if moment.weekday() < 5:
            steps = [walk.randint(-20, 20) for _ in range(4)]
            prices = [level, level + max(0, *steps), level + min(0, *steps), level + steps[-1]]
            texts = "\t".join(f"{price / 1e5:.5f}" for price in prices)
            lines.append(f"{moment:%Y.%m.%d\t%H:%M:%S}\t{texts}\t{walk.randint(1, 400)}\t0\t12")
            level = prices[-1]
        moment += step
    file = folder / name
    file.write_text("\r\n".join(lines) + "\r\n")
    return file


def correct(file: Path, line: int) -> None:
    """Give the bar of a line another high."""
    lines = file.read_text().splitlines()
    fields = lines[line].split("\t")
    lines[line] = "\t".join([*fields[:3], "1.50000", *fields[4:]])
    file.write_text("\n".join(lines) + "\n")


def read_bars(file: Path) -> pd.DataFrame:
    """The bars by their start in UTC, as pandas reads them. New York is 7 hours behind."""
    frame = pd.read_csv(file, sep="\t", dtype=str)
    wall = pd.to_datetime(frame["<DATE>"] + " " + frame["<TIME>"], format="%Y.%m.%d %H:%M:%S") - pd.Timedelta(hours=7)
    frame.index = pd.DatetimeIndex(wall.dt.tz_localize("America/New_York").dt.tz_convert("UTC"))
    return frame


def stored(importing: Importing, symbol: str, interval: str) -> pd.DataFrame:
    columns = ("start", "open", "high", "low", "close", "volume", "trades", "source", "bid_open", "ask_close", "complete")
    rows = importing.query(
        f"SELECT start_time, {', '.join(columns[1:])} FROM candles WHERE symbol = %s AND interval = %s ORDER BY 1",  # noqa: S608
        symbol,
        interval,
    )
    return pd.DataFrame(rows, columns=list(columns)).set_index("start").tz_convert("UTC")


# Rows and candles


def test_imported_ticks_equal_what_pandas_reads_and_resamples(importing: Importing, tmp_path: Path) -> None:
    walk, moment, level = random.Random(7), datetime(2026, 3, 2, 9, tzinfo=UTC), 108_000
    lines = []
    for _ in range(4_000):
        moment += timedelta(milliseconds=walk.randint(0, 4_000))
        level += walk.randint(-3, 3)
        lines.append(f"EUR/USD,{moment:%Y%m%d %H:%M:%S}.{moment.microsecond // 1000:03},{level / 1e5:.5f},{(level + 13) / 1e5:.5f}")
    file = tmp_path / "EURUSD-2026-03.csv"
    file.write_text("\n".join(lines) + "\n")
    result = importing.load(file)
    assert (result.format, result.source, result.instrument, result.read, result.new) == (
        "truefx", "import:truefx", "EUR_USD", 4_000, 4_000,
    )  # fmt: skip

    frame = pd.read_csv(file, header=None, names=["symbol", "time", "bid", "ask"], dtype=str)
    frame["time"] = pd.to_datetime(frame["time"], format="%Y%m%d %H:%M:%S.%f", utc=True)
    rows = importing.query("SELECT time, bid, ask, mid, source, epoch, seq FROM prices ORDER BY seq")
    assert [row[1:3] for row in rows] == list(frame[["bid", "ask"]].itertuples(index=False, name=None))
    assert [row[0] for row in rows] == frame["time"].tolist()
    mids = [(Decimal(bid) + Decimal(ask)) / 2 for bid, ask in zip(frame["bid"], frame["ask"], strict=True)]
    assert [Decimal(row[3]) for row in rows] == mids
    assert {row[4:6] for row in rows} == {("import:truefx", "file:EURUSD-2026-03.csv")}
    assert [row[6] for row in rows] == list(range(1, 4_001))

    importing.rolled_up()
    mid = pd.Series([float(each) for each in mids], index=pd.DatetimeIndex(frame["time"]))
    for interval, rule in (("1m", "1min"), ("1h", "1h")):
        expected, found = mid.resample(rule).ohlc().dropna(), stored(importing, "EUR_USD", interval)
        assert found.index.tolist() == expected.index.tolist()
        assert found[["open", "high", "low", "close"]].astype(float).to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-12)
        assert found["trades"].tolist() == mid.resample(rule).count()[expected.index].tolist()
        assert set(found["source"]) == {"ticks"}, "made of quotes of a file"


def test_imported_bars_equal_what_pandas_reads_and_resamples(importing: Importing, settings: Settings, bus: Bus, tmp_path: Path) -> None:
    """Two weeks of hours over the change of New York's clocks, 2026-03-08."""
    file = bars(tmp_path, "EURUSD_H1.csv", datetime(2026, 3, 2, 0), timedelta(hours=1), 240)  # noqa: DTZ001 - wall clock
    result = importing.load(file, broker())
    assert result.document() == {
        "file": "EURUSD_H1.csv", "format": "metatrader5-bars", "source": "import:metatrader", "instrument": "EUR_USD", "kind": "candles",
        "interval": "1h", "read": 240, "new": 240, "bad": {}, "conflicts": 0,
        "first_time": "2026-03-01T22:00:00.000000Z", "last_time": "2026-03-13T20:00:00.000000Z",
    }  # fmt: skip
    frame, found = read_bars(file), stored(importing, "EUR_USD", "1h")
    assert found.index.tolist() == frame.index.tolist()
    assert (
        found[["open", "high", "low", "close"]].to_numpy().tolist() == frame[["<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>"]].to_numpy().tolist()
    )
    assert found["volume"].tolist() == frame["<TICKVOL>"].tolist(), "no traded volume in the file"
    assert found["bid_open"].isna().all()
    assert found["ask_close"].isna().all()
    assert found["complete"].all()

    importing.rolled_up()
    prices = frame[["<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>"]].astype(float).set_axis(["open", "high", "low", "close"], axis=1)
    # The broker's wall clock has midnight at 17:00 New York.
    prices.index = pd.DatetimeIndex(prices.index).tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=7)
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    for interval, rule in (("4h", "4h"), ("1d", "1D")):
        expected, longer = prices.resample(rule).agg(rules).dropna(), stored(importing, "EUR_USD", interval)
        starts = (pd.DatetimeIndex(expected.index) - pd.Timedelta(hours=7)).tz_localize("America/New_York").tz_convert("UTC")
        assert longer.index.tolist() == starts.tolist()
        assert longer[["open", "high", "low", "close"]].astype(float).to_numpy().tolist() == expected.to_numpy().tolist()
        assert set(longer["source"]) == {"import:metatrader"}

    client = create_app(settings, bus, importing.store, utc_now, "1.2.3").test_client()
    for interval in ("1h", "4h", "1d"):
        query = f"/candles?symbol=EUR_USD&interval={interval}&start=2026-03-01&end=2026-03-15"
        answer: Any = client.get(query).json
        assert {each["source"] for each in answer["candles"]} == {"import:metatrader"}
        sided: Any = client.get(f"{query}&price=bid").json
        assert sided["candles"] == [], "the file has one price"


def test_trades_and_aggregated_trades_of_a_day_make_equal_candles(importing: Importing, tmp_path: Path) -> None:
    """Both files as data.binance.vision has them; the aggregation is pandas'."""
    walk, moment, price = random.Random(3), 1_772_409_600_000_000, 6_500_000
    rows = []
    for number in range(501, 3_501):
        moment += walk.choice([0, 0, 5_000_000, 90_000_000])
        price += walk.choice([0, 0, 1, -1])
        quantity = walk.randint(1, 2_000)
        maker = walk.random() < 0.5
        rows.append((number, f"{price / 100:.2f}", f"{quantity / 1000:.3f}", moment, maker))
    trades = tmp_path / "BTCUSDT-trades-2026-03-02.csv"
    lines = [f"{number},{at},{quantity},0,{time},{str(maker).capitalize()},True" for number, at, quantity, time, maker in rows]
    trades.write_text("\n".join(lines) + "\n")
    frame = pd.DataFrame(rows, columns=["id", "price", "quantity", "time", "maker"])
    key = frame[["price", "time", "maker"]].ne(frame[["price", "time", "maker"]].shift()).any(axis=1).cumsum()
    frame["quantity"] = (frame["quantity"].astype(float) * 1000).round().astype(int)
    together = frame.groupby(key).agg(
        price=("price", "first"), quantity=("quantity", "sum"), first=("id", "min"), last=("id", "max"), time=("time", "first"),
        maker=("maker", "first"),
    )  # fmt: skip
    aggregated = tmp_path / "BTCUSDT-aggTrades-2026-03-02.csv"
    of_orders = zip(*(together[name] for name in ("price", "quantity", "first", "last", "time", "maker")), strict=True)
    aggregated.write_text(
        "".join(
            f"{number},{at},{quantity / 1000:.3f},{first},{last},{time},{str(maker).capitalize()},True\n"
            for number, (at, quantity, first, last, time, maker) in enumerate(of_orders, start=9_000)
        )
    )
    assert importing.load(trades).new == 3_000
    importing.rolled_up()
    columns = ["open", "high", "low", "close", "volume", "trades"]
    of_trades = stored(importing, "BTCUSDT", "1m")
    assert set(of_trades["source"]) == {"trades"}
    result = importing.load(aggregated)
    assert (result.format, result.kind, result.interval) == ("binance-aggtrades", "candles", "1m")
    assert result.new == len(of_trades) > 500
    of_aggregated = stored(importing, "BTCUSDT", "1m")
    assert set(of_aggregated["source"]) == {"import:binance"}
    assert of_aggregated[columns].astype(float).to_numpy().tolist() == of_trades[columns].astype(float).to_numpy().tolist()


# Once


def test_file_under_another_name_or_packed_adds_nothing(importing: Importing, tmp_path: Path) -> None:
    first = SAMPLES / "EUR_USD.tickwire.csv"
    number = importing.load(first).new
    before = importing.query("SELECT * FROM prices ORDER BY time, seq")
    again = importing.load(first)
    assert (again.read, again.new, str(again)) == (number, 0, f"EUR_USD.tickwire.csv: {number} rows read, 0 new")
    (tmp_path / "EUR_USD 2026.csv").write_bytes(gzip.compress(first.read_bytes()))
    assert importing.load(tmp_path / "EUR_USD 2026.csv").new == 0
    assert importing.load(first, ImportRequest(source="mine")).new == 0
    assert importing.query("SELECT * FROM prices ORDER BY time, seq") == before
    assert importing.query("SELECT count(*) FROM backfills") == [(0,)], "a finished file has no position"


class KilledError(BaseException):
    """The end of a process between two batches."""


@pytest.mark.parametrize("kind", ["ticks", "candles"])
def test_import_killed_at_any_batch_has_the_rows_of_one_loading(
    importing: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(file_tasks, "MAX_ROWS_PER_BATCH", 20)
    if kind == "candles":
        file, request, table = bars(tmp_path, "EURUSD_M5.csv", datetime(2026, 3, 2), timedelta(minutes=5), 100), broker(), "candles"  # noqa: DTZ001
    else:
        file, request, table = tmp_path / "EUR_USD.csv", ImportRequest(), "prices"
        # Equal quotes, some of which stand apart.
        moments = [f"2026-03-02T09:{number % 50:02}:00Z,1.1,1.2" for number in range(100)]
        file.write_text("\n".join(["time,bid,ask", *moments]) + "\n")
    everything = importing.load(file, request)
    columns = "start_time, open, source" if kind == "candles" else "time, occurrence, seq, source"
    expected = importing.query(f"SELECT {columns} FROM {table} ORDER BY 1, 2")  # noqa: S608
    for batch in range(1, 6):
        importing.query(f"TRUNCATE {table}")
        passed: list[float] = []

        def moved(share: float, batch: int = batch, passed: list[float] = passed) -> None:
            passed.append(share)
            if len(passed) == batch:
                raise KilledError

        with pytest.raises(KilledError):
            importing.load(file, request, moved=moved)
        assert importing.query(f"SELECT count(*) FROM {table}") == [(20 * batch,)]  # noqa: S608
        rest = importing.load(file, request)
        assert (rest.read, rest.new) == (everything.read - 20 * batch, everything.read - 20 * batch)
        assert importing.query(f"SELECT {columns} FROM {table} ORDER BY 1, 2") == expected  # noqa: S608


# Conflicts and replacement


def test_corrected_bar_is_a_conflict_until_it_replaces(importing: Importing, tmp_path: Path) -> None:
    file = bars(tmp_path, "EURUSD_H1.csv", datetime(2026, 1, 30), timedelta(hours=1), 30)  # noqa: DTZ001 - into February
    assert importing.load(file, broker()).new == 30
    importing.rolled_up()
    correct(file, 3)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:10], *lines[11:]]) + "\n")
    result = importing.load(file, broker())
    assert (result.read, result.new, result.conflicts) == (29, 0, 1)
    assert importing.notes.failed
    [sentence] = importing.notes.sentences()
    assert "1 conflict with rows that are stored already (first: EUR_USD 1h candle of 2026-01-30T00:00:00.000000Z" in sentence
    assert sentence.endswith("--replace takes the file's")
    result = importing.load(file, broker(), replace=True)
    assert (result.read, result.new, result.conflicts) == (29, 29, 0)
    assert not importing.notes.failed
    frame = read_bars(file)
    found = stored(importing, "EUR_USD", "1h")
    assert found.index.tolist() == frame.index.tolist(), "the line that is gone is gone in the store"
    assert found["high"].tolist() == frame["<HIGH>"].tolist()
    importing.rolled_up()
    days = stored(importing, "EUR_USD", "1d")
    assert days["high"].astype(float).tolist()[0] == 1.5
    assert days["volume"].astype(int).sum() == frame["<TICKVOL>"].astype(int).sum()


def test_replacement_leaves_candles_of_live_feeds_and_other_intervals(importing: Importing, tmp_path: Path) -> None:
    file = bars(tmp_path, "EURUSD_H1.csv", datetime(2026, 3, 2), timedelta(hours=1), 10)  # noqa: DTZ001
    minutes = bars(tmp_path, "EURUSD_M1.csv", datetime(2026, 3, 2), timedelta(minutes=1), 10)  # noqa: DTZ001
    importing.load(minutes, broker())
    importing.load(file, broker())
    importing.query("UPDATE candles SET source = 'oanda' WHERE interval = '1h' AND start_time = '2026-03-02T00:00:00Z' RETURNING 1")
    assert importing.load(file, broker(), replace=True).new == 9
    assert set(stored(importing, "EUR_USD", "1h")["source"]) == {"oanda", "import:metatrader"}
    assert len(stored(importing, "EUR_USD", "1m")) == 10


@pytest.mark.parametrize("in_order", [True, False])
def test_months_of_a_file_are_read_again_after_an_outage(tmp_path: Path, in_order: bool) -> None:
    """Each month has the same records, in its first transaction and in a repeated one."""
    times = [f"2026-0{month}-0{day}T00:00:00Z" for month in (1, 3, 4) for day in (1, 2, 3)]
    lines = [f"{time},1.1,1.2" for time in (times if in_order else times[::-1])]
    file = tmp_path / "EUR_USD.csv"
    file.write_text("\n".join(["time,bid,ask", *lines]) + "\n")
    recording = open_recording(file, first_calendars(), now=utc_now())
    readings = []

    def found(note: Any) -> Any:
        readings.append(1)
        return read(recording, first_calendars(), note, now=utc_now())

    def in_month(batches: Sequence[Sequence[Any]]) -> list[str]:
        return sorted(row.time for batch in batches for row in batch if isinstance(row, PriceRow))

    for again in (True, False):
        readings.clear()
        months = []
        for month in recorded_months(found, lambda place, error: None, Contents()):
            rows = in_month(list(month.batches()))
            assert not again or in_month(list(month.batches())) == rows
            assert all(month.start <= time <= month.end for time in rows)
            months.append(len(rows))
        assert months == [3, 0, 3, 3]
        if in_order and not again:
            assert len(readings) == 2, "once for the times, once for all months"


# Selection and reports


def test_range_and_instrument_select_records(importing: Importing, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    lines = [f"2026-03-0{day}T00:00:00Z,{symbol},1.1,1.2" for day in (2, 3, 4) for symbol in ("EUR_USD", "gbp/usd")]
    file.write_text("\n".join(["time,instrument,bid,ask", *lines]) + "\n")
    bounds = Selection(start=datetime(2026, 3, 3, tzinfo=UTC), end=datetime(2026, 3, 4, tzinfo=UTC))
    part = importing.load(file, ImportRequest(Options(instrument="GBP_USD"), wanted=bounds))
    assert (part.read, part.instrument, part.first_time, part.last_time) == (1, "GBP_USD", *["2026-03-03T00:00:00.000000Z"] * 2)
    assert importing.load(file, ImportRequest(wanted=bounds)).new == 1
    whole = importing.load(file)
    assert (whole.read, whole.new, whole.instrument) == (6, 4, "EUR_USD,GBP_USD")


def test_rows_older_than_retention_are_stored_with_one_warning(importing: Importing, tmp_path: Path) -> None:
    file = bars(tmp_path, "EURUSD_H1.csv", datetime(2019, 3, 4), timedelta(hours=1), 20)  # noqa: DTZ001
    assert importing.load(file, broker(), RETENTION_CANDLES="730").new == 20
    [warning] = importing.warnings
    assert "older than RETENTION_CANDLES (730 days)" in warning


def test_bad_records_are_counted_by_kind_in_the_result(importing: Importing, tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD.csv"
    good = [f"2026-03-02T00:00:0{number}Z,1.1,1.2" for number in range(4)]
    file.write_text("\n".join(["time,bid,ask", *good, "2099-01-01,1.1,1.2", "2026-03-02T00:00:09Z,1.3,1.2", "rubbish"]) + "\n")
    result = importing.load(file)
    assert (result.read, result.bad) == (4, {"bad_price": 1, "time_in_future": 1, "unreadable": 1})
    assert not importing.notes.failed


# The command


def command(settings: Settings, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **environ_of(settings), "LOG_FILE": "", "LOG_FORMAT": "text", "LOG_LEVEL": "WARNING", **extra}
    argv = [sys.executable, "manage.py", "import", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_command_prints_one_object_per_file_and_its_exit_code(settings: Settings, tmp_path: Path) -> None:
    file = bars(tmp_path, "EURUSD_M1.csv", datetime(2026, 3, 2), timedelta(minutes=1), 10)  # noqa: DTZ001
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("Day;Bid px;Ask px\n1;2;3\n")
    arguments = ("--json", "--timezone", BROKER, unknown, file)
    done = command(settings, *arguments)
    assert done.returncode == 1, done.stderr
    refused, taken = map(json.loads, done.stdout.splitlines())
    assert refused["refused"].startswith("no known format. Line 1: ")
    assert set(taken) == {
        "file", "format", "source", "instrument", "kind", "interval", "read", "new", "bad", "conflicts", "first_time", "last_time",
    }  # fmt: skip
    assert (taken["read"], taken["new"]) == (10, 10)
    assert "EURUSD_M1.csv ━" in done.stderr
    assert "unknown.csv ━" not in done.stderr, "no bar of a refused file"
    done = command(settings, *arguments[1:3], file)
    assert (done.returncode, done.stdout) == (0, "EURUSD_M1.csv: 10 rows read, 0 new\n"), done.stderr
    correct(file, 1)
    done = command(settings, *arguments[1:3], "--format", "metatrader5-bars", file)
    assert (done.returncode, done.stdout) == (1, "EURUSD_M1.csv: 10 rows read, 0 new\n"), done.stderr
    assert "1 conflict with rows that are stored already" in done.stderr


def test_dry_run_changes_nothing_and_names_every_sample(settings: Settings, store: Store, tmp_path: Path) -> None:
    """The files of brokers need a zone; the others have their own."""
    files = sorted(file for file in SAMPLES.iterdir() if "metatrader" not in file.name)
    done = command(settings, "--dry-run", *files)
    assert done.returncode == 0, done.stderr
    of_brokers = sorted(file for file in SAMPLES.iterdir() if "metatrader" in file.name)
    nowhere = {"DATABASE_URL": "", "DB_HOST": "", "REDIS_URL": "", "HUB_DATA_DIR": str(tmp_path / "nowhere")}
    alone = command(settings, "--dry-run", "--timezone", BROKER, *of_brokers, **nowhere)
    assert alone.returncode == 0, alone.stderr
    blocks = [lines for lines in (done.stdout + alone.stdout).replace("\n  ", "\n\t").split("\n") if lines]
    headings = [line for line in blocks if ": " in line and not line.startswith("\t")]
    assert len(headings) == len(files) + len(of_brokers)
    for file, heading in zip([*files, *of_brokers], headings, strict=True):
        name = file.name.rsplit(".", 2)[1]
        assert heading.startswith(f"{file.name}: {name}, "), heading
        first = blocks.index(heading) + 1
        shown = next(number for number, line in enumerate(blocks[first:]) if not line.startswith("\t"))
        assert 2 <= shown <= 3, heading
        assert " records, 0 bad" in blocks[first + shown]
    with store.transaction() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM prices), (SELECT count(*) FROM candles), (SELECT count(*) FROM backfills)")
        assert cursor.fetchone() == (0, 0, 0)
    assert not (tmp_path / "nowhere").exists()
    assert not settings.hub_data_dir.exists()


# The document


RUN_ALL = """
import json, sys
from manage import cli
for arguments in json.load(sys.stdin):
    cli.main(["import", "--dry-run", *arguments], standalone_mode=False)
"""


def test_commands_of_the_document_read_each_format(settings: Settings, tmp_path: Path) -> None:
    """Each row's file is the sample of the format, under the name that the row gives it."""
    rows = re.findall(r"^\| `(\S+)` \| `manage.py import (\S+)(.*?)` \| (\S+)", (ROOT / "docs" / "import.md").read_text(), re.MULTILINE)
    commands: list[list[str]] = []
    for name, file, options, _ in rows:
        stem, ending = file.rsplit(".", 1)
        copy = tmp_path / f"{len(commands)}" / file
        copy.parent.mkdir()
        shutil.copy(SAMPLES / f"{stem}.{name}.{ending}", copy)
        commands.append([str(copy), *options.split()])
    environ = {**os.environ, **environ_of(settings), "LOG_FILE": "", "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        cwd=ROOT,
        env=environ,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    headings = [line for line in done.stdout.splitlines() if ", source import:" in line]
    for (name, file, _, becomes), heading in zip(rows, headings, strict=True):
        assert heading.startswith(f"{file}: {name}, {becomes}"), heading
    assert {name for name, *_ in rows} == set(NAMES) - {"auto"}


def test_output_in_the_document_is_that_of_its_command(settings: Settings) -> None:
    first, output = re.findall(r"```(?:sh)?\n(.*?)```", (ROOT / "docs" / "import.md").read_text(), re.DOTALL)[:2]
    done = command(settings, *first.split()[3:])
    assert done.stdout == output, done.stderr


def test_instruments_without_a_database_are_those_of_the_migrations(importing: Importing) -> None:
    assert first_calendars() == importing.calendars


def test_stop_between_two_files_or_while_one_is_recognised_ends_the_import(importing: Importing, tmp_path: Path) -> None:
    """`tests/integration/test_backfill.py` stops and kills it within a file."""
    copy = tmp_path / "EUR_USD.csv"
    shutil.copy(SAMPLES / "EUR_USD.tickwire.csv", copy)
    chosen, stop = settings_module.load({}, dotenv=None), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        load([copy], ImportRequest(), chosen, importing.store, stop, Output(as_json=False))
    with pytest.raises(Stopped):
        Importer(importing.calendars, ImportRequest(), Notes(), utc_now, stop).opened(copy)
    assert load([copy], ImportRequest(), chosen, importing.store, threading.Event(), Output(as_json=False))
    assert importing.query("SELECT count(*) > 0 FROM prices") == [(True,)]
