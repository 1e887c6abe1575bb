"""The limit of requests: the 601st of a minute, costs, headers, two processes with one Redis."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import redis as redis_client
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.access.limits import Budgets, TokenBuckets
from api.access.model import Access, CallerLimits, Handshake, OpenAuthenticator
from api.app import create_app
from api.errors import Unauthorized
from api.rest.limits.shared import PAUSE_SECONDS, SharedBudgets
from config import settings as settings_module
from config.access.patterns import EVERYTHING
from config.access.scopes import SCOPES
from config.fields import Rate
from config.settings import Settings
from db.bus import Bus
from db.bus.limits.request_windows import RequestWindows
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time
from tests.integration.test_auth_modes import add_key
from tests.support.access import id_of
from tests.support.processes import Web

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
RATE = Rate(600, 60)
HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
OUTSIDE = {"REMOTE_ADDR": "203.0.113.9"}


class Keys:
    """An authenticator: the key is the id of its rights; `bad` is refused."""

    def authenticate(self, handshake: Handshake) -> Access:
        key = handshake.headers.get("x-api-key")
        if key is None:
            return OpenAuthenticator().authenticate(handshake)
        if key == "bad":
            raise Unauthorized("unknown_key", sent=True)
        limits = CallerLimits(requests=Rate(10, 60) if key == "small" else None)
        return Access(frozenset(SCOPES), EVERYTHING, key_id=key, name=key, limits=limits)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic() -> Clock:
    return Clock()


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW


@pytest.fixture
def client(bus: Bus, monotonic: Clock) -> FlaskClient:
    """REST without a database."""
    nothing = settings_module.load({"SOURCES": ""}, dotenv=None)
    bus.cache_price("EUR_USD", bid="1.1", ask="1.3", time=NOW)
    app = create_app(nothing, bus, Store("postgresql://127.0.0.1:1/none"), lambda: NOW, "1", Keys(), monotonic=monotonic)
    return app.test_client()


def latest(client: FlaskClient, key: str = "a", **environ: str) -> TestResponse:
    return client.get("/price/latest?symbol=EUR_USD", headers={"X-API-Key": key} if key else {}, environ_base=environ)


def figures(answer: TestResponse) -> tuple[int, ...]:
    """Return limit, remaining requests and seconds until the budget is full."""
    return tuple(int(answer.headers[name]) for name in HEADERS)


def test_request_601_of_a_key_is_429(client: FlaskClient, monotonic: Clock) -> None:
    for number in range(600):
        answer = latest(client)
        assert (answer.status_code, figures(answer)) == (200, (600, 599 - number, (number // 60 + 1) * 6))
    refused = latest(client)
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "too_many_requests")  # type: ignore[index]
    assert (figures(refused), refused.headers["Retry-After"]) == ((600, 0, 60), "6")
    assert latest(client, "b").status_code == 200
    monotonic.now += 6
    assert figures(latest(client)) == (600, 59, 60)


def test_key_has_a_limit_of_its_own(client: FlaskClient) -> None:
    assert [latest(client, "small").status_code for _ in range(11)] == [200] * 10 + [429]


def test_callers_without_a_key_count_by_address_and_those_of_this_machine_do_not(client: FlaskClient) -> None:
    assert figures(latest(client, "", **OUTSIDE))[:2] == (600, 599)
    assert figures(latest(client, "", REMOTE_ADDR="203.0.113.8"))[:2] == (600, 599)
    assert not set(HEADERS) & set(latest(client, "").headers.keys())


def test_open_routes_cost_nothing(client: FlaskClient) -> None:
    for path in ("/health/live", "/docs"):
        assert not set(HEADERS) & set(client.get(path, headers={"X-API-Key": "a"}).headers.keys())
    assert figures(latest(client))[1] == 599


def test_bad_credentials_count_for_their_address(client: FlaskClient) -> None:
    statuses = [latest(client, "bad", **OUTSIDE).status_code for _ in range(601)]
    assert (set(statuses[:600]), statuses[600]) == ({401}, 429)
    assert latest(client, "good", **OUTSIDE).status_code == 200


def test_batch_of_prices_costs_one_for_each_hundred(client: FlaskClient) -> None:
    def sent(key: str, count: int) -> TestResponse:
        prices = [{"instrument": "EUR_USD", "mid": f"1.{number:06}"} for number in range(count)]
        return client.post("/prices", json={"prices": prices}, headers={"X-API-Key": key})

    assert [(answer.status_code, figures(answer)[1]) for answer in (sent("a", 99), sent("a", 250))] == [(200, 599), (200, 596)]
    assert [sent("small", 500).status_code for _ in range(2)] == [200, 429]
    assert figures(latest(client, "small"))[1] == 2  # ten less six, one for the refused batch, one for this request


def test_pages_cost_by_rows_and_exports_twenty(settings: Settings, bus: Bus, store: Store) -> None:
    rows = [
        PriceRow(
            "EUR_USD",
            format_time(NOW - timedelta(seconds=number)),
            format_time(NOW),
            "1.1",
            "1.3",
            "1.2",
            None,
            "test",
            "e",
            number,
            number,
        )
        for number in range(2100)
    ]
    with store.transaction() as cursor:
        insert_prices(cursor, rows)
    client = create_app(settings, bus, store, lambda: NOW, "1", Keys(), monotonic=Clock()).test_client()

    def cost(key: str, query: str) -> int:
        answer = client.get(f"/ticks?symbol=EUR_USD{query}", headers={"X-API-Key": key})
        assert answer.status_code == 200, answer.text
        return 600 - figures(answer)[1]

    assert [cost("a", "&limit=999"), cost("b", "&limit=1000"), cost("c", "&limit=2050"), cost("d", "&limit=10&format=csv")] == [1, 2, 3, 1]
    assert [cost("e", "&format=csv"), cost("f", "&format=ndjson")] == [20, 20]


# Redis


@pytest.fixture
def windows(bus: Bus) -> RequestWindows:
    return RequestWindows(bus)


def test_budgets_in_redis_are_shared_and_true(windows: RequestWindows, raw_redis: redis_client.Redis) -> None:
    some, other = (SharedBudgets(windows, TokenBuckets(Clock()), Clock()) for _ in range(2))
    for number in range(0, 600, 3):
        assert some.take("key:abc12345", RATE, 2).remaining == 598 - number
        assert other.take("key:abc12345", RATE, 1).remaining == 597 - number
    refused = other.take("key:abc12345", RATE, 1)
    assert refused.remaining == 0
    assert refused.retry_after is not None
    assert 50 < refused.retry_after <= 61
    assert 110 < refused.reset <= 120
    assert other.spend("key:abc12346", RATE, 700).remaining == 0
    other.take("key:abc12347", RATE, 595)
    assert other.spend("key:abc12347", RATE, 10).remaining == 0
    names = {str(name, "utf-8") for name in raw_redis.scan_iter("tickwire:limits:*")}
    assert names == {f"tickwire:limits:{{LIMITER/abc1234{number}/600/60/second}}" for number in (5, 6, 7)}


def test_process_without_redis_counts_for_itself(bus: Bus, clock: Callable[[], datetime]) -> None:
    monotonic = Clock()
    nowhere = Bus("redis://127.0.0.1:1", clock)
    budgets: Budgets = SharedBudgets(RequestWindows(nowhere), TokenBuckets(monotonic), monotonic)
    assert [budgets.take("key:a", RATE, 1).remaining for _ in range(3)] == [599, 598, 597]
    monotonic.now += PAUSE_SECONDS
    assert budgets.spend("key:a", RATE, 1).remaining == 596
    nowhere.close()


@pytest.fixture(scope="module")
def owner(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url), pool_max=1)) as owner:
        yield owner


@pytest.fixture(scope="module")
def key(owner: Store) -> str:
    return add_key(owner, "read")[1]


@pytest.fixture(scope="module")
def two(key: str, shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Web]]:
    folder = tmp_path_factory.mktemp("rest")
    one, other = (Web("rest", shared_settings, folder / f"{number}.log", RATE_STORAGE="redis") for number in (1, 2))
    with one, other:
        yield [one, other]


def ask(connection: http.client.HTTPConnection, key: str) -> tuple[int, dict[str, str]]:
    connection.request("GET", "/sessions", headers={"X-API-Key": key})
    answer = connection.getresponse()
    answer.read()
    return answer.status, dict(answer.headers)


def test_two_processes_with_redis_share_one_budget(two: list[Web], key: str, owner: Store) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", web.port, timeout=60) for web in two]
    began, accepted = time.monotonic(), 0
    for number in range(700):
        status, headers = ask(connections[number % 2], key)
        assert status == 200 or (status == 429 and int(headers["Retry-After"]) >= 1)
        accepted += status == 200
        if time.monotonic() - began < 50:  # within one window
            assert abs(int(headers["X-RateLimit-Remaining"]) - max(0, 600 - accepted)) <= 1
    if time.monotonic() - began < 50:
        assert 570 <= accepted <= 630
    for connection in connections:
        connection.close()
    for web in two:
        assert web.ask_to_stop() == 0
    with owner.transaction() as cursor:
        cursor.execute("SELECT actor, details FROM access_log WHERE action = 'limit' AND key_id = %s", (id_of(key),))
        rows = cursor.fetchall()
    assert {(actor, *details["reasons"]) for actor, details in rows} == {("rest", "RATE_REQUESTS")}
    assert sum(details["count"] for _, details in rows) == 700 - accepted
