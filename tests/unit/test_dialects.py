"""Dialects of recorded files: each notation gives the same records, in replay and backfill."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import SourceSpec
from db.decimals import plain_decimal
from db.prices import PriceRow
from jobs.backfill.recordings import open_recording, read
from jobs.feeds.files.formats import names
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.files.text_files import Undamaged, text_lines
from tests.support.examples import with_shared_fixtures

CALENDARS = {"EUR_AUD": "fx", "EUR_USD": "fx", "EUR": "fx"}
NOW = datetime(2025, 11, 18, tzinfo=UTC)
QUOTES = [("2021-06-01T10:00:01.000000Z", "1.5701", "1.5704"), ("2021-06-01T10:00:02.000000Z", "1.5702", "1.5705")]
LINES = "time,bid,ask\n2021-06-01T10:00:01Z,1.5701,1.5704\n2021-06-01T10:00:02Z,1.5702,1.5705\n"

Found = tuple[list[tuple[str, str, str]], dict[str, str]]  # (time, bid, ask) of the records, place -> fault
Way = Callable[[Path], Found]


def loaded(file: Path) -> Found:
    bad: dict[str, str] = {}
    recording = open_recording(file, CALENDARS, now=NOW, strict=False)
    rows = [row for _, row in read(recording, CALENDARS, lambda place, error: bad.update({place: str(error)}), now=NOW)]
    return [(row.time, row.bid, row.ask) for row in rows if isinstance(row, PriceRow)], bad


def replayed(file: Path) -> Found:
    source = ReplaySource(SourceSpec("replay", file, None), CALENDARS, clock=lambda: NOW)
    ticks = [tick for raw in source.fetch(threading.Event()) for tick in source.parse(raw)]
    bad = dict([source.refusals.first]) if source.refusals.first else {}
    return [(tick.time, tick.bid, tick.ask) for tick in ticks], bad


both_ways = pytest.mark.parametrize("way", [loaded, replayed])


def written(folder: Path, content: str | bytes, name: str = "EUR_AUD.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@both_ways
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(LINES, id="plain"),
        pytest.param(LINES.encode("utf-8-sig"), id="byte order mark"),
        pytest.param(LINES.encode("utf-16"), id="utf-16 little endian"),
        pytest.param(b"\xfe\xff" + LINES.encode("utf-16-be"), id="utf-16 big endian"),
        pytest.param(gzip.compress(LINES.encode("utf-16")), id="utf-16, gzipped"),
        pytest.param(LINES.replace("\n", "\r\n"), id="crlf"),
        pytest.param(LINES.replace("\n", "\r"), id="cr"),
        pytest.param("\n \n" + LINES, id="blank lines before"),
        pytest.param(LINES.replace("\n", "\n\n"), id="blank lines between"),
        pytest.param(LINES.replace(",", " , "), id="blanks"),
        pytest.param(LINES.replace("time,bid,ask", " TIME , Bid,ASK "), id="capitals"),
        pytest.param(LINES.replace(",", ";"), id="semicolons"),
        pytest.param(LINES.replace(",", "\t"), id="tabs"),
        pytest.param(LINES.replace("\n", ",\n"), id="trailing comma"),
        pytest.param(LINES.replace("\n", "\t\n").replace(",", "\t"), id="trailing tab"),
        pytest.param("".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in LINES.split()), id="quoted"),
        pytest.param(LINES.replace("time,bid,ask", '"time", "bid", "ask"'), id="quoted header"),
        pytest.param(LINES.replace("2021-06-01T10:00:01Z", '"2021-06-01T10:00:01Z"'), id="one quoted field"),
        pytest.param(LINES.replace("10:00:01Z,", "10:00:01Z,\"").replace(",1.5704", "\",1.5704"), id="quoted in the middle"),
        pytest.param(LINES.rstrip("\n"), id="no end of the last line"),
        pytest.param(LINES.replace("T", " ").replace("Z", ""), id="times without T and Z"),
        pytest.param(LINES.replace("T10", "T12").replace("Z", "+02:00"), id="times with an offset"),
        pytest.param(LINES.replace("Z", ".000000999Z"), id="nanoseconds"),
    ],
)  # fmt: skip
def test_dialect_gives_the_same_quotes(tmp_path: Path, way: Way, content: str | bytes) -> None:
    assert way(written(tmp_path, content)) == (QUOTES, {})


@both_ways
def test_quotation_mark_too_many_costs_one_line(tmp_path: Path, way: Way) -> None:
    found, bad = way(written(tmp_path, LINES.replace("2021-06-01T10:00:01Z,", '"2021-06-01T10:00:01Z,')))
    assert found == QUOTES[1:]
    assert list(bad) == ["line 2"]


@both_ways
@pytest.mark.parametrize(("digits", "unit"), [(10, 1), (13, 1_000), (16, 1_000_000), (19, 1_000_000_000)])
def test_unix_times_are_read_by_their_digits(tmp_path: Path, way: Way, digits: int, unit: int) -> None:
    moments = np.array(["2021-06-01T10:00:01", "2021-06-01T10:00:02"], dtype="datetime64[s]").astype("int64") * unit
    lines = [f"{moment},{bid},{ask}" for moment, (_, bid, ask) in zip(moments, QUOTES, strict=True)]
    assert len(str(moments[0])) == digits
    assert way(written(tmp_path, "\n".join(["time,bid,ask", *lines]))) == (QUOTES, {})


@both_ways
@pytest.mark.parametrize("first", ["1622541601", "1622541601000", "1622541601000000", "1622541601000000000", "2021-06-01T10:00:01Z"])
def test_line_in_another_notation_of_times_is_bad(tmp_path: Path, way: Way, first: str) -> None:
    numbers = ("1622541602", "1622541602000", "1622541602000000", "16225416020", "20210601", "-1622541602", "1622541602.0")
    for other in (*numbers, "2021-06-01T10:00:02Z"):
        same = len(first) == len(other)
        found, bad = way(written(tmp_path, f"time,bid,ask\n{first},1.5701,1.5704\n{other},1.5702,1.5705\n"))
        assert found == (QUOTES if same else QUOTES[:1]), other
        assert list(bad) == ([] if same else ["line 3"]), other


@both_ways
@pytest.mark.parametrize(
    ("price", "stored"),
    [
        ("1.57e0", "1.57"),
        ("1.57E+00", "1.57"),
        ("157e-2", "1.57"),
        ("0.157e1", "1.57"),
        ("1.5700", "1.5700"),
        ("0.00000799", "0.00000799"),
        ("1e-24", "0.000000000000000000000001"),
        ("0.000000000000000000000001", "0.000000000000000000000001"),
        ("1." + "5" * 24, "1." + "5" * 24),
    ],
)
def test_price_is_stored_as_plain_digits(tmp_path: Path, way: Way, price: str, stored: str) -> None:
    found, bad = way(written(tmp_path, f"time,bid,ask,mid\n2021-06-01,{price},9{'9' * 23},1.6\n"))
    assert [bid for _, bid, _ in found] == [stored]
    assert bad == {}


@both_ways
@pytest.mark.parametrize(
    "price",
    [
        "1e-25",
        "1e24",
        "1." + "5" * 25,
        "1" * 25,
        "1e9999",
        "1e",
        "e5",
        "1.e5",
        ".5",
        "1.",
        "-1",
        "+1",
        "1,5",
        "NaN",
        "1_0",
        "",
        "1e5.0",
        "0",
    ],
)
def test_price_that_is_no_decimal_of_24_digits_is_refused(tmp_path: Path, way: Way, price: str) -> None:
    found, bad = way(written(tmp_path, f"time;bid;ask\n2021-06-01;{price};{'9' * 24}\n2021-06-01T10:00:01Z;1.5701;1.5704\n"))
    assert found == QUOTES[:1]
    assert list(bad) == ["line 2"]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, places=None))
def test_plain_decimal_is_the_same_number_without_an_exponent(number: Decimal) -> None:
    text = f"{number:e}"
    plain = plain_decimal(text)
    assert Decimal(plain) == Decimal(text)
    assert plain == text or "e" not in plain.lower()


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EUR_AUD.csv", "EUR_AUD"), ("EUR_AUD-2021.csv", "EUR_AUD"), ("eur-aud 2021.csv.gz", "EUR_AUD"), ("EUR_AUD", "EUR_AUD"),
        ("EUR_AUD(1).csv", "EUR_AUD"), ("EUR_AUD_H1.csv", "EUR_AUD"), ("EUR-USD_x.csv", "EUR_USD"), ("EUR.csv", "EUR"),
        ("EURAUD.csv", None), ("EUR_AUDX.csv", "EUR"), ("my_EUR_AUD.csv", None), ("", None), ("EUR1.csv", None),
    ],
)  # fmt: skip
def test_any_character_but_a_letter_or_digit_ends_the_instrument(name: str, symbol: str | None) -> None:
    assert names.instrument_of(name, CALENDARS) == symbol


@both_ways
def test_instruments_of_a_column_are_written_in_any_way(tmp_path: Path, way: Way) -> None:
    names = ["EUR/AUD", "eur_aud", "Eur-Aud", "EUR_AUD", "EURAUD"]
    lines = [f"2021-06-01T10:00:0{number}Z,{name},1.5701,1.5704" for number, name in enumerate(names)]
    found, bad = way(written(tmp_path, "\n".join(["time,Instrument,bid,ask", *lines]), name="all.csv"))
    assert len(found) == 4
    assert bad == {"line 6": "unknown instrument 'EURAUD'"}


def lines_and_damage(file: Path) -> tuple[list[str], str | None]:
    undamaged = Undamaged(text_lines(file))
    lines = list(undamaged)
    return lines, None if undamaged.damage is None else str(undamaged.damage)


TEXT = "".join(f"line {number} {'x' * (number % 70)}\n" for number in range(3_000))


@pytest.mark.parametrize("name", ["text", "text.gz", "text.csv"])
@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(TEXT.encode(), id="plain"),
        pytest.param(gzip.compress(TEXT.encode()), id="gzip"),
        pytest.param(gzip.compress(TEXT[:50_000].encode()) + gzip.compress(TEXT[50_000:].encode()), id="two members"),
        pytest.param(gzip.compress(TEXT.encode()) + b"\0" * 10_000, id="padding"),
        pytest.param(gzip.compress(TEXT[:50_000].encode()) + b"\0" * 4_097 + gzip.compress(TEXT[50_000:].encode()), id="padding between"),
    ],
)
def test_whole_file_is_read_whatever_its_name(tmp_path: Path, name: str, packed: bytes) -> None:
    assert lines_and_damage(written(tmp_path, packed, name)) == (TEXT.splitlines(keepends=True), None)


def test_archive_that_unpacks_to_much_is_read_in_blocks(tmp_path: Path) -> None:
    line = "0" * 999 + "\n"
    with gzip.open(tmp_path / "large.gz", "wt") as text:
        text.write(line * 50_000)
    assert sum(each == line for each in text_lines(tmp_path / "large.gz")) == 50_000


@with_shared_fixtures(max_examples=60)
@given(share=st.floats(0, 1), encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_truncated_archive_gives_its_whole_lines(tmp_path: Path, share: float, encoding: str) -> None:
    packed = gzip.compress(TEXT.encode(encoding))
    cut = 2 + int(share * (len(packed) - 3))
    lines, damage = lines_and_damage(written(tmp_path, packed[:cut]))
    assert damage is not None
    assert damage.endswith(f"is damaged after line {len(lines)}: the archive ends early")
    assert lines == TEXT.splitlines(keepends=True)[: len(lines)]
    with gzip.open(io.BytesIO(packed[:cut])) as stream:
        content = b""
        try:
            while block := stream.read1(100):
                content += block
        except EOFError:
            pass
    assert len(lines) >= content.decode(encoding, errors="replace").count("\n") - 1


@with_shared_fixtures(max_examples=60)
@given(share=st.floats(0, 1), flip=st.integers(1, 255))
def test_damaged_archive_gives_only_lines_before_the_damage(tmp_path: Path, share: float, flip: int) -> None:
    packed = bytearray(gzip.compress(TEXT.encode(), mtime=0))
    packed[10 + int(share * (len(packed) - 11))] ^= flip
    lines, damage = lines_and_damage(written(tmp_path, bytes(packed)))
    assert damage is not None
    assert f"is damaged after line {len(lines)}: " in damage


def test_bytes_after_an_archive_leave_every_line(tmp_path: Path) -> None:
    lines, damage = lines_and_damage(written(tmp_path, gzip.compress(TEXT.rstrip("\n").encode()) + b"garbage"))
    assert lines == TEXT.rstrip("\n").splitlines(keepends=True)
    assert damage is not None
    assert "is damaged after line 3000: bytes follow the archive" in damage
