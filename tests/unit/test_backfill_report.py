"""The report at the end of a backfill: counts by kind, the first fault, conflicts."""

from __future__ import annotations

import logging

import pytest

from db.admission import NotAdmitted, Refusals
from db.inserted import Conflict
from jobs.backfill.report import Notes
from jobs.feeds.binance.messages import OtherTrade


def conflicts(number: int) -> tuple[Conflict, ...]:
    return tuple(Conflict(f"BTCUSDT trade {each}", "1 2 buy", "1 3 buy") for each in range(1, number + 1))


def test_bad_records_are_counted_by_kind_and_the_first_is_quoted() -> None:
    notes = Notes()
    notes.bad_record("a.csv", "line 7", NotAdmitted("time of 2099", "time_in_future"))
    notes.bad_record("a.csv", "line 9", ValueError("3 fields instead of 4"))
    notes.bad_record("b.csv", "line 2", ValueError("not a time"))
    notes.bad_record("a.csv", "line 12", NotAdmitted("time of 2098", "time_in_future"))
    assert notes.sentences() == [
        "a.csv: 3 bad: 2 of kind time_in_future, 1 of kind unreadable; first: line 7: time of 2099",
        "b.csv: 1 bad: 1 of kind unreadable; first: line 2: not a time",
    ]
    assert not notes.failed, "files with bad lines could be read"


@pytest.mark.parametrize(("number", "words"), [(1, "1 candle has not ended yet"), (3, "3 candles have not ended yet")])
def test_candle_that_has_not_ended_is_named_and_not_bad(number: int, words: str) -> None:
    notes = Notes()
    for place in range(number):
        notes.bad_record("EUR_USD_H1.csv", f"line {place + 2}", NotAdmitted(f"1h of EUR_USD, hour {place}", "not_ended"))
    assert notes.sentences() == [f"EUR_USD_H1.csv: {words}; first: line 2: 1h of EUR_USD, hour 0"]
    assert not notes.failed


@pytest.mark.parametrize(("number", "words"), [(1, "1 trade"), (2, "2 trades")])
def test_trade_of_another_kind_is_left_out_and_not_bad(number: int, words: str) -> None:
    notes = Notes()
    for _ in range(number):
        notes.bad_record("raw", "line 1", OtherTrade("trade of the kind 'NA', not MARKET"))
    assert notes.sentences() == [f"raw: {words} of another kind than MARKET left out; first: line 1: trade of the kind 'NA', not MARKET"]
    assert not notes.failed


def test_refused_file_fails_the_backfill() -> None:
    notes = Notes()
    notes.refused("a.csv", "recording a.csv is of no known format")
    assert notes.sentences() == ["a.csv: recording a.csv is of no known format"]
    assert notes.failed


def test_conflicts_fail_the_backfill_and_five_are_printed(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    with caplog.at_level(logging.WARNING):
        notes.conflicting("raw", conflicts(2))
        notes.conflicting("raw", conflicts(5))
    [sentence] = notes.sentences()
    first = "BTCUSDT trade 1: stored 1 2 buy, given 1 3 buy; BTCUSDT trade 2: stored 1 2 buy, given 1 3 buy; BTCUSDT trade 1:"
    assert sentence.startswith(f"raw: 7 conflicts with rows that are stored already (first: {first}")
    assert sentence.endswith("); --replace takes the file's")
    assert sentence.count("given") == 5
    assert len(caplog.records) == 7
    assert notes.failed


def test_one_conflict_is_written_in_the_singular() -> None:
    notes = Notes()
    notes.conflicting("raw", conflicts(1))
    assert notes.sentences()[0].startswith("raw: 1 conflict with rows that are stored already (first: BTCUSDT trade 1: stored")


def test_refusals_of_a_history_are_reported_as_they_stand_at_the_end() -> None:
    notes, refused = Notes(), Refusals()
    notes.history("Binance", refused)
    assert notes.sentences() == []
    refused.add("BTCUSDT 500", NotAdmitted("price 0", "bad_trade"))
    assert notes.sentences() == ["Binance: 1 bad: 1 of kind bad_trade; first: BTCUSDT 500: price 0"]
    assert not notes.failed
