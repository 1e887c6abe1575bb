"""REST: every route × scope × instrument × credential, and lists cut to a key's instruments.

`TABLE` is section "Scopes" of the documents, written by hand. A route that is not in it fails.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.rest.context import AppContext
from config.access.keys import digest_of, new_key
from config.settings import Settings
from config.venues import SourceSpec
from db.alerts import Alert, SystemAlert, raise_alert, write_alerts
from db.api_keys import ApiKey
from db.bus import Bus, Snapshot
from db.correlations import write_correlations
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.scenario_runs import save_run
from db.timestamps import utc_now
from db.volatility import ESTIMATORS, VolatilityRow, write_volatility
from tests.conftest import Servers
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.book_rows import scenario_run
from tests.support.observed import BOT, STRATEGY, store_example
from tests.support.rest_books import Player, heartbeat, publish_book, row, small_book
from tests.support.servers import of_database

OPEN, DETAILS = "open", "open, details with observe"
TABLE = {
    "/": OPEN, "/docs": OPEN, "/redoc": OPEN, "/docs/start.js": OPEN, "/docs/static/<name>": OPEN, "/ui/<path:name>": OPEN,
    "/config.json": OPEN, "/ws": OPEN, "/ws/metrics": OPEN, "/health/live": OPEN, "/health/ready": OPEN,
    "/health": DETAILS, "/health/db": DETAILS, "/health/binance": DETAILS,
    "/openapi.json": "read", "/asyncapi.json": "read",
    "/symbols": "read", "/price/latest": "read", "/sessions": "read", "/ticks": "read", "/candles": "read", "/market/trades": "read",
    "/market": "read",
    "/volatility": "read", "/volatility/latest": "read", "/correlation": "read", "/correlation/history": "read", "/alerts": "read",
    "/book": "read", "/book/states": "read", "/book/cost": "read", "/book/history": "read", "/book/snapshots": "read",
    "/metrics": "observe",
    "/jobs": "observe", "/hubs": "observe", "/gaps": "observe", "/status": "observe",
    "/scenarios": "observe", "/scenarios/<name>": "observe", "/scenarios/recordings": "operate",
    "/scenarios/runs": "observe", "/scenarios/runs/<run_id>": "observe",
    "/api/trades": "observe", "/api/trades/": "observe", "/api/trades/<trade_id>": "observe", "/api/trades/stats/summary": "observe",
    "/api/trades/execution/quality": "observe", "/orders": "observe", "/fills": "observe",
    "/positions": "observe", "/positions/statement": "observe", "/strategies": "observe",
    "/api/metrics/current": "observe", "/api/metrics/summary": "observe", "/api/metrics/history": "observe",
    "/api/metrics/symbols": "observe", "/api/metrics/symbols/<symbol>": "operate",
    **dict.fromkeys((f"/api/system/{name}" for name in ("health", "performance", "components", "logs/recent", "stats")), "observe"),
    "/api/system/alerts/acknowledge/<path:alert_id>": "operate",
    "/prices": "publish", "/reports": "report",
}  # fmt: skip
OF_POST = {"/scenarios/<name>": "operate"}  # if it is another scope than that of GET
ALSO = {"/alerts": "observe"}  # another scope that suffices, for other rows
ANSWERS = {"/scenarios/recordings": 422}  # of a caller with the scope, whose request has no form
POSTED = ("/prices", "/reports", "/scenarios/recordings", "/api/metrics/history", "/api/system/alerts/acknowledge/<path:alert_id>")
SCOPES = ("read", "observe", "report", "publish", "operate")
INSIDE, SECOND, OUTSIDE = "EUR_USD", "EUR_GBP", "BTCUSDT"
PATTERNS = ("EUR_*", "GBP_USD", "!EUR_CHF")
# route -> its arguments for the instruments (first, second)
NAMED = {
    **dict.fromkeys(("/price/latest", "/ticks", "/candles", "/market/trades", "/volatility", "/alerts"), ("symbol",)),
    **dict.fromkeys(("/book", "/book/cost", "/book/history", "/book/snapshots"), ("symbol",)),
    **dict.fromkeys(("/volatility/latest", "/correlation", "/market"), ("symbols",)),
    "/correlation/history": ("symbol1", "symbol2"),
}
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
ALERT_ID = "volatility:EUR_USD:warning:1763467200000"  # that of `fill`
RUN_ID = "1f0c2f0e-7b1e-4c61-9d1c-6a7e3f2b8c55"
CHALLENGE = 'Bearer realm="tickwire"'


@dataclass(frozen=True)
class Rest:
    """An app that needs a credential, with keys in its table."""

    app: Flask
    client: FlaskClient

    def key(self, *scopes: str, instruments: tuple[str, ...] = PATTERNS, **state: Any) -> str:
        """Add a key to the table; return its text."""
        key_id, text = new_key()
        key = ApiKey(key_id, "key", digest_of(text), scopes, instruments, (), None, None, None, utc_now(), "ada")
        shared: AppContext = self.app.extensions["tickwire"]
        shared.access.tables.take([replace(key, **state)], [])
        return text

    def ask(
        self, path: str, key: str | None = None, query: Mapping[str, str] | None = None, body: Any = None, method: str | None = None
    ) -> TestResponse:
        """Send a request to a route, with its first method by default."""
        address = path.replace("/scenarios/<name>", "/scenarios/burst-mode")
        address = address.replace("<name>", "favicon.png").replace("<path:name>", "vendor/vendor.json")
        for name, value in (("<trade_id>", "mm-1:f-1"), ("<symbol>", INSIDE), ("<path:alert_id>", ALERT_ID), ("<run_id>", RUN_ID)):
            address = address.replace(name, value)
        headers = {} if key is None else {"X-API-Key": key}
        sent: dict[str, Any] = {} if body is None else {"json": body}
        return self.client.open(address, method=method or methods(path)[0], query_string=query or {}, headers=headers, **sent)


def methods(path: str) -> tuple[str, ...]:
    """Return the methods of a route besides HEAD and OPTIONS; the first one is asked."""
    if path == "/api/metrics/symbols/<symbol>":
        return "POST", "DELETE"
    if path in OF_POST:
        return "GET", "POST"
    return ("POST" if path in POSTED else "GET",)


def request_of(path: str, instrument: str) -> dict[str, Any]:
    """Return the query or the body of a request, with the instrument if the route names one."""
    if path == "/prices":
        return {"body": {"prices": [{"instrument": instrument, "mid": "1.1"}]}}
    if path == "/reports":
        return {"body": {"reports": [{"kind": "heartbeat"}]}}
    if path == "/positions/statement":
        return {"query": {"bot": BOT, "strategy": STRATEGY, "symbol": instrument}}
    more = {"/correlation/history": {"symbol2": SECOND}, "/book/cost": {"side": "buy", "quantity": "1"}}
    return {"query": {NAMED[path][0]: instrument, **more.get(path, {})} if path in NAMED else {}}


@pytest.fixture(scope="module")
def bus(servers: Servers, shared_settings: Settings) -> Iterator[Bus]:
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as client:
        client.flushdb()
    with closing(Bus(str(shared_settings.redis_url), utc_now)) as bus:
        bus.set_instruments(servers.calendars)
        bus.cache_price(INSIDE, bid="1.1", ask="1.3", mid="1.2", time=NOON)
        names = sorted([INSIDE, SECOND, "EUR_CHF", "GBP_USD", OUTSIDE])
        for name in names:
            publish_book(bus, name, small_book(), 7, NOON)
        bus.put_books({name: row(name, NOON) for name in names}, whole=True)
        bus.publish_heartbeat(heartbeat(dict.fromkeys(names, "live")))
        with Player(bus):
            yield bus


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        fill(store)
        yield store


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, bus: Bus, store: Store) -> Rest:
    app = create_app(replace(shared_settings, auth="required", sources=(SourceSpec("scenario"),)), bus, store, utc_now, "1")
    found = Rest(app, app.test_client())
    found.key("read")
    return found


@pytest.fixture
def snapshot(bus: Bus) -> None:
    """A new snapshot, which Redis keeps for 10 s."""
    bus.publish_snapshot(Snapshot("2025-11-18T12:00:00.000000Z", 1, "one", {}, {}))


def fill(store: Store) -> None:
    """Write prices, figures and alerts of instruments inside and outside of `PATTERNS`."""
    names = sorted([INSIDE, SECOND, "EUR_CHF", "GBP_USD", OUTSIDE])
    pairs = [(first, second) for place, first in enumerate(names) for second in names[place + 1 :]]
    prices = [
        PriceRow(INSIDE, f"2025-11-18T12:30:0{n}.000000Z", "2025-11-18T12:31:00.000000Z", "1.1", "1.3", "1.2", None, "job", "e", n + 1)
        for n in range(5)
    ]
    alerts = [Alert("volatility", name, None, "warning", NOON, 0.025, None, 0.02, "above") for name in names]
    alerts += [Alert("correlation", *pair, "critical", NOON, 0.1, 0.87, 0.2, "has changed") for pair in pairs]
    with store.transaction() as cursor:
        insert_prices(cursor, prices)
        write_volatility(cursor, [VolatilityRow(name, each, NOON, 0.001, 0.08, 24) for name in names for each in ESTIMATORS])
        write_correlations(cursor, NOON, "pearson", pairs, [0.5] * len(pairs), [720] * len(pairs))
        write_alerts(cursor, alerts)
        save_run(cursor, scenario_run(RUN_ID, NOON))
        store_example(cursor)


def bad_keys(rest: Rest) -> dict[str, str]:
    """Return the reason -> a credential that is not accepted, of a key with every scope."""
    good = rest.key(*SCOPES, instruments=("*",))
    return {
        "unknown": new_key()[1],
        "secret of another key": good[:-4] + new_key()[1][-4:],
        "malformed": "tw_bad",
        "empty": "",
        "revoked": rest.key(*SCOPES, instruments=("*",), revoked=utc_now()),
        "expired": rest.key(*SCOPES, instruments=("*",), expires=utc_now() - timedelta(seconds=1)),
        "JWT without JWT": f"{secrets.token_hex(8)}.{secrets.token_hex(8)}.{secrets.token_hex(8)}",
    }


# matrix


def test_every_route_is_in_the_table(rest: Rest) -> None:
    rules = {(rule.rule, method) for rule in rest.app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert rules == {(path, method) for path in TABLE for method in methods(path)}


@pytest.mark.parametrize(("path", "method"), [(path, method) for path in TABLE for method in methods(path)])
def test_route_needs_its_scope_and_a_good_credential(rest: Rest, snapshot: None, path: str, method: str) -> None:
    needed, named = TABLE[path] if method != "POST" else OF_POST.get(path, TABLE[path]), {**request_of(path, INSIDE), "method": method}
    well = ANSWERS.get(path, 200)
    missing = rest.ask(path, **named)
    if needed in (OPEN, DETAILS):
        assert missing.status_code in (200, 426, 503)
    else:
        assert (missing.status_code, missing.headers["WWW-Authenticate"]) == (401, CHALLENGE)
    for reason, bad in bad_keys(rest).items():
        answer = rest.ask(path, bad, **named)
        if needed == OPEN:
            assert answer.status_code in (200, 426, 503), reason
        else:
            assert answer.get_json()["error"] == {"code": "unauthorized", "message": "A valid credential is needed.", "details": {}}, reason
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"'), reason
    for scope in SCOPES:
        alone = rest.ask(path, rest.key(scope), **named)
        others = rest.ask(path, rest.key(*(each for each in SCOPES if each not in (scope, ALSO.get(path)))), **named)
        if scope == ALSO.get(path):
            assert rest.ask(path, rest.key(scope)).status_code == 200
        elif scope == needed:
            assert alone.status_code == well, alone.text
            assert (others.status_code, others.get_json()["error"]["code"]) == (403, "forbidden")
            assert others.get_json()["error"]["details"] == {"scope": [scope]}
            assert others.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'
        elif needed not in (OPEN, DETAILS):
            assert alone.status_code == 403
            assert others.status_code == well, others.text
    assert rest.ask(path, rest.key(), **named).status_code == (403 if needed not in (OPEN, DETAILS) else missing.status_code)


@pytest.mark.parametrize("path", NAMED)
def test_instrument_outside_of_the_patterns_is_403_and_an_unknown_one_404(rest: Rest, path: str) -> None:
    key = rest.key("read")
    for argument in NAMED[path]:
        several = f"{INSIDE},{OUTSIDE}" if argument == "symbols" else OUTSIDE
        given = {**request_of(path, INSIDE)["query"], argument: several}
        answer = rest.ask(path, key, given)
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"], error["details"]) == (403, "forbidden", {argument: [OUTSIDE]})
        assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope"'
        denied = rest.ask(path, key, {**given, argument: "EUR_CHF"})
        assert denied.get_json()["error"]["details"] == {argument: ["EUR_CHF"]}
        unknown = rest.ask(path, key, {**given, argument: "NO_SUCH"})
        assert (unknown.status_code, unknown.get_json()["error"]["code"]) == (404, "unknown_instrument")
        assert rest.ask(path, rest.key("read", instruments=("*",)), given).status_code in (200, 404)
        for form in ("csv", "ndjson"):
            if path not in ("/price/latest", "/book", "/book/cost", "/market"):
                assert rest.ask(path, key, {**given, "format": form}).status_code == 403


def test_patterns_limit_publishing_and_no_route_of_the_scope_observe(rest: Rest) -> None:
    key = rest.key("publish", "observe")
    body = {"prices": [{"instrument": name, "mid": "1.1"} for name in (OUTSIDE, INSIDE, "EUR_CHF", "NO_SUCH")]}
    answer = rest.ask("/prices", key, body=body).get_json()
    codes = {each["index"]: each["code"] for each in answer["rejected"]}
    assert (answer["accepted"], codes) == (1, {0: "forbidden", 2: "forbidden", 3: "unknown_instrument"})
    assert rest.ask("/gaps", key, {"symbol": OUTSIDE}).status_code == 200


def test_key_reports_for_its_bots_alone(rest: Rest) -> None:
    times = {name: utc_now().isoformat() for name in ("a", "b")}
    reports = [{"kind": "heartbeat", "bot": bot, "strategy": "s", "id": f"{bot}-1", "time": time} for bot, time in times.items()]
    for bots, expected in ((("a",), {1: "forbidden"}), (("b",), {0: "forbidden"}), ((), {0: "forbidden", 1: "forbidden"})):
        answer = rest.ask("/reports", rest.key("report", bots=bots), body={"reports": reports}).get_json()
        assert {each["index"]: each["code"] for each in answer["rejected"]} == expected
        assert answer["accepted"] + answer["duplicates"] == len(bots)


def test_denials_alone_and_no_patterns_permit_nothing(rest: Rest) -> None:
    for patterns in (("!BTCUSDT",), ()):
        key = rest.key("read", instruments=patterns)
        assert rest.ask("/ticks", key, {"symbol": INSIDE}).status_code == 403
        assert rest.ask("/symbols", key).get_json() == {"symbols": [], "count": 0}


# lists


def allowed(name: str) -> bool:
    """The oracle of `PATTERNS`."""
    return (name.startswith("EUR_") or name == "GBP_USD") and name != "EUR_CHF"


def test_lists_without_symbols_have_the_instruments_of_the_key(rest: Rest) -> None:
    part, whole = rest.key("read"), rest.key("read", instruments=("*",))
    lists: dict[str, Callable[[Any], list[str]]] = {
        "/symbols": lambda body: [each["symbol"] for each in body["symbols"]],
        "/market": lambda body: list(body["instruments"]),
        "/book/states": lambda body: [each["symbol"] for each in body["books"]],
        "/volatility/latest": lambda body: list(body["volatility"]),
        "/correlation": lambda body: list(body["symbols"]),
    }
    for path, names in lists.items():
        everything, cut = (rest.ask(path, key).get_json() for key in (whole, part))
        assert names(cut) == list(filter(allowed, names(everything))), path
        assert len(names(cut)) < len(names(everything))
        assert cut.get("count", len(names(cut))) == len(names(cut))
    matrix = rest.ask("/correlation", part).get_json()
    assert [len(row) for row in matrix["matrix"]] == [len(matrix["symbols"])] * len(matrix["symbols"])
    assert rest.ask("/correlation", part, {"repair": "psd"}).get_json()["symbols"] == matrix["symbols"]
    nothing = rest.key("read", instruments=("AAPL",))
    for query in ({}, {"repair": "psd"}):
        assert rest.ask("/correlation", nothing, query).get_json()["matrix"] == []


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_exports_have_the_instruments_of_the_key(rest: Rest, form: str) -> None:
    key = rest.key("read")
    for path in ("/volatility/latest", "/correlation", "/alerts"):
        text = rest.ask(path, key, {"format": form}).text
        assert INSIDE in text
        assert [name for name in (OUTSIDE, "EUR_CHF") if name in text] == [], path
    rows = list(csv.DictReader(io.StringIO(rest.ask("/alerts", key, {"format": "csv"}).text)))
    assert len(rows) == len(pages(rest, key, 100))


def pages(rest: Rest, key: str, limit: int, **query: str) -> list[dict[str, Any]]:
    """Return all alerts, page by page."""
    found, token = [], None
    while True:
        given = {"limit": str(limit), **query, **({"page_token": token} if token else {})}
        body = rest.ask("/alerts", key, given).get_json()
        found += body["alerts"]
        if (token := body["next_page_token"]) is None:
            return found


def readable(alert: Mapping[str, Any]) -> bool:
    return allowed(alert["symbol"]) and (alert["symbol2"] is None or allowed(alert["symbol2"]))


def test_alerts_need_both_instruments_on_every_page(rest: Rest) -> None:
    part, whole = rest.key("read"), rest.key("read", instruments=("*",))
    everything = pages(rest, whole, 100)
    assert {each["type"] for each in everything} == {"volatility", "correlation"}
    for limit in (1, 2, 100):
        assert pages(rest, part, limit) == list(filter(readable, everything))
        of_one = [each for each in everything if INSIDE in (each["symbol"], each["symbol2"]) and readable(each)]
        assert pages(rest, part, limit, symbol=INSIDE) == of_one


@pytest.fixture
def system_alerts(store: Store) -> Iterator[list[str]]:
    """The types of the other alerts, which are in the table."""
    rows = [
        SystemAlert("system", "disk", "critical", NOON, 96.1, 95, "full"),
        SystemAlert("system", "redis", "critical", NOON, None, None, "Redis is unreachable."),
        SystemAlert("strategy", "strategy:mm-1/mean", "warning", NOON, 75, 60, "silent"),
        SystemAlert("execution", "reject_rate", "warning", NOON, 0.1, 0.05, "rejected"),
    ]
    with store.transaction() as cursor:
        assert all(raise_alert(cursor, row) for row in rows)
    yield [row.type for row in rows]
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM alerts WHERE type NOT IN ('volatility', 'correlation')")


def test_alerts_of_the_system_need_observe_and_those_of_figures_read(rest: Rest, system_alerts: list[str]) -> None:
    read, observe, both = rest.key("read"), rest.key("observe"), rest.key("read", "observe")
    found = {name: [each["type"] for each in pages(rest, key, 3)] for name, key in (("read", read), ("observe", observe), ("both", both))}
    assert set(found["read"]) == {"volatility", "correlation"}
    assert found["observe"] == system_alerts
    assert sorted(found["both"]) == sorted([*found["read"], *system_alerts]), "patterns limit the alerts of figures alone"
    for kind in ("volatility", "correlation", "system", "strategy", "execution"):
        needed = "read" if kind in ("volatility", "correlation") else "observe"
        for scope, key in (("read", read), ("observe", observe)):
            for form in ("json", "csv"):
                answer = rest.ask("/alerts", key, {"type": kind, "format": form})
                assert answer.status_code == (200 if scope == needed else 403), (kind, scope)
                if scope != needed:
                    assert answer.get_json()["error"]["details"] == {"scope": [needed]}
        assert {each["type"] for each in pages(rest, both, 2, type=kind)} == {kind}
    assert rest.ask("/alerts", observe, {"symbol": INSIDE}).status_code == 403
    assert pages(rest, read, 100, subject="disk") == []
    (disk,) = pages(rest, observe, 100, subject="disk", state="firing")
    assert (disk["alert_id"], disk["symbol"], disk["value"], disk["threshold"]) == ("system:disk:critical:1763467200000", None, 96.1, 95)
    (redis,) = pages(rest, observe, 100, subject="redis")
    assert (redis["value"], redis["threshold"], redis["active"]) == (None, None, True)
    assert pages(rest, observe, 100, state="resolved") == []


def test_token_of_a_page_is_independent_of_the_key_and_grants_nothing(rest: Rest) -> None:
    part, whole = rest.key("read"), rest.key("read", instruments=("*",))
    everything = pages(rest, whole, 100)
    first = rest.ask("/alerts", whole, {"limit": "3"}).get_json()
    rest_of_it = rest.ask("/alerts", part, {"limit": "3", "page_token": first["next_page_token"]}).get_json()["alerts"]
    assert rest_of_it == list(filter(readable, everything[3:]))[:3]
    second = rest.ask("/ticks", whole, {"symbol": INSIDE, "limit": "2"}).get_json()["next_page_token"]
    query = {"symbol": INSIDE, "limit": "2", "page_token": second}
    assert rest.ask("/ticks", part, query).get_json() == rest.ask("/ticks", whole, query).get_json()
    for key, status in ((rest.key("read", instruments=("GBP_USD",)), 403), (rest.key("observe"), 403), (new_key()[1], 401)):
        assert rest.ask("/ticks", key, query).status_code == status


# credentials and modes


def test_credential_is_taken_from_either_header_and_two_different_ones_are_400(rest: Rest) -> None:
    key, other = rest.key("read"), rest.key("read")
    for headers, status in (
        ({"X-API-Key": key}, 200),
        ({"Authorization": f"Bearer {key}"}, 200),
        ({"Authorization": f"bearer  {key} "}, 200),
        ({"Authorization": f"Bearer {key}", "X-API-Key": key}, 200),
        ({"Authorization": f"Bearer {key}", "X-API-Key": other}, 400),
        ({"Authorization": f"Basic {key}"}, 401),
        ({"Authorization": key}, 401),
    ):
        answer = rest.client.get("/symbols", headers=headers)
        assert answer.status_code == status, headers
    assert rest.client.get("/symbols", headers=[("X-API-Key", key), ("X-API-Key", other)]).status_code == 400


def test_keys_that_were_not_read_are_503_and_health_answers(rest: Rest, shared_settings: Settings, bus: Bus, store: Store) -> None:
    app = create_app(replace(shared_settings, auth="required"), bus, store, utc_now, "1")
    unread = Rest(app, app.test_client())
    for key in (None, rest.key("read")):
        answer = unread.ask("/symbols", key)
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        health = unread.ask("/health", key).get_json()
        assert (health["auth"], health["access"]) == ("required", "unread")


def test_callers_without_a_credential_have_the_anonymous_rights(shared_settings: Settings, bus: Bus, store: Store) -> None:
    given = replace(shared_settings, anonymous_scopes=("read",), anonymous_instruments=PATTERNS)
    app = create_app(given, bus, store, utc_now, "1")
    rest = Rest(app, app.test_client())
    key = rest.key("observe")
    for path, needed in TABLE.items():
        answer = rest.ask(path, **request_of(path, INSIDE))
        assert (answer.status_code == 403) == (needed not in (OPEN, DETAILS, "read")), path
        if path in NAMED:
            assert rest.ask(path, **request_of(path, OUTSIDE)).status_code == 403
        if needed != OPEN:
            assert rest.ask(path, "tw_bad", **request_of(path, INSIDE)).status_code == 401, path
    assert rest.ask("/health").get_json()["auth"] == "optional"
    assert set(rest.ask("/health").get_json()["writer"]) == {"unstored"}
    assert set(rest.ask("/health", key).get_json()["writer"]) > {"unstored"}
    assert rest.ask("/jobs", key).status_code == 200


def test_credentials_are_not_checked_if_access_control_is_off(shared_settings: Settings, bus: Bus, store: Store) -> None:
    app = create_app(replace(shared_settings, auth="off"), bus, store, utc_now, "1")
    rest = Rest(app, app.test_client())
    for path in TABLE:
        for key in (None, "tw_bad"):
            assert rest.ask(path, key, **request_of(path, INSIDE)).status_code in (200, 426, 503, ANSWERS.get(path)), path
    assert rest.ask("/health").get_json()["auth"] == "off"


def test_key_for_the_books_of_btc_gets_no_other_book_and_no_state_of_the_system(rest: Rest) -> None:
    key = rest.key("read", instruments=("BTC*",))
    assert rest.ask("/book", key, {"symbol": "BTCUSDT"}).get_json()["instrument"] == "BTCUSDT"
    assert [each["symbol"] for each in rest.ask("/book/states", key).get_json()["books"]] == ["BTCUSDT"]
    for path, query, method in (("/book", {"symbol": "ETHUSDT"}, "GET"), ("/status", {}, "GET"), ("/scenarios/<name>", {}, "POST")):
        assert rest.ask(path, key, query, method=method).status_code == 403, path
    health = rest.ask("/health", key).get_json()
    assert "current_scenario" not in health
    assert rest.ask("/health", rest.key("observe")).get_json()["current_scenario"] is not None
