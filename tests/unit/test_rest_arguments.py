"""Query schemas on text, and page tokens."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from api.rest.schemas import paging
from api.rest.schemas.answers import LatestPriceQuery, LatestPriceQuerySchema
from api.rest.schemas.listings import CandlesQuerySchema, GapsQuerySchema, ListQuerySchema, TicksQuerySchema, TradesQuerySchema
from api.rest.schemas.paging import ListQuery
from db.listing.query import Key, Listing
from db.listing.tables import CANDLES, GAPS, PRICES, TRADES
from db.timestamps import format_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-18T12:30:00Z", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18T12:30:00.789123", "2025-11-18T12:30:00.789123Z"),
        ("2025-11-18 12:30:00", "2025-11-18T12:30:00.000000Z"),
        ("2025-11-18", "2025-11-18T00:00:00.000000Z"),
        ("2025-11-18T12:30:00+01:00", "2025-11-18T11:30:00.000000Z"),
        ("2025-11-18T12:30:00 01:00", "2025-11-18T11:30:00.000000Z"),
        ("2025-11-18 12:30:00.5 01:00", "2025-11-18T11:30:00.500000Z"),
        ("2025-11-18T12:30:00-05:00", "2025-11-18T17:30:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_time_becomes_contract_time(text: str, expected: str) -> None:
    assert TicksQuerySchema().load({"symbol": "EUR_USD", "start": text}).start == expected


@pytest.mark.parametrize("text", ["", "now", "1416312345", "2025-13-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "\0"])
def test_invalid_time_is_refused(text: str) -> None:
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
def test_invalid_value_is_named(field: str, value: str) -> None:
    assert list(problems({field: value})) == [field]


def test_range_with_an_early_end_is_refused() -> None:
    assert list(problems({"start": "2025-01-02", "end": "2025-01-01"})) == ["end"]
    assert not problems({"start": "2025-01-02", "end": "2025-01-02"})


def test_latest_price_needs_one_symbol_or_several() -> None:
    assert LatestPriceQuerySchema().load({"symbols": "A, B,,A"}) == LatestPriceQuery(symbols=("A", "B"))
    for query in ({}, {"symbol": "A", "symbols": "B"}, {"symbols": ","}, {"symbols": "A,\0"}):
        with pytest.raises(ValidationError):
            LatestPriceQuerySchema().load(query)


times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)).map(lambda moment: format_time(moment.replace(tzinfo=UTC)))  # noqa: DTZ001
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
bigints = st.integers(-(2**63), 2**63 - 1)
orders = st.sampled_from(["asc", "desc"])

TOKENS: list[tuple[type[ListQuerySchema], Listing, dict[str, str], st.SearchStrategy[Key]]] = [
    (TicksQuerySchema, PRICES, {"symbol": "EUR_USD"}, st.tuples(times, texts, bigints)),
    (TradesQuerySchema, TRADES, {"symbol": "EUR_USD"}, st.tuples(times, bigints)),
    (CandlesQuerySchema, CANDLES["mid"], {"symbol": "EUR_USD", "interval": "1h"}, st.tuples(times)),
    (GapsQuerySchema, GAPS, {}, st.tuples(times, bigints)),
    (GapsQuerySchema, GAPS, {"symbol": "EUR_USD", "kind": "trades", "state": "open", "source": "binance"}, st.tuples(times, bigints)),
]


@pytest.mark.parametrize(("schema", "listing", "query", "keys"), TOKENS)
@given(data=st.data(), order=orders)
def test_token_returns_its_position(
    schema: type[ListQuerySchema], listing: Listing, query: dict[str, str], keys: st.SearchStrategy[Key], data: st.DataObject, order: str
) -> None:
    key = data.draw(keys)
    request = {**query, "order": order}
    request["page_token"] = paging.encode(paging.page_token(listing, order, query, key))
    assert schema().load(request).page_token.key == key
    assert list(schema().validate({**request, "order": "desc" if order == "asc" else "asc"})) == ["page_token"]
    other = {"symbol": "GBP_USD", **({"interval": "1d"} if "interval" in query else {})}
    for name, value in other.items():
        assert list(schema().validate({**request, name: value})) == ["page_token"]


@pytest.mark.parametrize(("schema", "own", "query"), [(schema, listing.name, query) for schema, listing, query, _ in TOKENS])
def test_token_of_another_listing_is_refused(schema: type[ListQuerySchema], own: str, query: dict[str, str]) -> None:
    key: Key = ("2025-01-01T00:00:00.000000Z", 1)
    for other in (TRADES, GAPS, CANDLES["mid"]):
        token = paging.encode(paging.page_token(other, "asc", query, key[: len(other.key)]))
        mine = other.name == own
        assert list(schema().validate({**query, "page_token": token})) == ([] if mine else ["page_token"])


@given(token=st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
def test_malformed_token_is_refused(token: str) -> None:
    assert list(problems({"page_token": token})) == ["page_token"]


SOME = ["ticks", "asc", ["EUR_USD"]]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        [],
        ["ticks", "asc", "EUR_USD", "2025-01-01", "e", 1],
        ["ticks", None, ["EUR_USD"], "2025-01-01", "e", 1],
        ["ticks", "asc", [["EUR_USD"]], "2025-01-01", "e", 1],
        ["ticks", "asc", ["EUR_USD", None], "2025-01-01", "e", 1],
        [{}, "asc", ["EUR_USD"], "2025-01-01", "e", 1],
        [*SOME, "2025-01-01", "e", True],
        [*SOME, "2025-01-01", "e", 2**63],
        [*SOME, "2025-01-01", "e", "1"],
        [*SOME, "2025-01-01", "\0", 1],
        [*SOME, "2025-01-01", 1, 1],
        [*SOME, "someday", "e", 1],
        [*SOME, None, "e", 1],
        [*SOME, "2025-01-01", "e", 1, 1],
    ],
)
def test_forged_token_is_refused(parts: Any) -> None:
    assert list(problems({"page_token": base64.urlsafe_b64encode(orjson.dumps(parts)).decode()})) == ["page_token"]


def test_well_formed_token_is_accepted() -> None:
    token = base64.urlsafe_b64encode(orjson.dumps([*SOME, "2025-01-01", "e", 1])).decode()
    assert not problems({"page_token": token})


@pytest.mark.parametrize(
    ("field", "value"), [("interval", "2h"), ("interval", ""), ("price", "last"), ("limit", "0"), ("format", "xml"), ("symbol", "X" * 65)]
)
def test_invalid_value_of_candles_is_named(field: str, value: str) -> None:
    assert list(CandlesQuerySchema().validate({"symbol": "EUR_USD", field: value})) == [field]


@pytest.mark.parametrize(("field", "value"), [("kind", "ticks"), ("state", "lost"), ("source", ""), ("symbol", "\0")])
def test_invalid_value_of_gaps_is_named(field: str, value: str) -> None:
    assert list(GapsQuerySchema().validate({field: value})) == [field]


def test_candles_without_arguments_are_hourly_mids() -> None:
    assert CandlesQuerySchema().load({"symbol": "EUR_USD"}) == ListQuery(
        {"symbol": "EUR_USD", "interval": "1h", "price": "mid"}, order="asc", format="json",
        start=None, end=None, limit=None, page_token=None,
    )  # fmt: skip


def problems(query: dict[str, str]) -> dict[str, Any]:
    """Return field -> error."""
    return TicksQuerySchema().validate({"symbol": "EUR_USD", **query})
