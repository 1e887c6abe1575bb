"""Access at REST: each route checks its scope and the instruments that a request names."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import pytest
from flask import Flask
from marshmallow import Schema
from marshmallow.fields import Int, Str
from werkzeug.routing import Rule

from api import app as app_module
from api.access.model import OBSERVE, OPEN, OPERATE, PUBLISH, READ, REPORT, Access, Handshake, OpenAuthenticator
from api.access.peers import Peers
from api.app import create_app
from api.errors import ErrorCode, Refusal
from api.rest import web
from api.rest.access import Gate, guard
from api.rest.routes import docs, health, sockets
from api.rest.routing import Routes
from api.rest.schemas.arguments import SymbolList
from config.access.modes import OPTIONAL
from config.access.patterns import compile_patterns
from config.access.scopes import SCOPES as SCOPE_NAMES
from config.settings import Settings
from config.venues import VENUES, Venue
from db.bus import Bus
from db.postgres import Store
from tests.support.registry import report_sources

ROUTES = [web.routes, health.make_routes(), *app_module._DATA, *app_module._STATE, *app_module._OBSERVABILITY]
SCOPES = {**docs.SCOPES, **web.SCOPES, **sockets.SCOPES, **{endpoint: scope for each in ROUTES for endpoint, scope in each.scopes.items()}}
REFUSED, OTHER = "EUR_USD", "GBP_USD"


@dataclass
class Limited:
    """An authenticator that grants all rights except one scope and one instrument."""

    scope: str | None = None
    instrument: str | None = None
    handshake: Handshake | None = None

    def authenticate(self, handshake: Handshake) -> Access:
        self.handshake = handshake
        denied = () if self.instrument is None else (f"!{self.instrument}",)
        return Access(frozenset(SCOPE_NAMES) - {self.scope}, compile_patterns(("*", *denied)), bots=None)


class Closed:
    def authenticate(self, handshake: Handshake) -> Access:
        raise Refusal(ErrorCode.UNAUTHORIZED, "no such key", {"x-api-key": ["Unknown key."]})


@pytest.fixture
def limited() -> Limited:
    return Limited()


@pytest.fixture
def make(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]) -> Callable[..., Flask]:
    return lambda *authenticator: create_app(settings, bus, store, clock, "1", *authenticator)


def rules(app: Flask) -> list[Rule]:
    return sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)


def method_of(rule: Rule) -> str:
    """Return the method of the rule besides HEAD and OPTIONS."""
    return next(method for method in ("POST", "DELETE", "GET") if method in (rule.methods or ()))


def path_of(rule: Rule) -> str:
    """Return the path of the rule, with the name of an existing file."""
    return re.sub(r"<name>", "favicon.png", rule.rule)


def parameters(app: Flask, rule: Rule) -> list[str]:
    """Return the query parameters of the route from /openapi.json."""
    operation = app.extensions["openapi"].to_dict()["paths"].get(rule.rule, {}).get("get", {})
    return [each["name"] for each in operation.get("parameters", ())]


def test_scopes_of_all_routes_equal_the_table(make: Callable[..., Flask]) -> None:
    found = [(rule.rule, SCOPES[rule.endpoint]) for rule in rules(make())]

    def paths(scope: str) -> set[str]:
        return {path for path, each in found if each == scope}

    pages = {"/", "/docs", "/redoc", "/docs/start.js", "/docs/static/<name>", "/ui/<path:name>", "/config.json", "/ws", "/ws/metrics"}
    assert paths(OPEN) == pages | {path for path, _ in found if path.startswith("/health")}
    assert {path for path in paths(OBSERVE) if not path.startswith("/api/")} == {
        "/jobs", "/gaps", "/orders", "/fills", "/positions", "/positions/statement", "/strategies",
        "/status", "/scenarios", "/scenarios/<name>", "/scenarios/runs", "/scenarios/runs/<run_id>", "/metrics", "/hubs",
    }  # fmt: skip
    assert paths(OPERATE) == {
        "/api/metrics/symbols/<symbol>", "/api/system/alerts/acknowledge/<path:alert_id>", "/scenarios/<name>", "/scenarios/recordings",
    }  # fmt: skip
    assert {scope for path, scope in found if path.startswith("/api/")} == {OBSERVE, OPERATE}
    assert paths(PUBLISH) == {"/prices"}
    assert paths(REPORT) == {"/reports"}
    assert {scope for _, scope in found} == {OPEN, OBSERVE, OPERATE, PUBLISH, READ, REPORT}


EITHER = "/alerts"  # `observe` suffices too, for other rows


@pytest.mark.parametrize("scope", [READ, OBSERVE, OPERATE, PUBLISH])
def test_missing_scope_is_refused_at_each_route_that_needs_it(make: Callable[..., Flask], limited: Limited, scope: str) -> None:
    limited.scope = scope
    app = make(limited)
    client, refused = app.test_client(), 0
    for rule in rules(app):
        answer = client.open(path_of(rule), method=method_of(rule))
        if SCOPES[rule.endpoint] == scope and rule.rule != EITHER:
            assert answer.status_code == 403, rule
            error = answer.get_json()["error"]
            assert (error["code"], error["details"]) == ("forbidden", {"scope": [scope]})
            refused += 1
        else:
            assert answer.status_code != 403, rule
    assert refused == sum(SCOPES[rule.endpoint] == scope for rule in rules(app)) - (scope == READ)


@pytest.mark.parametrize("argument", ["symbol", "symbol1", "symbol2", "symbols"])
def test_refused_instrument_is_refused_at_each_route_that_names_one(make: Callable[..., Flask], limited: Limited, argument: str) -> None:
    limited.instrument = REFUSED
    app = make(limited)
    client, checked = app.test_client(), []
    for rule in rules(app):
        names = parameters(app, rule)
        if argument not in names or SCOPES[rule.endpoint] != READ:
            continue
        values = {"symbol1": OTHER, "symbol2": "USD_JPY", "side": "buy", "quantity": "1"}
        needed = {name: value for name, value in values.items() if name in names}
        value = f"{OTHER},{REFUSED}" if argument == "symbols" else REFUSED
        answer = client.get(rule.rule, query_string={**needed, argument: value})
        assert answer.status_code == 403, rule
        error = answer.get_json()["error"]
        assert (error["code"], error["details"]) == ("forbidden", {argument: [REFUSED]})
        other = {**needed, argument: OTHER if argument != "symbol2" else "USD_CHF"}
        assert client.get(rule.rule, query_string=other).status_code != 403, rule
        checked.append(rule.rule)
    expected = {
        "symbol": [
            "/alerts",
            "/book",
            "/book/cost",
            "/book/history",
            "/book/snapshots",
            "/candles",
            "/market/trades",
            "/price/latest",
            "/ticks",
            "/volatility",
        ],
        "symbols": ["/correlation", "/market", "/price/latest", "/volatility/latest"],
    }
    assert checked == expected.get(argument, ["/correlation/history"])


def test_refusal_is_401_and_open_routes_need_no_key(make: Callable[..., Flask]) -> None:
    client = make(Closed()).test_client()
    answer = client.get("/symbols")
    assert answer.status_code == 401
    expected = {"code": "unauthorized", "message": "no such key", "details": {"x-api-key": ["Unknown key."]}}
    assert answer.get_json() == {"error": expected}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tickwire", error="invalid_token"'
    assert client.get("/health/live").status_code == 200
    assert client.get("/no/such/route").status_code == 404


def test_handshake_has_the_address_and_the_kept_headers(make: Callable[..., Flask], limited: Limited) -> None:
    headers = {
        "Authorization": "Bearer x",
        "X-API-Key": "k",
        "Origin": "https://a.example",
        "Cookie": "secret=1",
        "X-Forwarded-For": "10.0.0.1",
    }
    make(limited).test_client().get("/sessions", headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    handshake = limited.handshake
    assert handshake is not None
    assert (handshake.transport, handshake.address, handshake.namespace, handshake.auth) == ("rest", "192.0.2.7", "/", None)
    assert handshake.headers == {
        "authorization": "Bearer x", "x-api-key": "k", "origin": "https://a.example", "x-forwarded-for": "10.0.0.1",
        "host": "localhost", "user-agent": handshake.headers["user-agent"],
    }  # fmt: skip


def test_route_without_a_scope_is_an_error_at_start(make: Callable[..., Flask]) -> None:
    app = make()
    scopes = {endpoint: scope for endpoint, scope in SCOPES.items() if endpoint != "sessions.sessions"}
    with pytest.raises(ValueError, match=r"routes without a scope: .*sessions\.sessions"):
        guard(app, Gate(OpenAuthenticator(), OpenAuthenticator(), OPTIONAL, Peers(), scopes, {}))


class NoteSchema(Schema):
    """An invented body and its answer."""

    symbol = Str(required=True)
    text = Str(required=True)
    count = Int(strict=True, load_default=1)


class BasketSchema(Schema):
    """An invented body with several instruments."""

    symbols = SymbolList(required=True)


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Routes:
    """POST and DELETE routes of an invented subject, in each application of the test."""
    routes = Routes("notes", "Invented")

    @routes.post("/notes", NoteSchema, takes=NoteSchema, scope=READ, status=201)
    def add(note: Mapping[str, object]) -> object:
        """Add a note."""
        return note

    @routes.post("/baskets", BasketSchema, takes=BasketSchema, scope=READ)
    def basket(body: Mapping[str, object]) -> object:
        """Return the number of instruments."""
        return {"symbols": str(body["symbols"])}

    @routes.delete("/notes/<symbol>", NoteSchema, scope=READ, status=202)
    def remove(symbol: str) -> object:
        """Remove a note."""
        return {"symbol": symbol, "text": "removed"}

    monkeypatch.setattr(app_module, "_DATA", [*app_module._DATA, routes])
    return routes


def test_post_reads_the_body_through_its_schema(make: Callable[..., Flask], invented: Routes) -> None:
    client = make().test_client()
    answer = client.post("/notes", json={"symbol": "EUR_USD", "text": "é"})
    assert (answer.status_code, answer.get_json()) == (201, {"symbol": "EUR_USD", "text": "é", "count": 1})
    assert client.post("/baskets", json={"symbols": "A,B"}).get_json() == {"symbols": "('A', 'B')"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"symbol": "EUR_USD"}, "text"),
        ({"symbol": 1, "text": "x"}, "symbol"),
        ({"symbol": "EUR_USD", "text": "x", "count": "1"}, "count"),
        ({"symbol": "EUR_USD", "text": "x", "extra": 1}, "extra"),
        ([], "body"),
        ("text", "body"),
        (b"{", "body"),
        (b"", "symbol"),
        (b'{"symbol": "\xff"}', "body"),
        (b'{"symbol": "EUR_USD", "text": "\\ud800"}', "body"),
        (b'{"symbol": "EUR_USD", "text": "x", "count": NaN}', "body"),
        (b"[" * 5000, "body"),
    ],
)
def test_invalid_body_is_an_invalid_payload_that_names_the_field(
    make: Callable[..., Flask], invented: Routes, body: object, field: str
) -> None:
    client = make().test_client()
    if isinstance(body, bytes):
        answer = client.post("/notes", data=body, content_type="application/json")
    else:
        answer = client.post("/notes", json=body)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_payload")
    assert field in error["details"]
    assert field in error["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_body_of_another_content_type_is_refused(make: Callable[..., Flask], invented: Routes, kind: str) -> None:
    client = make().test_client()
    answer = client.post("/notes", data=b'{"symbol": "A", "text": "x"}', content_type=kind)
    assert (answer.status_code, answer.get_json()["error"]["details"]) == (422, {"Content-Type": ["Use application/json."]})
    empty = client.post("/notes", data=b"", content_type=kind)
    assert (empty.status_code, set(empty.get_json()["error"]["details"])) == (422, {"symbol", "text"})
    body = b'{"symbol": "A", "text": "x"}'
    assert client.post("/notes", data=body, content_type="application/json; charset=utf-8").status_code == 201


def test_delete_takes_no_body(make: Callable[..., Flask], invented: Routes) -> None:
    client = make().test_client()
    for body in (None, b"{"):
        answer = client.delete("/notes/EUR_USD", data=body, content_type="application/json")
        assert (answer.status_code, answer.get_json()) == (202, {"symbol": "EUR_USD", "text": "removed"})
    assert client.get("/notes").status_code == 405
    assert client.delete("/notes").get_json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("method", "path", "body", "scope", "argument"),
    [
        ("POST", "/notes", {"symbol": REFUSED, "text": "x"}, READ, "symbol"),
        ("POST", "/baskets", {"symbols": f"{OTHER},{REFUSED}"}, READ, "symbols"),
        ("DELETE", f"/notes/{REFUSED}", None, READ, "symbol"),
    ],
)
def test_post_and_delete_check_scope_and_instrument(
    make: Callable[..., Flask], invented: Routes, limited: Limited, method: str, path: str, body: object, scope: str, argument: str
) -> None:
    client = make(limited).test_client()
    assert client.open(path, method=method, json=body).status_code < 300
    limited.instrument = REFUSED
    answer = client.open(path, method=method, json=body)
    assert (answer.status_code, answer.get_json()["error"]["details"]) == (403, {argument: [REFUSED]})
    limited.instrument, limited.scope = None, scope
    answer = client.open(path, method=method, json=body)
    assert (answer.status_code, answer.get_json()["error"]["details"]) == (403, {"scope": [scope]})


def test_document_has_the_invented_routes(make: Callable[..., Flask], invented: Routes) -> None:
    paths = make().extensions["openapi"].to_dict()["paths"]
    assert {"201", "422", "default"} <= set(paths["/notes"]["post"]["responses"])
    assert "requestBody" in paths["/notes"]["post"]
    assert "202" in paths["/notes/{symbol}"]["delete"]["responses"]


def test_invented_venue_has_its_health_route(make: Callable[..., Flask], bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"venue{secrets.token_hex(2)}"
    monkeypatch.setitem(VENUES, name, Venue(name, "live", health_path=f"/health/{name}"))
    client = make().test_client()
    assert client.get(f"/health/{name}").get_json()["status"] == "not_configured"
    report_sources(bus, {name: {"state": "live"}})
    assert client.get(f"/health/{name}").get_json()["status"] == "live"
    assert client.get("/health").get_json()["sources"][name]["state"] == "live"
    assert client.get("/health/binance").get_json()["status"] == "not_configured"


@pytest.mark.parametrize(("scope", "shown"), [(OBSERVE, False), (READ, True)])
def test_details_of_health_need_the_scope_observe(make: Callable[..., Flask], limited: Limited, bus: Bus, scope: str, shown: bool) -> None:
    limited.scope = scope
    report_sources(bus, {"binance": {"state": "live", "last_tick": "2026-03-02T06:00:00.000000Z"}})
    client = make(limited).test_client()
    whole, venue = client.get("/health").get_json(), client.get("/health/binance").get_json()
    assert (venue["status"], venue["source"] is not None) == ("live", shown)
    if shown:
        assert venue["source"]["age_seconds"] > 0
        assert set(whole["writer"]) == {"unstored", "oldest_age_seconds", "parked", "last_parked"}
        assert set(whole["sources"]["binance"]) > {"state", "last_tick", "age_seconds"}
    else:
        assert (whole["writer"], whole["sources"]) == ({"unstored": 1}, {"binance": {"state": "live"}})


@pytest.mark.parametrize("name", ["api_key", "token", "access_token"])
def test_credential_in_the_query_is_400_at_every_route(make: Callable[..., Flask], name: str) -> None:
    app = make()
    client = app.test_client()
    for rule in rules(app):
        answer = client.open(path_of(rule), method=method_of(rule), query_string={name: "tw_x"})
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"], list(error["details"])) == (400, "invalid_payload", [name]), rule
        assert "tw_x" not in answer.text
    assert client.get("/no/such/route", query_string={name: "x"}).status_code == 404
    assert client.get("/ticks?symbol=EUR_USD&page_token=WyJ0aWNrcyJd").status_code == 422


def test_address_of_the_caller_is_the_last_hop_of_a_trusted_proxy(
    settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], limited: Limited
) -> None:
    app = create_app(replace(settings, trusted_proxies=("192.0.2.0/24",)), bus, store, clock, "1", limited)
    for peer, address in (("192.0.2.7", "198.51.100.9"), ("203.0.113.1", "203.0.113.1")):
        headers = {"X-Forwarded-For": "10.0.0.1, 198.51.100.9"}
        app.test_client().get("/symbols", headers=headers, environ_base={"REMOTE_ADDR": peer})
        assert limited.handshake is not None
        assert limited.handshake.address == address


def test_document_has_the_scope_of_each_route(make: Callable[..., Flask], settings: Settings) -> None:
    app = make()
    document = app.extensions["openapi"].to_dict()
    schemes = document["components"]["securitySchemes"]
    assert {name: (each["type"], each.get("name")) for name, each in schemes.items()} == {
        "apiKey": ("apiKey", "X-API-Key"),
        "bearer": ("http", None),
    }
    endpoints = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule): rule.endpoint for rule in rules(app)}
    for path, item in document["paths"].items():
        operation = next(item[method] for method in ("post", "get") if method in item)
        scope = SCOPES[endpoints[path]]
        detailed = path in ("/health", "/health/db", "/health/binance")
        needed = scope or (OBSERVE if detailed else "")
        more = [OBSERVE] if path == EITHER else []
        expected = [{name: [each]} for each in (needed, *more) for name in ("apiKey", "bearer")]
        assert operation["security"] == ([{}, *expected] if needed else []), path
        if needed:
            text = "the scope `read` or `observe`." if more else f"the scope `{needed}`."
            assert operation["description"].endswith(text), path
