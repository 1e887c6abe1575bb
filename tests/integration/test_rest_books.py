"""Order books over REST: levels, states, costs, and the status of their process."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis as redis_client
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import Servers
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.book_page import STATUS
from tests.support.registry import put_report
from tests.support.rest_books import EVENT_TIME, first_book, heartbeat, publish_book, row, small_book
from tests.support.rest_books import SMALL_ASKS as ASKS
from tests.support.rest_books import SMALL_BIDS as BIDS
from tests.support.servers import of_database

BEGIN = datetime(2025, 7, 15, 16, 36, 11, 663_696, tzinfo=UTC)
SMALL = "ETHUSDT"  # a book with three levels a side
FIELDS = [
    "instrument", "depth", "state", "reason", "bids", "asks", "complete", "update_id", "checksum", "time", "timestamp", "lag_ms", "seq",
    "epoch", "measures",
]  # fmt: skip
ADDITIVE = [
    "lag_ms", "queue_max", "queue_peak", "dropped", "backpressure_seconds", "books", "scenario_running", "scenario_run",
    "configuration",
]  # fmt: skip
RUN = {"run_id": "7e5c0c1e-1f43-4a52-9d1c-6a6a5f3ad7a1", "started": "2025-07-15T16:36:00.000000Z", "phase": 1}


class Rest:
    """The app, its bus, and its clock."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.now = BEGIN
        self.bus = Bus(str(settings.redis_url), lambda: self.now)
        self.client: FlaskClient = create_app(settings, self.bus, store, lambda: self.now, "1").test_client()

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def error(self, path: str, status: int) -> tuple[str, Any]:
        error = self.get(path, status)["error"]
        return error["code"], error["details"]

    def beat(self, **states: str) -> None:
        """Publish a heartbeat, now."""
        self.bus.publish_heartbeat(heartbeat(states))


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture
def rest(servers: Servers, shared_settings: Settings, store: Store) -> Iterator[Rest]:
    """REST with two live books: that of the recording, and a small one."""
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as client:
        client.flushdb()
    found = Rest(replace(shared_settings, scenario="stable-mode"), store)
    book, update_id = first_book()
    small = small_book()
    publish_book(found.bus, "BTCUSDT", book, update_id, BEGIN)
    publish_book(found.bus, SMALL, small, 7, BEGIN)
    rows = {"BTCUSDT": row("BTCUSDT", BEGIN, book=book), SMALL: row(SMALL, BEGIN, book=small), "SOLUSDT": row("SOLUSDT", BEGIN, "syncing")}
    found.bus.put_books(rows, whole=True)
    found.beat(BTCUSDT="live", ETHUSDT="live", SOLUSDT="syncing")
    with closing(found.bus):
        yield found


def crc(bids: list[list[str]], asks: list[list[str]], levels: int) -> int:
    """The checksum as a client computes it."""
    turns = [text for place in range(levels) for side in (bids, asks) for level in side[place : place + 1] for text in level]
    return zlib.crc32(":".join(turns).encode())


# GET /book


def test_book_has_the_figures_of_the_page_after_the_first_diff(rest: Rest) -> None:
    body = rest.get("/book?symbol=BTCUSDT&depth=20")
    assert list(body) == FIELDS
    assert (body["instrument"], body["depth"], body["state"], body["reason"]) == ("BTCUSDT", 20, "live", "start")
    assert (body["update_id"], body["checksum"], body["time"]) == (50093239224, 1580128075, EVENT_TIME)
    assert body["bids"][0] == ["61837.63000000", "3.78826000"]
    assert body["complete"] == {"bids": 999, "asks": 999, "from": "61631.55000000", "to": "62053.18000000"}
    assert (len(body["bids"]), len(body["asks"]), body["seq"]) == (20, 20, 1)
    assert (body["timestamp"], body["lag_ms"]) == (format_time(BEGIN), 3.2)
    assert rest.get("/book?symbol=BTCUSDT") == body, "20 is the default"
    bid, ask = Decimal(body["bids"][0][0]), Decimal(body["asks"][0][0])
    assert Decimal(body["measures"]["spread"]) == ask - bid
    assert list(body["measures"]) == ["spread", "spread_bps", "mid", "imbalance", "weighted_mid", "depth_weighted_mid"]


