"""Refusals of files: each names the file, the line, the cause and the next step; exit code 1."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config import settings as settings_module
from config.settings import SettingsError
from jobs.backfill.imports import Importer, ImportRequest
from jobs.backfill.report import Notes
from jobs.feeds.files.formats.columns import parse_columns
from jobs.feeds.files.formats.model import Options
from tests.support.processes import ROOT

CALENDARS = {"EUR_USD": "fx", "BTCUSDT": "crypto", "AAPL": "equity"}
NOW = datetime(2026, 6, 1, tzinfo=UTC)
MT5_TICKS = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n2026.03.02\t09:00:00.123\t1.1\t1.2\t\t\t6\n"
MT5_BARS = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n2026.03.02\t09:00:00\t1\t1\t1\t1\t5\t0\t1\n"
BAD_LINES = [f"line {number}, {'x' * 150}" for number in range(7)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file, its options, and all texts that its refusal has after the file's name."""

    name: str
    text: str
    reasons: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


def days(*starts: str) -> str:
    return "\n".join(["Date,Open,High,Low,Close", *(f"{start},1.1,1.2,1.0,1.1" for start in starts)]) + "\n"


REFUSALS = [
    Refusal(
        "quotes.csv",
        "Day;Bid px;Ask px\n2026-03-02;1.1;1.2\n",
        (
            "no known format. Line 1: 'Day;Bid px;Ask px'. Nearest: ticks (time,bid,ask), ",
            '. Name the columns: --columns time=Day,bid="Bid px",…; formats: docs/import.md',
        ),
    ),
    Refusal("empty.csv", "", ("no known format. Line 1: ''.", "formats: docs/import.md")),
    Refusal("long.csv", "y" * 500 + "\n", (f"no known format. Line 1: '{'y' * 120}'.",)),
    Refusal(
        "XAUUSD_M1.csv",
        MT5_BARS,
        ("no instrument XAU_USD (from the file's name). --instrument NAME, or manage.py instrument add XAU_USD --kind metal …",),
        {"timezone": "UTC"},
    ),
    Refusal("EUR_USD.csv", "time,bid,ask\n", ("no instrument FOO (from --instrument). --instrument NAME",), {"instrument": "FOO"}),
    Refusal("data.csv", "time,bid,ask\n", ("no instrument DATA (from the file's name). --instrument NAME",)),
    Refusal("EURUSD.csv", MT5_TICKS, ("metatrader5-ticks has the broker's time: add --timezone America/New_York+07:00", "Europe/Athens")),
    Refusal("EURUSD_M1.csv", MT5_BARS, ("metatrader5-bars has the broker's time: add --timezone America/New_York+07:00", "Europe/Athens")),
    Refusal("AAPL.csv", days("03/04/2026"), ("line 2: '03/04/2026' may be March or April: --date-format dmy or mdy",)),
    Refusal(
        "EUR_USD.csv",
        "\n".join(["time,bid,ask", "2026-03-02T09:00:00Z,1.1,1.2", *BAD_LINES]) + "\n",
        (
            "7 of its first 8 records are bad; nothing is stored.",
            *(f"line {number + 3}: 'line {number}, {'x' * 112}': 2 fields instead of 3" for number in range(5)),
        ),
    ),
    Refusal(
        "EURUSD_D1.csv",
        days("2026-03-02", "2026-03-03", "2026-03-04"),
        ("1d candles of EUR_USD begin at 17:00 New York; import 1h or 1m instead. Line 2: '2026-03-02,1.1,1.2,1.0,1.1'",),
    ),
    Refusal(
        "EURUSD_H4.csv",
        days("2026-03-02T00:00:00Z", "2026-03-02T04:00:00Z").replace("Date", "time"),
        ("4h candles of EUR_USD begin at 17:00 New York; import 1h or 1m instead. Line 2: ",),
    ),
    Refusal("AAPL.csv", days("2026-03-02", "2026-03-04"), ("the smallest step between its first candles is 2880 minutes",)),
]


