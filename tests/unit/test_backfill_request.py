"""Valid requests of a backfill, and their parts."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import settings as settings_module
from config.settings import Settings
from db.instruments import Instrument, calendars_of
from jobs.backfill.file_tasks import Selection, position_key
from jobs.backfill.fill import retention
from jobs.backfill.imports import Importer, ImportRequest
from jobs.backfill.recordings import open_recording
from jobs.backfill.report import Notes
from jobs.backfill.request import Request, check, import_request
from jobs.backfill.request import tasks as make_tasks
from jobs.backfill.tasks import BackfillTask
from jobs.feeds.files.formats.model import BadOptionValue, Options
from tests.support.instruments import make_instrument

TICKS = Path(__file__).parents[2] / "data" / "recordings" / "EUR_USD_20140505.csv.gz"
MARKET = [
    make_instrument("EUR_USD", "", "fx", 5, "oanda"),
    make_instrument("USD_JPY", "", "fx", 3, "oanda"),
    make_instrument("BTCUSDT", "", "crypto", 2, "binance"),
    make_instrument("AAPL", "", "equity", 2, "synthetic"),
]
NOW = datetime(2024, 6, 1, tzinfo=UTC)
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
OANDA = Request("oanda", START, END, (), (), ())
BINANCE = Request("binance", START, END, (), (), ())
FILE = Request("file", None, None, (), (), (TICKS,))
PART = Selection((), START, END)


def tasks(request: Request, settings: Settings, instruments: list[Instrument], notes: Notes) -> list[BackfillTask]:
    return make_tasks(request, settings, instruments, notes, lambda: NOW)


@pytest.fixture
def settings() -> Settings:
    return settings_module.load({"OANDA_API_TOKEN": "token", "BINANCE_SYMBOLS": "BTCUSDT"}, dotenv=None)


@pytest.mark.parametrize("request_", [OANDA, BINANCE, FILE, replace(OANDA, intervals=("1h",)), replace(FILE, start=START)])
def test_valid_request_passes(request_: Request, settings: Settings) -> None:
    check(request_, settings, NOW)


@pytest.mark.parametrize(
    ("request_", "option", "message"),
    [
        (replace(FILE, files=()), "--file", "needed for --source file"),
        (replace(BINANCE, files=(TICKS,)), "--file", "not for --source binance"),
        (replace(OANDA, start=None), "--from", "needed for --source oanda"),
        (replace(BINANCE, end=None), "--to", "needed for --source binance"),
        (replace(OANDA, start=END), "--from", "must be before --to"),
        (replace(FILE, start=END, end=START), "--from", "must be before --to"),
        (replace(OANDA, end=datetime(2024, 6, 2, tzinfo=UTC)), "--to", "is in the future"),
        (replace(BINANCE, intervals=("1h",)), "--interval", "only for --source oanda"),
        (replace(FILE, intervals=("1h",)), "--interval", "only for --source oanda"),
    ],
)
def test_invalid_request_names_its_option(request_: Request, option: str, message: str, settings: Settings) -> None:
    with pytest.raises(BadOptionValue, match=message) as error:
        check(request_, settings, NOW)
    assert error.value.option == option


def test_request_for_oanda_without_a_token_is_refused() -> None:
    with pytest.raises(BadOptionValue, match="needed") as error:
        check(OANDA, settings_module.load({}, dotenv=None), NOW)
    assert error.value.option == "OANDA_API_TOKEN"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (replace(OANDA, instruments=("EUR_USD", "BTCUSDT")), "BTCUSDT is not an instrument of OANDA; there are EUR_USD, USD_JPY"),
        (replace(BINANCE, instruments=("EUR_USD",)), "EUR_USD is not an instrument of Binance; there are BTCUSDT"),
    ],
)
def test_unknown_instrument_is_named(request_: Request, message: str, settings: Settings) -> None:
    with pytest.raises(BadOptionValue, match=message) as error:
        tasks(request_, settings, MARKET, Notes())
    assert error.value.option == "--instrument"


def test_unknown_instrument_of_files_is_named() -> None:
    with pytest.raises(BadOptionValue, match="EUR_DKK is not an instrument; there are EUR_USD, USD_JPY, BTCUSDT, AAPL") as error:
        import_request(replace(FILE, instruments=("EUR_DKK",)), MARKET)
    assert error.value.option == "--instrument"


def test_unknown_symbol_of_a_setting_names_the_setting() -> None:
    with pytest.raises(BadOptionValue, match="DOGEUSDT is not an instrument of Binance") as error:
        tasks(BINANCE, settings_module.load({"BINANCE_SYMBOLS": "BTCUSDT,DOGEUSDT"}, dotenv=None), MARKET, Notes())
    assert error.value.option == "BINANCE_SYMBOLS"


def test_request_without_instruments_means_all_and_repeats_count_once(settings: Settings) -> None:
    titles = [part.title for part in tasks(OANDA, settings, MARKET, Notes())]
    assert titles == [f"{symbol} {interval}" for symbol in ("EUR_USD", "USD_JPY") for interval in ("1m", "5m", "15m", "1h", "4h", "1d")]
    twice = replace(OANDA, instruments=("USD_JPY", "USD_JPY"), intervals=("1d", "1d"))
    (part,) = tasks(twice, settings, MARKET, Notes())
    assert (part.asked.source, part.asked.symbol, part.asked.interval) == ("oanda", "USD_JPY", "1d")
    assert (part.asked.start, part.asked.end) == ("2024-01-01T00:00:00.000000Z", "2024-01-02T00:00:00.000000Z")
    assert [part.asked.symbol for part in tasks(BINANCE, settings, MARKET, Notes())] == ["BTCUSDT"]


def test_position_in_a_file_is_kept_by_its_content_and_the_options(tmp_path: Path) -> None:
    renamed = tmp_path / "EUR_USD.csv.gz"
    shutil.copy(TICKS, renamed)
    calendars = calendars_of(MARKET)
    requests = [ImportRequest(), ImportRequest(source="mine"), ImportRequest(Options(instrument="EUR_USD")), ImportRequest(wanted=PART)]

    def key(file: Path, wanted: ImportRequest) -> str:
        recording = open_recording(file, calendars, wanted.options, source=wanted.source, now=NOW)
        return position_key(recording, wanted.options, wanted.wanted)

    keys = [key(TICKS, each) for each in requests]
    assert len(set(keys)) == len(keys)
    assert key(renamed, requests[0]) == keys[0]


def test_file_request_selects_by_its_options() -> None:
    one = import_request(replace(FILE, start=START, instruments=("EUR_USD", "EUR_USD")), MARKET)
    assert (one.options.instrument, one.wanted) == ("EUR_USD", Selection((), START, None))
    two = import_request(replace(FILE, instruments=("EUR_USD", "USD_JPY")), MARKET)
    assert (two.options.instrument, two.wanted.symbols) == (None, ("EUR_USD", "USD_JPY"))


def test_unreadable_file_is_noted(tmp_path: Path) -> None:
    notes = Notes()
    importer = Importer({"EUR_USD": "fx"}, ImportRequest(), notes, lambda: NOW, threading.Event())
    assert importer.opened(tmp_path / "gone.csv") is None
    assert notes.failed
    assert notes.sentences()[0].startswith("gone.csv: ")


def test_table_without_retention_has_no_limit() -> None:
    limits = retention(settings_module.load({"RETENTION_TRADES": "0", "RETENTION_PRICES": "31"}, dotenv=None), NOW)
    assert set(limits) == {"prices", "candles"}
    assert (limits["prices"].name, limits["prices"].since) == ("RETENTION_PRICES", "2024-05-01T00:00:00.000000Z")
