"""Rows of books in their stream: encoded and read again, and the refused ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest

from db.book_rows import BookEntry, BookRow, entry_fields
from db.book_snapshots import BookSnapshotRow
from db.book_tops import BookTop
from db.scenarios.status import BOOK_STATES
from jobs.books.measures import measures
from jobs.books.parts.states import State
from tests.support.book_rows import stored_book, top

TIME = datetime(2024, 8, 8, 23, 54, 15, 408000, tzinfo=UTC)


def read_again(row: BookRow) -> BookRow:
    fields = {name.encode(): value.encode() if isinstance(value, str) else value for name, value in entry_fields(row).items()}
    entry = BookEntry.of(b"1-0", fields)
    assert entry.id == b"1-0"
    return entry.row


@pytest.mark.parametrize("row", [top(TIME), stored_book(TIME)], ids=lambda row: row.table)
def test_row_is_read_as_it_was_encoded(row: BookRow) -> None:
    assert read_again(row) == row
    assert {kind.table for kind in get_args(BookRow)} == {"book_tops", "book_snapshots"}


def test_row_of_a_top_has_the_columns_as_json() -> None:
    assert json.loads(top(TIME).encode()) == {
        "symbol": "BTCUSDT",
        "time": "2024-08-08T23:54:15.408000Z",
        "bid": "61837.63000000",
        "bid_qty": "1.50000000",
        "ask": "61837.64000000",
        "ask_qty": "0.50000000",
        "weighted_mid": "61837.6375",
        "imbalance": 0.5,
        "update_id": 50093239225,
        "state": "live",
    }


def test_example_of_the_tests_agrees_with_its_formulas() -> None:
    row = top(TIME)
    bid, bid_qty, ask, ask_qty = (Decimal(text) for text in (row.bid, row.bid_qty, row.ask, row.ask_qty))
    assert Decimal(row.weighted_mid) == (ask * bid_qty + bid * ask_qty) / (bid_qty + ask_qty)
    assert row.imbalance == (bid_qty - ask_qty) / (bid_qty + ask_qty)
    found = measures([[row.bid, row.bid_qty]], [[row.ask, row.ask_qty]])
    assert read_again(top(TIME, weighted_mid=found["weighted_mid"], imbalance=found["imbalance"]["1"]))


def test_states_are_those_of_the_machine() -> None:
    assert set(BOOK_STATES) == set(State)


def test_time_with_an_offset_becomes_contract_form() -> None:
    row = read_again(replace(top(TIME), time="2024-08-09T01:54:15.408+02:00"))
    assert row.time == "2024-08-08T23:54:15.408000Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": ""},
        {"symbol": "A\tB"},
        {"symbol": None},
        {"time": "yesterday"},
        {"time": 7},
        {"bid": "0.00"},
        {"bid": 1.5},
        {"bid": "-1"},
        {"bid_qty": "1e3"},
        {"ask_qty": "NaN"},
        {"weighted_mid": None},
        {"bid": "61837.64"},  # locked
        {"bid": "61838"},  # crossed
        {"imbalance": 1.5},
        {"imbalance": "0.5"},
        {"imbalance": True},
        {"update_id": -1},
        {"update_id": 2**63},
        {"update_id": "1"},
        {"state": "lively"},
        {"state": []},
    ],
    ids=repr,
)
def test_top_with_a_wrong_value_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        BookTop.parse(json.dumps({**json.loads(top(TIME).encode()), **changes}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"body": None},
        {"body": {"bids": []}},
        {"body": {"bids": [], "asks": {}}},
        {"body": {"bids": [], "asks": [["1"]]}},
        {"body": {"bids": [], "asks": [["1", 2]]}},
        {"body": {"bids": [], "asks": [["1", "x"]]}},
        {"body": {"bids": [["1", "2"]] * 51, "asks": []}},
        {"update_id": 1.0},
        {"symbol": "\n"},
        {"time": ""},
    ],
    ids=repr,
)
def test_book_with_a_wrong_value_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        BookSnapshotRow.parse(json.dumps({**json.loads(stored_book(TIME).encode()), **changes}).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b'{"symbol":"BTCUSDT"}', b'{"symbol":"\xff"}', b"nonsense"])
def test_text_that_is_no_row_is_refused(text: bytes) -> None:
    for kind in get_args(BookRow):
        with pytest.raises(ValueError, match=r"\S"):
            kind.parse(text)


def test_row_with_a_further_field_is_refused() -> None:
    with pytest.raises(ValueError, match="no object with the fields"):
        BookTop.parse(json.dumps({**json.loads(top(TIME).encode()), "spread": "0.01"}).encode())