@pytest.mark.parametrize("depth", [1, 3, 5, 7, 10, 11, 20, 21, 49, 50])
def test_book_of_any_depth_is_cut_with_its_own_checksum(rest: Rest, depth: int) -> None:
    body, whole = rest.get(f"/book?symbol=BTCUSDT&depth={depth}"), rest.get("/book?symbol=BTCUSDT&depth=50")
    assert (body["bids"], body["asks"], body["depth"]) == (whole["bids"][:depth], whole["asks"][:depth], depth)
    assert body["checksum"] == crc(body["bids"], body["asks"], min(10, depth))


def test_book_with_fewer_levels_has_those(rest: Rest) -> None:
    body = rest.get(f"/book?symbol={SMALL}&depth=50")
    assert (body["bids"], body["asks"], body["checksum"]) == (BIDS, ASKS, crc(BIDS, ASKS, 10))
    assert body["measures"]["imbalance"] == {"1": 1 / 3, "5": None, "20": None}
    assert rest.get(f"/book?symbol={SMALL}&depth=2")["checksum"] == crc(BIDS, ASKS, 2)


@pytest.mark.parametrize(
    ("query", "status", "code", "details"),
    [
        ("symbol=NOSUCH", 404, "unknown_instrument", {"symbol": ["NOSUCH"]}),
        ("symbol=EUR_USD", 404, "no_book", {"symbol": ["EUR_USD"]}),
        ("symbol=SOLUSDT", 404, "no_book", {"symbol": ["SOLUSDT"]}),
        *((f"symbol=BTCUSDT&depth={depth}", 422, "invalid_payload", None) for depth in ("0", "51", "-1", "x", "1.5", "")),
        ("symbol=BTCUSDT&require=fresh", 422, "invalid_payload", {"require": ["Must be one of: live."]}),
        ("depth=5", 422, "invalid_payload", {"symbol": ["Missing data for required field."]}),
        ("symbol=BTCUSDT&levels=5", 422, "invalid_payload", None),
    ],
)
def test_bad_request_for_a_book_names_the_argument(rest: Rest, query: str, status: int, code: str, details: Any) -> None:
    found, about = rest.error(f"/book?{query}", status)
    assert (found, about) == (code, details if details is not None else about)
    if details is None:
        assert list(about) in (["depth"], ["levels"])


def test_book_that_is_not_live_is_the_last_good_one_with_its_state(rest: Rest) -> None:
    levels = rest.get("/book?symbol=BTCUSDT")["bids"]
    rest.bus.put_books({"BTCUSDT": row("BTCUSDT", BEGIN + timedelta(seconds=1), "gap", "missing_update")})
    body = rest.get("/book?symbol=BTCUSDT")
    assert (body["state"], body["reason"], body["bids"], body["measures"]) == ("gap", "missing_update", levels, None)
    assert rest.get("/book?symbol=ETHUSDT&require=live")["state"] == "live"
    assert rest.error("/book?symbol=BTCUSDT&require=live", 409) == ("book_not_live", {"state": "gap", "reason": "missing_update"})


def test_book_that_is_newer_than_its_row_is_live_again(rest: Rest) -> None:
    rest.bus.put_books({"BTCUSDT": row("BTCUSDT", BEGIN + timedelta(seconds=1), "resyncing", "overflow")})
    book, update_id = first_book()
    publish_book(rest.bus, "BTCUSDT", book, update_id, BEGIN + timedelta(seconds=2))
    assert rest.get("/book?symbol=BTCUSDT&require=live")["state"] == "live"


