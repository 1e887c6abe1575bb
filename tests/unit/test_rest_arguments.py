"""Arguments of every route, results of the query schemas, and page tokens."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError
from marshmallow.fields import Int

from api.access.model import OBSERVE, OPEN
from api.app import create_app
from api.rest import errors
from api.rest.routing import Routes, make_api
from api.rest.schemas import paging
from api.rest.schemas.answers import LatestPriceQuery, LatestPriceQuerySchema
from api.rest.schemas.listings import CandlesQuerySchema, GapsQuerySchema, ListQuerySchema, TicksQuerySchema, TradesQuerySchema
from api.rest.schemas.paging import ListQuery
from config import settings as settings_module
from db.bus import Bus
from db.listing.query import Key, Listing
from db.listing.tables import CANDLES, GAPS, PRICES, TRADES
from db.postgres import Store
from db.timestamps import format_time, utc_now

# route -> a valid query, with all required arguments
STRICT: dict[str, dict[str, str]] = {
    "/alerts": {},
    "/api/metrics/current": {},
    "/api/metrics/summary": {},
    "/api/metrics/symbols": {},
    **{f"/api/system/{name}": {} for name in ("components", "health", "logs/recent", "performance", "stats")},
    "/api/trades": {},
    "/api/trades/execution/quality": {},
    "/api/trades/stats/summary": {},
    "/book": {"symbol": "BTCUSDT"},
    "/book/cost": {"symbol": "BTCUSDT", "side": "buy", "quantity": "1"},
    "/book/history": {"symbol": "BTCUSDT"},
    "/book/snapshots": {"symbol": "BTCUSDT"},
    "/book/states": {},
    "/candles": {"symbol": "EUR_USD"},
    "/correlation": {},
    "/correlation/history": {"symbol1": "EUR_USD", "symbol2": "GBP_USD"},
    "/gaps": {},
    "/hubs": {},
    "/jobs": {},
    "/fills": {},
    "/market": {"symbols": "EUR_USD"},
    "/metrics": {},
    "/market/trades": {"symbol": "BTCUSDT"},
    "/orders": {},
    "/positions": {},
    "/positions/statement": {"bot": "mm-1", "strategy": "mean_reversion", "symbol": "EUR_USD"},
    "/strategies": {},
    "/price/latest": {"symbol": "EUR_USD"},
    "/scenarios": {},
    "/scenarios/runs": {},
    "/sessions": {},
    "/status": {},
    "/symbols": {},
    "/ticks": {"symbol": "EUR_USD"},
    "/volatility": {"symbol": "EUR_USD"},
    "/volatility/latest": {},
}
LENIENT = ["/", "/asyncapi.json", "/docs", "/docs/start.js", "/health", "/health/binance", "/health/db", "/health/live", "/health/ready"]
LENIENT += ["/config.json", "/openapi.json", "/redoc", "/ws", "/ws/metrics"]
OTHER_NOTATIONS = ["+5", "-5", " 5", "5 ", "5_0", "5,0", "5.0", "5e0", "0x5", "٥", "५", "five", "", "1" * 10]


@pytest.fixture(scope="module")
def app() -> Flask:
    """The app without servers: arguments are refused before it uses one."""
    store = Store("postgresql://127.0.0.1:1/none")
    settings = settings_module.load({"SOURCES": ""}, dotenv=None)
    return create_app(settings, Bus("redis://127.0.0.1:1/0", utc_now), store, utc_now, "1.2.3")


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def arguments(app: Flask, path: str) -> dict[str, Any]:
    """Argument -> its schema, as the OpenAPI document has them."""
    operation = app.extensions["openapi"].to_dict()["paths"][path]["get"]
    return {each["name"]: each["schema"] for each in operation.get("parameters", [])}


def details_of(client: FlaskClient, path: str, query: Any) -> dict[str, list[str]]:
    """The details of a refusal."""
    answer = client.get(path, query_string=query)
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "invalid_payload")  # type: ignore[index]
    return answer.json["error"]["details"]  # type: ignore[index, no-any-return]


def test_every_route_is_in_the_table(app: Flask) -> None:
    paths = {rule.rule for rule in app.url_map.iter_rules() if "<" not in rule.rule and "GET" in (rule.methods or ())}
    assert paths == {*STRICT, *LENIENT, "/api/trades/"}


@pytest.mark.parametrize(("path", "query"), STRICT.items())
def test_unknown_argument_is_refused_with_the_known_names(app: Flask, client: FlaskClient, path: str, query: dict[str, str]) -> None:
    known = sorted(arguments(app, path))
    accepted = f"use {', '.join(known)}" if known else "this route takes none"
    for name in ("Symbol", "symbol[]", "starts", "page", "_", ""):
        assert details_of(client, path, {**query, name: "1"}) == {name: [f"Unknown argument: {accepted}."]}, name


@pytest.mark.parametrize(("path", "query"), STRICT.items())
def test_repeated_argument_is_refused(app: Flask, client: FlaskClient, path: str, query: dict[str, str]) -> None:
    for name in arguments(app, path):
        value = query.get(name, "1")
        others = [(other, each) for other, each in query.items() if other != name]
        assert details_of(client, path, [*others, (name, value), (name, value)]) == {name: ["Given more than once: use it once."]}


@pytest.mark.parametrize(("path", "query"), STRICT.items())
def test_integer_has_one_notation(app: Flask, client: FlaskClient, path: str, query: dict[str, str]) -> None:
    names = arguments(app, path)
    integers = [name for name, schema in names.items() if schema["type"] == "integer"]
    assert ("limit" in integers) == ("page_token" in names or path == "/api/system/logs/recent")
    for name in integers:
        for text in OTHER_NOTATIONS:
            digits = 5 if name == "limit" and not path.startswith("/api/") else 9
            problem = f"Not a whole number: use 1 to {digits} digits, without sign, separator or blank."
            assert details_of(client, path, {**query, name: text}) == {name: [problem]}, text


@pytest.mark.parametrize(("path", "query"), STRICT.items())
def test_valid_query_reaches_the_servers(client: FlaskClient, path: str, query: dict[str, str]) -> None:
    always = path == "/metrics" or (path.startswith("/api/system/") and path != "/api/system/logs/recent")
    assert client.get(path, query_string=query).status_code == (200 if always else 503)


@pytest.mark.parametrize("path", LENIENT)
def test_health_and_documents_ignore_their_query(client: FlaskClient, path: str) -> None:
    plain = client.get(path).status_code
    assert plain in (200, 426, 503)
    assert client.get(path, query_string=[("cache", "1"), ("cache", "2")]).status_code == plain


class NumberSchema(Schema):
    number = Int(required=True)


def invented_app(routes: Routes) -> FlaskClient:
    app = Flask(__name__)
    make_api(app, "1", [routes], anonymous=True)
    errors.register(app)
    return app.test_client()


def test_query_of_another_method_is_refused() -> None:
    routes = Routes("things", "Invented")

    @routes.post("/things", NumberSchema, takes=NumberSchema, scope=OBSERVE)
    def add(body: dict[str, int]) -> dict[str, int]:
        return body

    @routes.delete("/things/<int:number>", NumberSchema, scope=OBSERVE)
    def remove(number: int) -> dict[str, int]:
        return {"number": number}

    client = invented_app(routes)
    assert client.post("/things", json={"number": 1}).json == {"number": 1}
    assert client.delete("/things/7").json == {"number": 7}
    for answer in (client.post("/things?number=1", json={"number": 1}), client.delete("/things/7?number=7")):
        assert (answer.status_code, answer.json["error"]["details"]) == (  # type: ignore[index]
            422,
            {"number": ["Unknown argument: this route takes none."]},
        )


def test_open_route_that_takes_arguments_checks_them() -> None:
    routes = Routes("things", "Invented")

    @routes.get("/things", NumberSchema, takes=NumberSchema, scope=OPEN)
    def thing(query: dict[str, int]) -> dict[str, int]:
        return query

    client = invented_app(routes)
    assert client.get("/things?number=3").json == {"number": 3}
    assert client.get("/things?number=3&other=1").status_code == 422


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-11-18t12:30:00 01:00", "2025-11-18T11:30:00.000000Z"),
        ("2025-11-18T12:30:00.123456789Z", "2025-11-18T12:30:00.123456Z"),
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


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "1416312345", "1484092800000", "20251118", "2025-W47-2", "2025-11-18T12:30", "2025-11-18T24:00:00",
        "2025-11-18T12:30:00 01", "2025-11-18T12:30:00 0100", "2025-13-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "\0",
    ],
)  # fmt: skip
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
