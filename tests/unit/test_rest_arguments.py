"""What the query schemas make of text, and page tokens."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from api.rest import paging
from api.schemas.rest import LatestQuery, TicksQuery
from db.prices import PriceKey
from db.timestamps import format_time


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025-11-18T12:30:00Z", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18T12:30:00.789123", "2025-11-18T12:30:00.789123Z"),
        ("2025-11-18 12:30", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18", "2025-11-18T00:00:00.000000Z"),
        ("2025-11-18T12:30:00+01:00", "2025-11-18T11:30:00.000000Z"),
        ("2025-11-18T12:30:00 01:00", "2025-11-18T11:30:00.000000Z"),
        ("2025-11-18 12:30:00.5 0100", "2025-11-18T11:30:00.500000Z"),
        ("2025-11-18T12:30:00-05:00", "2025-11-18T17:30:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times(text: str, meant: str) -> None:
    assert TicksQuery().load({"symbol": "EUR_USD", "start": text})["start"] == meant


@pytest.mark.parametrize("text", ["", "now", "1416312345", "2025-13-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "\0"])
def test_what_is_no_time(text: str) -> None:
    assert list(problems({"start": text})) == ["start"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "10001"),
        ("limit", "many"),
        ("limit", "9" * 5000),
        ("order", "up"),
        ("format", "xml"),
        ("symbol", ""),
        ("symbol", "EUR\0USD"),
        ("symbol", "X" * 65),
    ],
)
def test_bad_values_are_named(field: str, value: str) -> None:
    assert list(problems({field: value})) == [field]


def test_a_range_runs_forward() -> None:
    assert list(problems({"start": "2025-01-02", "end": "2025-01-01"})) == ["end"]
    assert not problems({"start": "2025-01-02", "end": "2025-01-02"})


def test_one_symbol_or_several() -> None:
    assert LatestQuery().load({"symbols": "A, B,,A"}) == {"symbols": ["A", "B"]}
    for query in ({}, {"symbol": "A", "symbols": "B"}, {"symbols": ","}, {"symbols": "A,\0"}):
        with pytest.raises(ValidationError):
            LatestQuery().load(query)


keys = st.builds(
    PriceKey,
    st.datetimes().map(lambda moment: format_time(moment.astimezone()) if moment.year not in (1, 9999) else "2025-01-01T00:00:00.000000Z"),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
    st.integers(1, 2**63 - 1),
)


@given(key=keys, order=st.sampled_from(["asc", "desc"]))
def test_a_token_gives_its_place_back(key: PriceKey, order: str) -> None:
    token = paging.encode(paging.Place("EUR_USD", order, key))
    assert TicksQuery().load({"symbol": "EUR_USD", "order": order, "page_token": token})["page_token"].key == key
    assert list(problems({"page_token": token, "symbol": "GBP_USD", "order": order})) == ["page_token"]
    assert list(problems({"page_token": token, "order": "desc" if order == "asc" else "asc"})) == ["page_token"]


@given(token=st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_what_is_no_token(token: str) -> None:
    assert list(problems({"page_token": token})) == ["page_token"]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        [],
        ["EUR_USD", "asc", "2025-01-01", "e", True],
        ["EUR_USD", "asc", "2025-01-01", "e", 2**63],
        ["EUR_USD", "asc", "2025-01-01", "\0", 1],
        ["EUR_USD", "asc", "someday", "e", 1],
        ["EUR_USD", "asc", None, "e", 1],
    ],
)
def test_a_forged_token_is_refused(parts: Any) -> None:
    assert list(problems({"page_token": base64.urlsafe_b64encode(orjson.dumps(parts)).decode()})) == ["page_token"]


def problems(query: dict[str, str]) -> dict[str, Any]:
    """Field -> what is wrong with it."""
    return TicksQuery().validate({"symbol": "EUR_USD", **query})
