"""`manage.py backfill`, stopped, killed and repeated: every row once, every fault named."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner

import cli.past
import manage
from config.settings import Settings
from db.candles import CandleRow, insert_candles
from db.decimals import middle
from db.partitions import make_months
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn
from tests.support.processes import ROOT, environ_of

RECORDINGS = ROOT / "data" / "recordings"
TICKS = RECORDINGS / "EUR_USD_20140505.csv.gz"
CANDLES = RECORDINGS / "EUR_USD_H1.csv.gz"
TRADES = ROOT / "tests" / "data" / "binance" / "ethusdt_20240808.gz"
ANSWERS = ROOT / "tests" / "data" / "oanda"
TEXT_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""

Query = Callable[..., list[Any]]


@dataclass(frozen=True, slots=True)
class Command:
    """`manage.py backfill` on the test's own database, with nothing else configured."""

    environ: dict[str, str]

    def argv(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "manage.py", "backfill", *map(str, arguments)]

    def __call__(self, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, **extra}
        return subprocess.run(self.argv(*arguments), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

    @contextmanager
    def started(self, *arguments: str | Path, **extra: str) -> Iterator[subprocess.Popen[str]]:
        environ = {**self.environ, **extra}
        process = subprocess.Popen(self.argv(*arguments), cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def backfill(settings: Settings) -> Command:
    unset = dict.fromkeys(("OANDA_API_TOKEN", "OANDA_ACCOUNT_ID", "LOG_FILE", "BINANCE_SYMBOLS"), "")
    return Command({**os.environ, **unset, **environ_of(settings), "LOG_FORMAT": "text", "LOG_LEVEL": "INFO"})


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    connection = psycopg2.connect(database_url, options="-c timezone=UTC")
    connection.autocommit = True

    def run(statement: str, *parameters: object) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


@contextmanager
def in_the_way(store: Store, statement: str, parameters: Sequence[object], table: str, month: str) -> Iterator[None]:
    """Hold an uncommitted row: an insert of the same row waits until the block ends."""
    with store.transaction() as cursor:
        make_months(cursor, table, [month])
    with store.transaction() as cursor:
        cursor.execute(statement, parameters)
        yield
        cursor.connection.rollback()


def waits(query: Query) -> bool:
    return bool(query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'tickwire-backfill' AND wait_event_type = 'Lock'"))


def recorded(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt") as text:
        return list(csv.DictReader(text))


def stored_ticks(query: Query) -> list[Any]:
    columns = f"{TEXT_TIME.format('time')}, bid::text, ask::text, mid, seq, epoch, source, received = time"
    return query(f"SELECT {columns} FROM prices WHERE instrument = 'EUR_USD' ORDER BY seq")  # noqa: S608


def same_ticks(rows: Sequence[Any]) -> None:
    """Check that the rows equal the recording."""
    lines = recorded(TICKS)
    assert len(rows) == len(lines)
    source, name = "import:tickwire", "file:EUR_USD_20140505.csv"
    for number, (row, line) in enumerate(zip(rows, lines, strict=True), start=2):
        assert (row[0], row[1], row[2]) == (line["time"], line["bid"], line["ask"])
        assert 2 * Fraction(row[3]) == Fraction(line["bid"]) + Fraction(line["ask"])
        assert row[4:] == (number, name, source, True)


def file_args(*files: Path) -> list[str | Path]:
    return ["--source", "file", *(each for file in files for each in ("--file", file))]


TICK_IN_THE_WAY = (
    "INSERT INTO prices (instrument, time, received, bid, ask, mid, source, epoch, seq)"
    " VALUES ('EUR_USD', %s, now(), %s, %s, %s, 'x', 'e', 1)"
)


def tick_in_the_way(index: int) -> tuple[str, str, str, str]:
    """The content of a recorded quote, which is its identity."""
    line = recorded(TICKS)[index]
    return line["time"], line["bid"], line["ask"], middle(line["bid"], line["ask"])


@pytest.mark.slow
def test_recorded_quotes_are_stored_once(backfill: Command, query: Query, tmp_path: Path) -> None:
    done = backfill(*file_args(TICKS), RETENTION_PRICES="730")
    assert (done.returncode, done.stdout) == (0, "EUR_USD_20140505.csv.gz: 25,177 rows read, 25,177 new\n"), done.stderr
    assert " ".join(done.stderr.split()).count("are older than RETENTION_PRICES (730 days)") == 1
    same_ticks(stored_ticks(query))
    assert query("SELECT count(*) FROM candle_marks")[0][0] >= 1000, "minutes to be rolled up"
    done = backfill(*file_args(TICKS))
    assert (done.returncode, done.stdout) == (0, "EUR_USD_20140505.csv.gz: 25,177 rows read, 0 new\n")
    assert "RETENTION" not in done.stderr, "kept for ever: nothing to warn of"
    plain = tmp_path / "EUR_USD_20140505.csv"
    plain.write_bytes(gzip.decompress(TICKS.read_bytes()))
    assert backfill(*file_args(plain)).stdout == "EUR_USD_20140505.csv: 25,177 rows read, 0 new\n"
    same_ticks(stored_ticks(query))


def test_killed_backfill_continues_from_its_position(backfill: Command, query: Query, store: Store) -> None:
    row = tick_in_the_way(12_000)
    with in_the_way(store, TICK_IN_THE_WAY, row, "prices", "2014-05"), backfill.started(*file_args(TICKS)) as process:
        until(lambda: waits(query), 60, "the batch that waits for our row")
        assert query("SELECT position, finished FROM backfills") == [("10001", False)]
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert len(stored_ticks(query)) == 10_000
    done = backfill(*file_args(TICKS))
    assert (done.returncode, done.stdout) == (0, "EUR_USD_20140505.csv.gz: 15,177 rows read, 15,177 new\n"), done.stderr
    same_ticks(stored_ticks(query))


def test_stopped_backfill_exits_cleanly_with_advice(backfill: Command, query: Query, store: Store) -> None:
    row = tick_in_the_way(7_000)
    with backfill.started(*file_args(TICKS)) as process:
        with in_the_way(store, TICK_IN_THE_WAY, row, "prices", "2014-05"):
            until(lambda: waits(query), 60, "the batch that waits for our row")
            process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    # The batch is stored unless its wait for our row has just timed out.
    reached = len(stored_ticks(query))
    assert reached in (5_000, 10_000)
    assert out == f"EUR_USD_20140505.csv.gz: {reached:,} rows read, {reached:,} new\n"
    assert backfill(*file_args(TICKS)).returncode == 0
    same_ticks(stored_ticks(query))


def test_backfill_waits_out_a_short_outage_of_the_store(backfill: Command, query: Query, store: Store) -> None:
    row = tick_in_the_way(12_000)
    with backfill.started(*file_args(TICKS)) as process:
        with in_the_way(store, TICK_IN_THE_WAY, row, "prices", "2014-05"):
            until(lambda: waits(query), 60, "the batch that waits for our row")
            query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tickwire-backfill'")
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "EUR_USD_20140505.csv.gz: 25,177 rows read, 25,177 new\n"), errors
    assert "waits for the store" in errors
    same_ticks(stored_ticks(query))


def test_recorded_candles_replace_our_own(backfill: Command, query: Query, store: Store) -> None:
    with store.transaction() as cursor:
        ours = ("1", "2", "0.5", "1")
        start, end = "2021-03-16T03:00:00.000000Z", "2021-03-16T04:00:00.000000Z"
        insert_candles(cursor, [CandleRow("EUR_USD", "1h", start, end, ours, None, None, "7", 7, complete=True, source="ticks")])
    done = backfill(*file_args(CANDLES))
    assert (done.returncode, done.stdout) == (0, "EUR_USD_H1.csv.gz: 4,000 rows read, 4,000 new\n"), done.stderr
    lines = recorded(CANDLES)
    prices = ", ".join(f"{side}{word}::text" for side in ("", "bid_", "ask_") for word in ("open", "high", "low", "close"))
    length = "extract(epoch FROM end_time - start_time)::int"
    rows = query(
        f"SELECT {TEXT_TIME.format('start_time')}, volume::text, {prices}, {length}, symbol, interval, complete, source "  # noqa: S608
        "FROM candles ORDER BY start_time"
    )
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        sides = [line[f"{side}_{letter}"] for side in ("mid", "bid", "ask") for letter in "ohlc"]
        assert row == (line["time"].replace("Z", ".000Z"), line["volume"], *sides, 3600, "EUR_USD", "1h", True, "import:oanda")
    assert backfill(*file_args(CANDLES), "--again").stdout == "EUR_USD_H1.csv.gz: 4,000 rows read, 0 new\n"


def test_recorded_trades_are_stored_within_the_range(backfill: Command, query: Query) -> None:
    expected = []
    with gzip.open(TRADES, "rt") as text:
        for line in text:
            data = json.loads(line.split(" ", 1)[1]).get("data", {})
            if data.get("e") == "trade":
                moment = datetime.fromtimestamp(data["T"] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                expected.append((data["t"], moment, data["p"], data["q"], "sell" if data["m"] else "buy"))
    columns = f"SELECT trade_id, {TEXT_TIME.format('time')}, price::text, quantity::text, side FROM raw_trades ORDER BY trade_id"  # noqa: S608
    start, end = "2024-08-08T23:56:00Z", "2024-08-08T23:57:00+00:00"
    within = [trade for trade in expected if "2024-08-08T23:56:00.000Z" <= trade[1] < "2024-08-08T23:57:00.000Z"]
    done = backfill(*file_args(TRADES), "--from", start, "--to", end, "--instrument", "ETHUSDT")
    assert (done.returncode, done.stdout) == (0, f"{TRADES.name}: {len(within):,} rows read, {len(within):,} new\n"), done.stderr
    assert query(columns) == within
    done = backfill(*file_args(TRADES))
    assert done.stdout == f"{TRADES.name}: {len(expected):,} rows read, {len(expected) - len(within):,} new\n"
    assert query(columns) == expected


def test_bad_file_is_named_and_the_others_are_stored(backfill: Command, query: Query, tmp_path: Path) -> None:
    foreign = tmp_path / "CAD_CHF_H1.csv"
    foreign.write_bytes(gzip.decompress(CANDLES.read_bytes()))
    half = tmp_path / "EUR_USD_half.csv.gz"
    half.write_bytes(TICKS.read_bytes()[:50_000])
    spotty = tmp_path / "GBP_USD_made.csv"
    spotty.write_text("time,bid,ask\n2014-05-05T00:00:01Z,1.6,1.7\n2014-05-05T00:00:02Z,1.7,1.6\nrubbish\n2014-05-05T00:00:03Z,1.8,1.9\n")
    hopeless = tmp_path / "USD_JPY_made.csv"
    hopeless.write_text("time,bid,ask\nyesterday,1.6,1.7\n")
    answer = ANSWERS / "GetInstrumentCandles200Response.json"
    done = backfill(*file_args(foreign, half, ANSWERS / "pricing.json", hopeless, spotty, answer))
    assert (done.returncode, done.stdout) == (
        1,
        "EUR_USD_half.csv.gz: 7,779 rows read, 7,779 new\nUSD_JPY_made.csv: 0 rows read, 0 new\n"
        "GBP_USD_made.csv: 2 rows read, 2 new\nGetInstrumentCandles200Response.json: 3 rows read, 3 new\n",
    ), done.stderr
    for sentence in (
        "CAD_CHF_H1.csv: no instrument CAD_CHF (from the file's name)",
        "EUR_USD_half.csv.gz: recording", "is damaged after line 7780: the archive ends early",
        "pricing.json: JSON, but no answer of OANDA's with candles",
        "nothing in", "the first that cannot is line 2: 'yesterday' is not a time",
        "GBP_USD_made.csv: 2 bad: 1 of kind bad_price, 1 of kind unreadable; first: line 3: bid 1.7 is above ask 1.6",
    ):  # fmt: skip
        assert sentence in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr
    assert query("SELECT instrument, count(*) FROM prices GROUP BY 1 ORDER BY 1") == [("EUR_USD", 7_779), ("GBP_USD", 2)]
    assert query("SELECT symbol, interval, source, count(*) FROM candles GROUP BY 1, 2, 3") == [("AUD_JPY", "1m", "import:oanda", 3)]


def test_bad_lines_alone_leave_the_exit_code_0(backfill: Command, tmp_path: Path) -> None:
    file = tmp_path / "GBP_USD.csv"
    file.write_text("time,bid,ask\n2014-05-05T00:00:01Z,1.6,1.7\n2099-01-01,1.6,1.7\n")
    done = backfill(*file_args(file))
    assert (done.returncode, done.stdout) == (0, "GBP_USD.csv: 1 rows read, 1 new\n"), done.stderr
    assert (
        done.stderr.strip().splitlines()[-1].startswith("GBP_USD.csv: 1 bad: 1 of kind time_in_future; first: line 3: time 2099-01-01T00")
    )


def test_conflicts_end_with_exit_code_1_until_the_file_replaces(backfill: Command, query: Query, tmp_path: Path) -> None:
    file = tmp_path / "GBP_USD.csv"
    lines = [f"2014-05-05T00:00:0{second}Z,1.6,1.7" for second in range(7)]
    file.write_text("\n".join(["time,bid,ask", *lines]) + "\n")
    assert backfill(*file_args(file)).stdout == "GBP_USD.csv: 7 rows read, 7 new\n"
    file.write_text(file.read_text().replace(",1.7", ",1.8"))
    done = backfill(*file_args(file))
    assert (done.returncode, done.stdout) == (1, "GBP_USD.csv: 7 rows read, 0 new\n"), done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("GBP_USD.csv: 7 conflicts with rows that are stored already (first: GBP_USD")
    assert said.endswith("; --replace takes the file's")
    assert said.count("given") == 5
    assert done.stderr.count("record conflicts with a stored one") == 7
    done = backfill(*file_args(file), "--replace")
    assert (done.returncode, done.stdout) == (0, "GBP_USD.csv: 7 rows read, 7 new\n"), done.stderr
    assert query("SELECT count(*), min(ask)::text, max(ask)::text FROM prices") == [(7, "1.8", "1.8")]


@pytest.mark.parametrize(
    ("arguments", "option", "message"),
    [
        ([*file_args(TICKS), "--from", "noon"], "--from", "'noon' is not a time like"),
        (["--source", "file", "--file", "/nothing/there.csv"], "--file", "does not exist"),
        ([*file_args(TICKS), "--instrument", "EUR_DKK"], "--instrument", "EUR_DKK is not an instrument; there are"),
        (["--source", "oanda", "--from", "2024-01-01", "--to", "2024-01-02"], "OANDA_API_TOKEN", "needed for --source oanda"),
    ],
)
def test_invalid_command_names_its_option(
    settings: Settings, arguments: list[str | Path], option: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.past, "chosen_settings", lambda service: settings)
    monkeypatch.setattr(cli.past, "stopped_by_signals", threading.Event)
    done = CliRunner().invoke(manage.cli, ["backfill", *map(str, arguments)])
    words = " ".join(done.stderr.split())
    assert done.exit_code == 2, words
    assert option in words
    assert message in words
    assert isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_candles_of_oanda_are_fetched_and_stored(backfill: Command, query: Query) -> None:
    lines = recorded(CANDLES)
    hours = ["--source", "oanda", "--instrument", "EUR_USD", "--interval", "1h", "--from", "2021-03-16", "--to", "2021-11-04"]
    with OandaStandIn(candles={("EUR_USD", "H1"): CANDLES}, now="2021-11-04T12:00:00Z") as oanda:
        oanda.control(do="refuse", status=401, times=1)
        done = backfill(*hours, **oanda.environ)
        assert done.returncode == 1
        assert "EUR_USD 1h: HTTP 401" in done.stderr
        assert "Traceback" not in done.stderr
        oanda.control(do="refuse", status=429, times=1, retry_after=0)
        done = backfill(*hours, **oanda.environ)
        assert (done.returncode, done.stdout) == (0, "oanda: 4000 rows read, 4000 new\n"), done.stderr
        for text in (done.stdout, done.stderr):
            assert oanda.token not in text
            assert oanda.account not in text
        rows = query(
            f"SELECT {TEXT_TIME.format('start_time')}, open::text, close::text, bid_low::text, ask_high::text FROM candles ORDER BY 1"  # noqa: S608
        )
        assert rows == [(line["time"].replace("Z", ".000Z"), line["mid_o"], line["mid_c"], line["bid_l"], line["ask_h"]) for line in lines]
        asked = oanda.state()["candles_requests"]
        assert "complete already" in backfill(*hours, **oanda.environ).stdout
        assert oanda.state()["candles_requests"] == asked
        done = backfill(*hours, "--again", **oanda.environ)
        assert done.stdout == "oanda: 4000 rows read, 0 new\n", done.stderr
        days = ["--source", "oanda", "--instrument", "EUR_USD", "--interval", "4h", "--interval", "1d", *hours[6:]]
        assert backfill(*days, **oanda.environ).returncode == 0
        known = query("SELECT DISTINCT symbol, interval, start_time::text, end_time::text, finished FROM backfills ORDER BY 2")
        assert [(row[1], row[4]) for row in known] == [("1d", True), ("1h", True), ("4h", True)]
        assert {row[0] for row in query("SELECT DISTINCT interval FROM candles WHERE source = 'oanda'")} == {"1h", "4h", "1d"}


@pytest.mark.slow
def test_trades_of_binance_are_stored_once_despite_a_kill(backfill: Command, query: Query, store: Store, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, symbols=("BTCUSDT",), trades=10_000, per_second=100.0, waits=True) as binance:
        binance.control("jump")
        everything = binance.expected()
        first, last = everything[2_000], everything[8_000]
        wanted = [trade for trade in everything if first.time <= trade.time < last.time]
        arguments = ["--source", "binance", "--from", first.time, "--to", last.time]
        hindrance = wanted[3_500]
        statement = "INSERT INTO raw_trades VALUES (%s, %s, %s, 1, 1, 'buy')"
        row = (hindrance.symbol, hindrance.time, hindrance.trade_id)
        with (
            in_the_way(store, statement, row, "raw_trades", hindrance.time[:7]),
            backfill.started(*arguments, **binance.variables) as process,
        ):
            until(lambda: waits(query), 60, "the page that waits for our row")
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        ((position, finished),) = query("SELECT position, finished FROM backfills")
        kept = query("SELECT max(trade_id) FROM raw_trades")[0][0]
        assert (int(position), finished) == (kept, False)
        assert wanted[0].trade_id < kept < hindrance.trade_id
        binance.control("refuse", status=503, count=2)
        done = backfill(*arguments, **binance.variables)
        left = sum(trade.trade_id > kept for trade in wanted)
        assert (done.returncode, done.stdout) == (0, f"binance: {left} rows read, {left} new\n"), done.stderr
        micro = """to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        rows = query(f"SELECT symbol, trade_id, {micro}, price::text, quantity::text, side FROM raw_trades ORDER BY trade_id")  # noqa: S608
        assert rows == [trade[:6] for trade in wanted]
        late = format_time(datetime.fromisoformat(everything[-1].time) + timedelta(days=1))
        done = backfill("--source", "binance", "--from", everything[-1].time, "--to", late, **binance.variables)
        assert (done.returncode, done.stdout) == (0, "binance: 1 rows read, 1 new\n"), done.stderr


@pytest.mark.slow
def test_backfill_without_a_server_starts_the_embedded_database(backfill: Command, tmp_path: Path) -> None:
    nowhere = {"DATABASE_URL": "", "DB_HOST": "", "REDIS_URL": "", "HUB_DATA_DIR": str(tmp_path / "own")}
    done = backfill(*file_args(ANSWERS / "GetInstrumentCandles200Response.json"), **nowhere)
    assert (done.returncode, done.stdout) == (0, "GetInstrumentCandles200Response.json: 3 rows read, 3 new\n"), done.stderr
    assert not list((tmp_path / "own").glob("run.json"))
    again = backfill(*file_args(ANSWERS / "GetInstrumentCandles200Response.json"), **nowhere)
    assert again.stdout == "GetInstrumentCandles200Response.json: 3 rows read, 0 new\n"
