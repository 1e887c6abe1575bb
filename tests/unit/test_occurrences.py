"""Equal quotes of a file are numbered, in any order of its lines."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import SourceSpec
from db.admission import Mode
from db.messages import Tick
from db.prices import PriceRow
from jobs.backfill import file_tasks
from jobs.backfill.file_tasks import Selection, file_task, months_between
from jobs.backfill.recordings import open_recording, read
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import Status
from tests.support.examples import with_shared_fixtures
from tests.support.fake_time import FakeTime

CALENDARS = {"EUR_USD": "fx", "USD_JPY": "fx"}
NOW = datetime(2025, 11, 18, tzinfo=UTC)
START = datetime(2021, 6, 1, tzinfo=UTC)

lines = st.tuples(
    st.integers(0, 5),  # minutes
    st.sampled_from(["Z", "+00:00", ".000Z", ""]),
    st.sampled_from(["EUR_USD", "usd/jpy"]),
    st.sampled_from(["1.1", "1.10", "11e-1", "1.2"]),
)


def written(folder: Path, rows: list[tuple[int, str, str, str]]) -> Path:
    file = folder / "quotes.csv"
    text = [f"{START + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S}{zone},{symbol},{bid},1.3" for minutes, zone, symbol, bid in rows]
    file.write_text("\n".join(["time,instrument,bid,ask", *text]) + "\n")
    return file


def quotes(file: Path, after: int = 0) -> list[tuple[int, PriceRow]]:
    found = []
    recording = open_recording(file, CALENDARS, now=NOW)
    for place, row in read(recording, CALENDARS, lambda place, error: pytest.fail(f"{place}: {error}"), now=NOW, after=after):
        assert isinstance(row, PriceRow)
        found.append((place, row))
    return found


@with_shared_fixtures(max_examples=150)
@given(rows=st.lists(lines, max_size=30), order=st.sampled_from(["any", "rises", "falls"]), share=st.floats(0, 1))
def test_equal_quotes_have_the_numbers_that_pandas_counts(
    tmp_path: Path, rows: list[tuple[int, str, str, str]], order: str, share: float
) -> None:
    if order != "any":
        rows = sorted(rows, key=lambda row: row[0], reverse=order == "falls")
    found = quotes(written(tmp_path, rows))
    frame = pd.DataFrame(rows, columns=["minutes", "zone", "symbol", "bid"])
    frame["bid"] = frame["bid"].astype(float)
    counted = frame.groupby(["minutes", "symbol", "bid"]).cumcount() + 1
    assert {row.seq: row.occurrence for _, row in found} == {number + 2: count for number, count in enumerate(counted)}
    # The quotes of one instrument and time stand among quotes of one time only.
    runs = [set(run) for _, run in groupby([(row.instrument, row.time) for _, row in found], key=lambda key: key[1])]
    assert sum(map(len, runs)) == len(set().union(*runs)), "no instrument and time is in two runs"
    places = [place for place, _ in found]
    assert places == sorted(set(places))
    cut = int(share * len(found))
    assert quotes(written(tmp_path, rows), after=found[cut - 1][0] if cut else 0) == found[cut:]


@with_shared_fixtures(max_examples=100)
@given(rows=st.lists(lines, min_size=1, max_size=30), size=st.integers(1, 10))
def test_quotes_of_one_time_are_in_one_batch(tmp_path: Path, rows: list[tuple[int, str, str, str]], size: int) -> None:
    task = file_task(
        open_recording(written(tmp_path, rows), CALENDARS, now=NOW), CALENDARS, lambda place, error: None, Selection(), now=NOW
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_tasks, "MAX_ROWS_PER_BATCH", size)
        batches = list(task.batches(None, FakeTime()))
    seen: set[tuple[str, str]] = set()
    for batch in batches:
        keys = {(row.instrument, row.time) for row in batch.rows if isinstance(row, PriceRow)}
        assert not keys & seen
        seen |= keys
    assert sum(len(batch.rows) for batch in batches) == len(rows)


def live(number: int, bid: str = "1.10", symbol: str = "EUR_USD") -> Tick:
    return Tick(symbol, bid, "1.3", "1.2", f"2025-11-17T12:30:{number:02}.000000Z", "oanda")


def admission(mode: Mode) -> SourceAdmission:
    time = FakeTime()
    return SourceAdmission(Status("oanda", time.utc, threading.Event()), CALENDARS, time.utc, mode=mode)


def test_live_quotes_are_numbered_since_the_last_one_of_another_time() -> None:
    arrivals = [
        [live(1), live(1, "1.2"), live(1, "1.1")],
        [live(1, symbol="USD_JPY"), live(1, "1.100"), live(1, "1.2")],
        [live(2), live(1), live(1, symbol="USD_JPY")],
    ]
    source = admission("live")
    numbers = []
    for arrival in arrivals:
        source.begin()
        numbers.append([tick.occurrence for tick in source.quotes(arrival)])
    assert numbers == [[1, 1, 2], [1, 3, 2], [1, 1, 2]]


def test_refused_quote_has_no_number() -> None:
    source = admission("live")
    source.begin()
    assert [tick.occurrence for tick in source.quotes([live(1), replace(live(1), ask="1.0"), live(1)])] == [1, 2]


def test_numbers_of_a_recording_stay() -> None:
    source = admission("recorded")
    source.begin()
    assert [tick.occurrence for tick in source.quotes([live(1), live(1), replace(live(1), occurrence=2)])] == [1, 1, 2]


def test_replay_numbers_equal_lines_as_a_file_does(tmp_path: Path) -> None:
    rows = [(0, "Z", "EUR_USD", "1.1"), (0, "", "EUR_USD", "11e-1"), (0, "Z", "usd/jpy", "1.1"), (1, "Z", "EUR_USD", "1.1")] * 2
    file = written(tmp_path, sorted(rows, key=lambda row: row[0]))
    spec = SourceSpec("replay", file, None, loop=True)
    stop = FakeTime()
    found: list[tuple[str, str, int]] = []
    rounds = []
    for batch in ReplaySource(spec, CALENDARS, clock=lambda: NOW).fetch(stop):
        found += [(row.tick.instrument, row.tick.time, row.tick.occurrence) for row in batch]
        if len(found) >= len(rows):
            rounds.append(sorted(found))
            found = []
        if len(rounds) == 2:
            stop.set()
    expected = sorted((row.instrument, row.time, row.occurrence) for _, row in quotes(file))
    assert rounds == [expected, expected]


@pytest.mark.parametrize(
    ("first", "last", "months"),
    [
        ("2021-06-01T10:00:00.000000Z", "2021-06-30T00:00:00.000000Z", [("2021-06-01T10:00:00.000000Z", "2021-06-30T00:00:00.000000Z")]),
        (
            "2020-12-31T23:59:59.999999Z",
            "2021-02-01T00:00:00.000000Z",
            [
                ("2020-12-31T23:59:59.999999Z", "2020-12-31T23:59:59.999999Z"),
                ("2021-01-01T00:00:00.000000Z", "2021-01-31T23:59:59.999999Z"),
                ("2021-02-01T00:00:00.000000Z", "2021-02-01T00:00:00.000000Z"),
            ],
        ),
    ],
)
def test_months_cover_the_span_without_overlap(first: str, last: str, months: list[tuple[str, str]]) -> None:
    assert list(months_between(first, last)) == months
