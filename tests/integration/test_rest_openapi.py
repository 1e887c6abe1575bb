"""The answers conform to the OpenAPI document, and its pages load no other host."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from config.settings import Settings
from db.alerts import Alert, write_alerts
from db.book_rows import insert_book_rows
from db.bus import Bus, Snapshot
from db.candles import CandleRow, insert_candles
from db.correlations import write_correlations
from db.job_runs import begin_run, end_run, write_jobs
from db.messages import Trade, trade_lines
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.scenario_runs import save_run
from db.timestamps import utc_now
from db.trades import insert_trades
from db.volatility import ESTIMATORS, VolatilityRow, write_volatility
from tests.conftest import Servers
from tests.support.book_rows import scenario_run, stored_book, top
from tests.support.observed import BOT, STRATEGY, STRATEGY_ROW, store_example
from tests.support.registry import report_sources
from tests.support.rest_books import heartbeat, publish_book, row, small_book

STORED = [
    PriceRow(
        "EUR_USD", f"2025-11-18T12:30:0{n}.000000Z", "2025-11-18T12:31:00.000000Z", "1.0945", "1.0947", "1.0946", None, "job", "e", n + 1
    )
    for n in range(10)
]
NOON, RUN_ID = datetime(2025, 11, 18, 12, tzinfo=UTC), "1f0c2f0e-7b1e-4c61-9d1c-6a7e3f2b8c55"
MOMENT, LATER = "2025-11-18T12:00:00.000000Z", "2025-11-18T13:00:00.000000Z"
OHLC = ("1.0945", "1.0950", "1.0940", "1.0946")
GAPS: list[tuple[Any, ...]] = [
    ("binance", "BTCUSDT", "trades", None, 6, 9, MOMENT, LATER, 4, "open", None, LATER, LATER),
    ("oanda", "EUR_USD", "candles", "1h", None, None, MOMENT, LATER, 1, "unfillable", "the market was closed", LATER, LATER),
    ("binance", "BTCUSDT", "book", None, None, None, MOMENT, LATER, 0, "filled", "disconnected", LATER, LATER),
]
HEALTH = ["/health", "/health/live", "/health/ready", "/health/db", "/health/binance"]
FORMATS = ("json", "csv", "ndjson")
BOOKS = ["/book/history", "/book/snapshots", "/scenarios/runs"]
LISTINGS = ["/ticks", "/candles", "/market/trades", "/gaps", "/volatility", "/correlation/history", "/alerts", *BOOKS]
WHOLE = ["/volatility/latest", "/correlation"]  # no pages, but every format
TRADES = ["/api/trades", "/api/trades/{trade_id}", "/api/trades/stats/summary", "/api/trades/execution/quality"]
REPORTED = ["/orders", "/fills", "/positions", "/positions/statement", "/strategies"]
METRICS = ["/api/metrics/current", "/api/metrics/summary", "/api/metrics/symbols"]
SYSTEM = [f"/api/system/{name}" for name in ("health", "performance", "components", "logs/recent", "stats")]
RUN = "/scenarios/runs/{run_id}"
KEPT_BOOKS = ["/book", "/book/states", "/book/cost", "/status", "/scenarios", "/scenarios/{name}"]
OBSERVED = [*TRADES, *REPORTED, *METRICS, *SYSTEM]
OF_EXAMPLE = {"bot": BOT, "strategy": STRATEGY, "symbol": "EUR_USD"}
# Names of section "REST" of the page about observability, and others.
NAMES = {
    "MetricsSnapshot", "MetricsHistoryRequest", "MetricsHistoryResponse", "Trade", "TradeFilter", "TradeHistoryResponse", "SystemHealth",
    "PerformanceMetrics", "TimeRange", "AggregationInterval", "EventType", "BaseEvent", "MetricEvent", "TradeEvent", "OrderEvent",
    "StrategyEvent", "AlertEvent", "SystemEvent",
    # of the page about order books
    "OrderbookLevel", "InternalOrderbook", "HeartbeatMessage", "ServerStatus", "WebSocketMessage",
}  # fmt: skip
# They refuse arguments.
CHOOSY = ["/metrics", "/price/latest", *LISTINGS, *WHOLE, TRADES[0], *TRADES[2:], *REPORTED, SYSTEM[3], KEPT_BOOKS[0], KEPT_BOOKS[2]]
ROUTES = [
    "/",
    "/config.json",
    *HEALTH,
    "/metrics",
    "/symbols",
    "/market",
    "/price/latest",
    *LISTINGS,
    *WHOLE,
    "/sessions",
    "/hubs",
    "/jobs",
    *KEPT_BOOKS,
    RUN,
    *OBSERVED,
]
TRACKED = "/api/metrics/symbols/{symbol}"
POSTED = ["/prices", "/reports", "/api/metrics/history", TRACKED, "/api/system/alerts/acknowledge/{alert_id}"]
SWITCH, UPLOAD = "/scenarios/{name}", "/scenarios/recordings"  # OpenAPI has no words for the files of an upload
# listing -> its required parameters, and its optional ones beside those of every listing
PARAMETERS: dict[str, tuple[set[str], set[str]]] = {
    "/ticks": ({"symbol"}, set()),
    "/candles": ({"symbol"}, {"interval", "price"}),
    "/market/trades": ({"symbol"}, set()),
    "/gaps": (set(), {"source", "symbol", "kind", "state"}),
    "/volatility": ({"symbol"}, {"estimator"}),
    "/correlation/history": ({"symbol1", "symbol2"}, {"method"}),
    "/alerts": (set(), {"type", "symbol", "severity", "state", "subject"}),
    "/book/history": ({"symbol"}, set()),
    "/book/snapshots": ({"symbol"}, set()),
    "/scenarios/runs": (set(), {"scenario", "outcome"}),
    "/orders": (set(), {"bot", "strategy", "symbol", "status"}),
    "/fills": (set(), {"bot", "strategy", "symbol"}),
    "/positions/statement": ({"bot", "strategy", "symbol"}, {"method"}),
}
# Problems of arguments that are valid one by one, but contradict each other: OpenAPI has no words
# for them.
CONTRADICTIONS = {
    "No page of this query: use it with all other arguments unchanged.",
    "Must not be before start.",
    "Must not be before start_time.",
    "Not together with page_token.",
    *(f"Not together with {name}." for name in ("start_time", "end_time")),
    "Must not be in the future.",
    "Not a next_page_token of this request: use it with all other fields unchanged.",
    "Not together with symbol.",
    "Missing: use symbol or symbols.",
    "Not together with notional.",
    "Missing: use quantity or notional.",
    "Must be another than symbol1.",
}


def valid_arguments_are_accepted(context: Any, response: Any, case: Any) -> bool | None:
    """Fail if arguments that the document allows are refused, except for a contradiction."""
    if response.status_code == 422:
        details = response.json()["error"]["details"]
        if all(set(problems) <= CONTRADICTIONS for problems in details.values()):
            return None
    return positive_data_acceptance(context, response, case)


CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    valid_arguments_are_accepted,
]


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture(scope="module")
def bus(servers: Servers, shared_settings: Settings) -> Iterator[Bus]:
    with closing(Bus(str(shared_settings.redis_url), utc_now)) as bus:
        bus.set_instruments(servers.calendars)
        yield bus


@pytest.fixture(scope="module")
def app(shared_settings: Settings, bus: Bus, store: Store) -> Flask:
    """The app with rows of every kind. Tests that change them follow those that need them.

    Its clock stands still: heartbeats and reports stay new, however long the tests take.
    """
    bus.cache_price("EUR_USD", bid="1.0945", ask="1.0947", mid="1.0946", time=datetime(2025, 11, 18, tzinfo=UTC))
    report_sources(bus, {"synthetic": {"state": "live"}})
    publish_book(bus, "BTCUSDT", small_book(), 7, utc_now())
    bus.put_books({"BTCUSDT": row("BTCUSDT", utc_now(), book=small_book())})
    bus.publish_heartbeat(heartbeat({"BTCUSDT": "live"}))
    with store.transaction() as cursor:
        insert_prices(cursor, STORED)
        insert_trades(cursor, trade_lines([Trade("BTCUSDT", n, MOMENT, "60000.10", "0.5", "buy") for n in range(1, 6)]))
        insert_candles(cursor, [CandleRow("EUR_USD", "1h", MOMENT, LATER, OHLC, OHLC, None, "12", None, True, "oanda")])
        insert_candles(cursor, [CandleRow("BTCUSDT", "1h", MOMENT, LATER, OHLC, None, None, "1.5", 3, False, "trades")])
        for values in GAPS:
            cursor.execute("INSERT INTO gaps VALUES (DEFAULT, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", values)
        fill_analytics(cursor)
        insert_book_rows(cursor, [kind(NOON, number) for kind in (top, stored_book) for number in (1, 2)])
        save_run(cursor, scenario_run(RUN_ID, NOON))
        save_run(cursor, scenario_run(str(uuid.UUID(int=7)), NOON, ended=None, outcome="running", recover_seconds=None, timeline=()))
        store_example(cursor)
    bus.publish_snapshot(
        Snapshot("2025-11-18T12:00:00.000000Z", 1, "one", {}, {"strategies": orjson.dumps({"strategies": [STRATEGY_ROW]}).decode()})
    )
    now = utc_now()
    app = create_app(shared_settings, bus, store, lambda: now, "1.2.3")
    # Redis keeps the snapshot for 10 s, the app from its first read.
    assert app.test_client().get("/api/metrics/current").status_code == 200
    return app


def fill_analytics(cursor: Any) -> None:
    """Write volatility, a matrix, an alert of each kind, and jobs.

    One job has no run, one runs and one failed.
    """
    time = datetime(2025, 11, 18, 12, tzinfo=UTC)
    write_volatility(cursor, [VolatilityRow("EUR_USD", name, time, 0.001, 0.08, 24) for name in ESTIMATORS])
    pairs = [("EUR_USD", "GBP_USD"), ("EUR_USD", "USD_JPY"), ("GBP_USD", "USD_JPY")]
    write_correlations(cursor, time, "pearson", pairs, [0.87, -1.0, None], [720, 480, 12])
    seen = (time, 0.025, None, 0.02, "EUR_USD is above")
    write_alerts(cursor, [Alert("volatility", "EUR_USD", None, "warning", *seen)])
    write_alerts(cursor, [Alert("correlation", "EUR_USD", "GBP_USD", "critical", time, 0.1, 0.87, 0.2, "EUR_USD/GBP_USD has changed")])
    write_jobs(cursor, [("ingest", "as long as the process", None), ("hourly_job", "hourly", time), ("retention", "daily", time)], time)
    begin_run(cursor, "hourly_job", time, time)
    end_run(cursor, begin_run(cursor, "retention", time, time), time, error="StoreError: gone")


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def described(app: Flask) -> Any:
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


def test_full_answer_of_each_route_conforms_to_the_document(described: Any) -> None:
    asked: dict[str, list[dict[str, str]]] = {
        "/price/latest": [{"symbol": "EUR_USD"}, {"symbols": "EUR_USD,GBP_USD"}],
        "/ticks": [{"symbol": "EUR_USD", "limit": "3"}, *({"symbol": "EUR_USD", "format": form} for form in FORMATS)],
        "/candles": [{"symbol": "BTCUSDT"}, *({"symbol": "EUR_USD", "price": "bid", "format": form} for form in FORMATS)],
        "/market/trades": [{"symbol": "BTCUSDT", "limit": "3"}, *({"symbol": "BTCUSDT", "format": form} for form in FORMATS)],
        "/gaps": [{"limit": "1"}, *({"format": form} for form in FORMATS)],
        "/volatility": [{"symbol": "EUR_USD", "limit": "3"}, *({"symbol": "EUR_USD", "format": form} for form in FORMATS)],
        "/volatility/latest": [{"symbols": "EUR_USD", "estimator": "ewma"}, *({"format": form} for form in FORMATS)],
        "/correlation": [{"as_of": "2025-11-19", "symbols": "USD_JPY,EUR_USD"}, *({"format": form} for form in FORMATS)],
        "/correlation/history": [{"symbol1": "USD_JPY", "symbol2": "GBP_USD", "format": form} for form in FORMATS],
        "/alerts": [{"limit": "1"}, *({"format": form} for form in FORMATS)],
        **{path: [{"symbol": "BTCUSDT", "format": form} for form in FORMATS] for path in BOOKS[:2]},
        "/scenarios/runs": [{"limit": "1"}, *({"format": form} for form in FORMATS)],
        "/hubs": [{}],
        "/jobs": [{}],
        "/metrics": [{"format": form} for form in ("json", "prometheus", "openmetrics")],
        "/book": [{"symbol": "BTCUSDT"}, {"symbol": "BTCUSDT", "depth": "7", "require": "live"}],
        "/book/cost": [{"symbol": "BTCUSDT", "side": side, "quantity": "2"} for side in ("buy", "sell")],
        **{path: [{}] for path in ("/book/states", "/status", "/scenarios")},
        "/api/trades": [{"start_time": "2025-11-01", "limit": "2", "format": form} for form in FORMATS],
        "/api/metrics/current": [{}],
        **{path: [{}] for path in SYSTEM},
        "/api/metrics/summary": [{}],
        "/api/metrics/symbols": [{}],
        "/api/trades/stats/summary": [{}],
        "/api/trades/execution/quality": [{}],
        "/orders": [{"limit": "1"}, *({"format": form} for form in FORMATS)],
        **{path: [{"limit": "1"}, *({"format": form} for form in FORMATS)] for path in ("/fills", "/positions", "/strategies")},
        "/positions/statement": [{**OF_EXAMPLE, "limit": "1"}, *({**OF_EXAMPLE, "format": form} for form in FORMATS)],
    }
    for path, queries in asked.items():
        for query in queries:
            answer = described[path]["GET"].Case(query=query).call_and_validate(checks=CHECKS)
            assert answer.status_code == 200
    run = described["/scenarios/runs/{run_id}"]["GET"].Case(path_parameters={"run_id": RUN_ID})
    assert run.call_and_validate(checks=CHECKS).status_code == 200


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [(path, "GET", GenerationMode.POSITIVE) for path in ROUTES]
    + [(path, "GET", GenerationMode.NEGATIVE) for path in CHOOSY]
    + [(path, "POST", GenerationMode.POSITIVE) for path in POSTED]
    + [(path, "POST", GenerationMode.NEGATIVE) for path in POSTED if "{" not in path]
    + [(TRACKED, "DELETE", GenerationMode.POSITIVE), (SWITCH, "POST", GenerationMode.POSITIVE)],
)
def test_answers_conform_to_the_document(described: Any, path: str, method: str, mode: GenerationMode) -> None:
    operation = described[path][method]
    examples = 10 if mode is GenerationMode.NEGATIVE else 25

    @hypothesis_settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    check()


def test_document_has_every_route(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == "1.2.3"
    assert sorted(document["paths"]) == sorted([*ROUTES, *POSTED, UPLOAD])
    assert set(document["paths"][SWITCH]) >= {"get", "post"}
    assert set(document["paths"][UPLOAD]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    assert set(document["components"]["schemas"]) >= NAMES
    body = document["paths"]["/prices"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-ndjson"}
    paged = {"start", "end", "limit", "page_token", "order", "format"}
    for path, (needed, others) in PARAMETERS.items():
        parameters = {each["name"]: each for each in document["paths"][path]["get"]["parameters"]}
        assert set(parameters) == paged | needed | others
        assert {name for name, each in parameters.items() if each["required"]} == needed
        assert (parameters["limit"]["schema"]["minimum"], parameters["limit"]["schema"]["maximum"]) == (1, 10000)
        assert parameters["order"]["schema"]["enum"] == ["asc", "desc"]
        assert {"pattern", "maxLength"} <= set(parameters["page_token"]["schema"])
        assert all("pattern" in each["schema"] for name, each in parameters.items() if name.startswith("symbol"))
    for path in (*LISTINGS, *WHOLE):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/csv", "application/x-ndjson"}


def test_every_route_has_a_summary(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document is not None
    for path, item in document["paths"].items():
        assert item["post" if path in (*POSTED, UPLOAD) else "get"]["summary"], path


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_pages_load_nothing_from_another_host(client: FlaskClient, path: str) -> None:
    page = client.get(path)
    assert page.mimetype == "text/html"
    assert "//" not in page.text.replace("<!doctype html>", "")
    policy = page.headers["Content-Security-Policy"].split("; ")
    own_default = "default-src 'none'" if path == "/" else "default-src 'self'"
    assert {own_default, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(policy)
    for own in re.findall(r'(?:src|href|spec-url)="((?!data:|#)[^"]+)"', page.text):
        assert client.get(own).status_code == 200, own


def test_style_sheet_loads_nothing_from_another_host(client: FlaskClient) -> None:
    style = client.get("/docs/static/swagger-ui.css").text
    assert not re.findall(r"@import|url\(['\"]?(?:https?:)?//", style)


def test_import_of_the_application_does_not_load_django() -> None:
    program = "import sys, api.app, api.rest.routes.docs as docs; docs._static_folder(); sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