def test_book_of_a_process_before_is_no_book_while_the_new_one_syncs(rest: Rest) -> None:
    rest.bus.put_books({"BTCUSDT": row("BTCUSDT", BEGIN + timedelta(seconds=1), "syncing")})
    assert rest.error("/book?symbol=BTCUSDT", 404)[0] == "no_book"
    rest.bus.put_books({SMALL: row(SMALL, BEGIN)}, whole=True)
    assert rest.error("/book?symbol=BTCUSDT", 404)[0] == "no_book"


def test_books_are_stale_after_three_intervals_without_a_heartbeat(rest: Rest) -> None:
    rest.now = BEGIN + timedelta(seconds=3)
    assert rest.get("/book?symbol=BTCUSDT")["state"] == "live"
    rest.now = BEGIN + timedelta(seconds=3.5)
    body = rest.get("/book?symbol=BTCUSDT")
    assert (body["state"], body["reason"], body["checksum"]) == ("stale", "disconnected", 1580128075)
    assert rest.error("/book?symbol=BTCUSDT&require=live", 409) == ("book_not_live", {"state": "stale", "reason": "disconnected"})
    assert rest.get("/book/cost?symbol=ETHUSDT&side=buy&quantity=1")["state"] == "stale"
    states = rest.get("/book/states")["books"]
    assert [each["state"] for each in states] == ["stale"] * 3
    assert states[0]["since"] == format_time(BEGIN + timedelta(seconds=3))
    assert states[0]["last_message_age_seconds"] == 3.55
    status = rest.get("/status")
    assert (status["status"], status["books"]) == ("unhealthy", dict.fromkeys(("BTCUSDT", "ETHUSDT", "SOLUSDT"), "stale"))
    rest.beat(BTCUSDT="live")
    assert rest.get("/book?symbol=BTCUSDT")["state"] == "live"


# GET /book/states


def test_states_have_the_rows_by_instrument_without_measures(rest: Rest) -> None:
    body = rest.get("/book/states")
    assert list(body) == ["books", "count"]
    assert [each["symbol"] for each in body["books"]] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert body["count"] == 3
    assert list(body["books"][0]) == [
        "symbol", "state", "reason", "since", "update_id", "complete", "resyncs", "audits", "last_message_age_seconds",
    ]  # fmt: skip
    expected = row("BTCUSDT", BEGIN)
    assert body["books"][0] == {name: value for name, value in expected.items() if name != "measures"}


# GET /book/cost


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # (100.10 + 0.5 · 100.20) / 1.5 = 100.13333…; 10⁴ · 0.13333… / 100
        (
            "side=buy&quantity=1.5",
            {"quantity": "1.5", "average_price": "100.1333333333333333", "worst_price": "100.20", "filled": True, "filled_quantity": "1.5"},
        ),
        (
            "side=sell&quantity=2",
            {"quantity": "2", "average_price": "99.90", "worst_price": "99.90", "filled": True, "filled_quantity": "2"},
        ),
        # 100.10 + 0.5 · 100.20 = 150.20
        (
            "side=buy&notional=150.20",
            {"quantity": "1.5", "average_price": "100.1333333333333333", "worst_price": "100.20", "filled": True, "filled_quantity": "1.5"},
        ),
        (
            "side=buy&quantity=4",
            {"quantity": "4", "average_price": "100.20", "worst_price": "100.30", "filled": False, "filled_quantity": "3"},
        ),
        (
            "side=buy&notional=1000",
            {"quantity": None, "average_price": "100.20", "worst_price": "100.30", "filled": False, "filled_quantity": "3"},
        ),
    ],
)
def test_cost_is_that_of_the_hand_arithmetic(rest: Rest, query: str, expected: dict[str, Any]) -> None:
    body = rest.get(f"/book/cost?symbol={SMALL}&{query}")
    assert list(body) == [
        "symbol", "side", "quantity", "average_price", "worst_price", "slippage_bps", "filled", "filled_quantity", "state", "update_id",
    ]  # fmt: skip
    texts = ("quantity", "average_price", "worst_price", "filled_quantity")
    assert {name: body[name] and Decimal(body[name]) for name in texts} == {
        name: expected[name] and Decimal(expected[name]) for name in texts
    }
    assert (body["filled"], body["state"], body["update_id"]) == (expected["filled"], "live", 7)
    exact = Decimal(expected["average_price"])
    assert body["slippage_bps"] == pytest.approx(float(abs(exact - 100) * 100))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("side=buy", ["quantity"]),
        ("side=buy&quantity=1&notional=1", ["quantity"]),
        ("side=hold&quantity=1", ["side"]),
        ("quantity=1", ["side"]),
        ("side=buy&quantity=0", ["quantity"]),
        ("side=buy&quantity=-1", ["quantity"]),
        ("side=buy&notional=1e3", ["notional"]),
        ("side=buy&quantity=1&quantity=1", ["quantity"]),
    ],
)
def test_cost_without_one_amount_is_422(rest: Rest, query: str, names: list[str]) -> None:
    code, details = rest.error(f"/book/cost?symbol={SMALL}&{query}", 422)
    assert (code, list(details)) == ("invalid_payload", names)