def refused(file: Path, options: Options) -> list[str]:
    """The sentences about a refused file."""
    notes = Notes()
    importer = Importer(CALENDARS, ImportRequest(options), notes, lambda: NOW, threading.Event())
    assert importer.opened(file) is None
    assert notes.failed
    return notes.sentences()


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reasons[0][:30])
def test_refusal_names_file_line_cause_and_next_step(refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / refusal.name
    file.write_text(refusal.text)
    [sentence] = refused(file, Options(**refusal.options))  # type: ignore[arg-type]
    assert sentence.startswith(f"{refusal.name}: {refusal.reasons[0]}")
    for reason in refusal.reasons:
        assert reason in sentence
    assert "line 8" not in sentence, "five bad lines are enough"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.parquet", b"PAR1\x15\x04", """convert it: duckdb -c "COPY (FROM 'x.parquet') TO 'x.csv'\""""),
        ("x.csv.gz", gzip.compress(b"time,bid,ask", mtime=0)[:15], "is damaged after line 0: the archive ends early"),
    ],
)
def test_file_without_text_is_refused_with_its_cause(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    [sentence] = refused(file, Options())
    assert sentence.startswith(f"{name}: ")
    assert reason in sentence


def test_columns_that_the_proposal_names_are_read(tmp_path: Path) -> None:
    file = tmp_path / "quotes.csv"
    file.write_text("Day;Bid px;Ask px\n2026-03-02;1.1;1.2\n")
    columns = parse_columns('time=Day,bid="Bid px",ask="Ask px"')
    request = ImportRequest(Options(columns=columns, instrument="EUR_USD"))
    assert Importer(CALENDARS, request, Notes(), lambda: NOW, threading.Event()).opened(file) is not None


@pytest.mark.parametrize(("good", "accepted"), [(2, False), (3, True), (4, True)])
def test_file_is_refused_if_more_than_half_of_its_first_records_are_bad(tmp_path: Path, good: int, accepted: bool) -> None:
    file = tmp_path / "EUR_USD.csv"
    lines = [f"2026-03-02T09:00:0{number}Z,1.1,1.2" for number in range(good)]
    file.write_text("\n".join(["time,bid,ask", *["rubbish"] * 3, *lines]) + "\n")
    importer = Importer(CALENDARS, ImportRequest(), Notes(), lambda: NOW, threading.Event())
    assert (importer.opened(file) is not None) is accepted
    lenient = Importer(CALENDARS, ImportRequest(strict=False), Notes(), lambda: NOW, threading.Event())
    assert lenient.opened(file) is not None, "`backfill --source file` reports bad lines"


def test_lines_after_the_first_1000_records_do_not_refuse_a_file(tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD.csv"
    lines = [f"2026-03-02T09:{number // 60:02}:{number % 60:02}Z,1.1,1.2" for number in range(1_000)]
    file.write_text("\n".join(["time,bid,ask", *lines, *["rubbish"] * 5_000]) + "\n")
    assert Importer(CALENDARS, ImportRequest(), Notes(), lambda: NOW, threading.Event()).opened(file) is not None


def command(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """`manage.py import --dry-run` without servers and settings."""
    environ = {"PATH": "", "HUB_DATA_DIR": str(folder / "var"), "DATABASE_URL": "", "REDIS_URL": "", "LOG_FORMAT": "text"}
    argv = [sys.executable, "manage.py", "import", "--dry-run", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_command_refuses_each_file_by_name_and_exits_with_1(tmp_path: Path) -> None:
    files = []
    for number, refusal in enumerate(each for each in REFUSALS if not each.options):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(folder / refusal.name)
        files[-1].write_text(refusal.text)
    done = command(*files, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    names = [line.partition(": ")[0] for line in done.stderr.splitlines() if line[:1] != " "]
    assert [Path(name).name for name in names] == [file.name for file in files]
    assert len(set(names)) == len(files), "a second file of one name has its path"
    assert "━" not in done.stderr, "no bar of a refused file"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--source", "My Broker", "is not a name of at most 32 characters of a-z 0-9 _ . -"),
        ("--source", "x" * 33, "is not a name of at most 32 characters of a-z 0-9 _ . -"),
        ("--columns", "price=Bid", "is not FIELD=COLUMN; the fields are time instrument bid ask"),
        ("--timezone", "Mars/Olympus", "is no zone"),
    ],
)
def test_bad_value_of_an_option_exits_with_2(tmp_path: Path, option: str, value: str, message: str) -> None:
    file = tmp_path / "EUR_USD.csv"
    file.write_text("time,bid,ask\n2026-03-02T09:00:00Z,1.1,1.2\n")
    done = command(option, value, file, folder=tmp_path)
    words = " ".join(done.stderr.split())
    assert done.returncode == 2, words
    assert f"Invalid value for {option}: " in words
    assert message in words


def test_settings_refuse_a_source_named_import() -> None:
    with pytest.raises(SettingsError, match=r"import is the source of files, not a live source; load them with `manage.py import FILE`"):
        settings_module.load({"SOURCES": "import"}, dotenv=None)