def test_cost_without_a_book_is_404(rest: Rest) -> None:
    assert rest.error("/book/cost?symbol=EUR_USD&side=buy&quantity=1", 404)[0] == "no_book"
    assert rest.error("/book/cost?symbol=NOSUCH&side=buy&quantity=1", 404)[0] == "unknown_instrument"


# GET /status and /health


def test_status_has_the_eight_fields_of_the_page(rest: Rest) -> None:
    body = rest.get("/status")
    assert json.dumps(dict(list(body.items())[:8])) == json.dumps(json.loads(STATUS))
    assert list(body)[8:] == ADDITIVE
    assert (body["dropped"], body["scenario_running"], body["scenario_run"]) == (0, False, None)
    assert body["configuration"] == {
        "host": "127.0.0.1", "port": 5000, "websocket": "ws://127.0.0.1:5001/ws", "processing_delay_ms": None, "scenario": "stable-mode",
    }  # fmt: skip


def test_status_has_the_run_in_the_report_of_the_process(rest: Rest) -> None:
    part = {"dropped": 4, "backpressure_seconds": 1.25, "scenario_running": True, "scenario_run": RUN, "processing_delay_ms": 10}
    put_report(rest.bus, "books@test", books=part, now=rest.now)
    rest.client.get("/health")  # reads the registry, as the watch of the process does
    body = rest.get("/status")
    assert (body["dropped"], body["backpressure_seconds"], body["scenario_running"]) == (4, 1.25, True)
    assert (body["scenario_run"], body["configuration"]["processing_delay_ms"]) == (RUN, 10)


def test_status_and_health_before_the_first_heartbeat(rest: Rest, servers: Servers) -> None:
    names = ("total_messages_processed", "current_queue_size", "memory_usage_mb", "active_clients", "current_scenario", "last_heartbeat")
    expected = json.loads(STATUS)
    health = rest.client.get("/health").get_json()
    assert {name: health[name] for name in names} == {name: expected[name] for name in names}
    assert list(health)[-6:] == list(names)
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, SHARED_REDIS_DATABASE), protocol=2)) as client:
        client.delete("tickwire:latest:heartbeats")
    assert rest.error("/status", 503) == ("unavailable", {"part": "books"})
    assert rest.client.get("/status").headers["Retry-After"] == "2"
    health = rest.client.get("/health").get_json()
    assert {name: health[name] for name in names} == dict.fromkeys(names)


def test_status_of_an_overload_leaves_health_as_it_is(rest: Rest) -> None:
    before = rest.client.get("/health")
    rest.bus.publish_heartbeat(heartbeat({"BTCUSDT": "gap"}, "extreme-spike", "unhealthy"))
    after = rest.client.get("/health")
    assert rest.get("/status")["status"] == "unhealthy"
    assert (after.status_code, after.get_json()["status"]) == (before.status_code, before.get_json()["status"])
