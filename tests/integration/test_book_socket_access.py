"""Credentials of `/ws` on a real hub: scopes, instrument patterns, renewal and changed rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from api.access.model import SCOPES
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from tests.conformance.http_client import Answer, Server
from tests.conformance.websocket_client import Refused
from tests.conftest import until
from tests.support import hub_books
from tests.support.access import COLLECTED, REQUIRED, UNKNOWN_KEY, Keys, jwt_of, read_by
from tests.support.plain import Books
from tests.support.processes import Web

BOTH = "symbols=BTCUSDT,ETHUSDT"


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**REQUIRED, "JWT_LEEWAY_SECONDS": "0", "AUTH_JOIN_SECONDS": "2", "HEARTBEAT_INTERVAL": "60"}


@pytest.fixture
def keys(shared_settings: Settings, shared_bus: Bus) -> Iterator[Keys]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield Keys(store, shared_bus)


@pytest.fixture
def beat(shared_bus: Bus, shared_hub: Web, keys: Keys, server: Server) -> Any:
    """Publish the next book of BTCUSDT and ETHUSDT and a heartbeat; the hub has the first ones."""
    numbers = iter(range(1, 1000))

    def publish() -> int:
        number = next(numbers)
        for name in ("BTCUSDT", "ETHUSDT"):
            shared_bus.publish_books(hub_books.messages(number, name, starts=number == 1))
        shared_bus.publish_heartbeat(hub_books.heartbeat({"BTCUSDT": "live", "ETHUSDT": "live"}, total_messages_processed=number))
        return 50_000_000_000 + number

    last = publish()
    key = read_by(server, keys.add(["read"]))
    until(lambda: first_update(shared_hub, key) == last)
    return publish


def first_update(hub: Web, key: str) -> int:
    with opened(hub, key, "symbols=ETHUSDT") as client:
        return int(client.data("orderbook")["last_update_id"])


def opened(hub: Web, credential: str, query: str = "") -> Books:
    return Books(hub.port, query, {"Authorization": f"Bearer {credential}"})


def refused(hub: Web, query: str = "", **headers: str) -> tuple[int, str, dict[str, Any]]:
    """Return status, code and details of a refused handshake."""
    with pytest.raises(Refused) as caught, Books(hub.port, query, headers):
        pass
    answer: Answer = caught.value.answer
    error = json.loads(answer.body)["error"]
    return answer.status, error["code"], error["details"]


def kinds_until(client: Books, update_id: int, symbol: str = "BTCUSDT") -> set[str]:
    """Return the types of frames until this book, and those of the frames that come with it."""
    kinds: set[str] = set()
    while True:
        body = client.body()
        kinds.add(body["type"])
        if body["type"] == "orderbook" and (body["data"]["symbol"], body["data"]["last_update_id"]) == (symbol, update_id):
            return kinds


# scopes


def test_read_alone_opens_the_socket_and_observe_adds_to_it(shared_hub: Web, server: Server, keys: Keys, beat: Any) -> None:
    for scope in SCOPES:
        for headers in ({"X-API-Key": read_by(server, keys.add([scope]))}, {"Authorization": f"Bearer {jwt_of([scope])}"}):
            if scope != "read":
                assert refused(shared_hub, **headers) == (403, "forbidden", {"scope": ["read"]})
    for credential, observes in ((jwt_of(["read"]), False), (jwt_of(["read", "observe"]), True)):
        with opened(shared_hub, credential, BOTH) as client:
            beat()
            last = beat()
            expected = {"orderbook", "heartbeat", "status"} if observes else {"orderbook"}
            assert kinds_until(client, last) == expected
            assert client.ask({"type": "ping"})["type"] == "pong"
    assert refused(shared_hub, **{"X-API-Key": UNKNOWN_KEY})[:2] == (401, "unauthorized")


# patterns


def test_patterns_limit_the_books(shared_hub: Web, server: Server, keys: Keys, beat: Any) -> None:
    key = read_by(server, keys.add(["read"], ["BTC*"]))
    for query, answer in (
        ("symbols=ETHUSDT", (403, "forbidden", {"instrument": ["No access."]})),
        (BOTH, (403, "forbidden", {"instrument": ["No access."]})),
        ("symbols=NOPE", (400, "unknown_instrument", {"instrument": ["Unknown instrument."]})),
    ):
        assert refused(shared_hub, query, **{"X-API-Key": key}) == answer
    with opened(shared_hub, key) as client, opened(shared_hub, key, "symbols=BTCUSDT") as narrow:
        for each in (client, narrow):
            assert each.data("orderbook")["symbol"] == "BTCUSDT"
        beat()
        last = beat()
        for each in (client, narrow):
            while (data := each.data("orderbook"))["last_update_id"] != last:
                assert data["symbol"] == "BTCUSDT"


# the first frame


def test_first_frame_carries_the_credential(shared_hub: Web, server: Server, keys: Keys, beat: Any) -> None:
    key = read_by(server, keys.add(["read", "observe"], ["BTC*"]))
    with Books(shared_hub.port) as client:
        assert [client.code(text) for text in ("ping", '{"type":"ping"}', "hello")] == ["unauthorized", "unauthorized", "invalid_payload"]
        client.send(f"auth:{key}")
        assert [client.body()["type"] for _ in range(2)] == ["status", "orderbook"]


@pytest.mark.parametrize(
    ("query", "credential", "code", "close"),
    [
        ("", UNKNOWN_KEY, "unauthorized", 4401),
        ("", jwt_of(["observe"], life=COLLECTED), "forbidden", 4403),
        ("symbols=ETHUSDT", jwt_of(["read"], ["BTC*"], life=COLLECTED), "forbidden", 4403),
        ("symbols=NOPE", jwt_of(["read"], life=COLLECTED), "unknown_instrument", 4400),
    ],
)
def test_bad_first_credential_is_an_error_and_a_close(shared_hub: Web, query: str, credential: str, code: str, close: int) -> None:
    with Books(shared_hub.port, query) as client:
        client.send(f"auth:{credential}")
        assert client.body()["error"]["code"] == code
        assert client.closed_with() == close


def test_client_without_a_credential_in_time_is_closed_with_4401(shared_hub: Web, beat: Any) -> None:
    with Books(shared_hub.port) as client:
        beat()
        body = client.body(20)
        assert (body["type"], body["error"]["code"]) == ("error", "unauthorized")
        assert client.closed_with() == 4401


# changed rights


def test_token_is_renewed_by_one_for_the_same_books(shared_hub: Web, beat: Any) -> None:
    with opened(shared_hub, jwt_of(["read"], life=4), "symbols=BTCUSDT") as client:
        for bad in (jwt_of(["read"], ["ETH*"]), jwt_of(["observe"])):
            assert client.code(f"auth:{bad}") == "forbidden"
        assert client.code(f"auth:{jwt_of(['read'], sub='eve')}") == "unauthorized"
        notice = client.data("credentials_expiring", 20)
        assert notice["in_seconds"] <= 1
        client.send(f"auth:{jwt_of(['read', 'observe'], life=600)}")
        body = client.body()
        assert body["type"] == "status", "the new token has the scope observe"
        assert client.data("refreshed")["expires_at"] > notice["expires_at"]
        assert client.ask({"type": "ping"})["type"] == "pong"
    with opened(shared_hub, jwt_of(["read"], life=2)) as client:
        error = client.next_of("error")["error"]
        assert (error["code"], error["details"]) == ("unauthorized", {"reason": "expired", "reconnect": False})
        assert client.closed_with() == 4401


def test_changed_key_changes_the_frames_at_once(shared_hub: Web, server: Server, keys: Keys, beat: Any) -> None:
    key = read_by(server, keys.add(["read"], ["BTC*"]))
    with opened(shared_hub, key) as client:
        assert client.data("orderbook")["symbol"] == "BTCUSDT"
        keys.change(key, instruments=["*"])
        assert client.data("orderbook")["symbol"] == "ETHUSDT", "more rights bring more books"
        keys.change(key, scopes=["read", "observe"])
        assert client.data("status")["status"] == "healthy"
        last = beat()
        assert client.data("heartbeat")["total_messages_processed"] == last - 50_000_000_000
        keys.change(key, scopes=["read"], instruments=["ETH*"])
        until(lambda: frames_of(client, beat) == {("orderbook", "ETHUSDT")})


def frames_of(client: Books, beat: Any) -> set[tuple[str, str | None]]:
    """Return types and symbols of the frames that the next books and the next heartbeat bring."""
    client.ask({"type": "ping"})
    last, found = beat(), set()
    client.data("orderbook", symbol="ETHUSDT", last_update_id=last)
    last = beat()
    while True:
        body = client.body()
        found.add((body["type"], body["data"].get("symbol")))
        if body["type"] == "orderbook" and (body["data"]["symbol"], body["data"]["last_update_id"]) == ("ETHUSDT", last):
            return found


def test_client_that_named_a_book_ends_if_it_may_not_read_it(shared_hub: Web, server: Server, keys: Keys, beat: Any) -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"instruments": ["ETH*"]}, {"instrument": ["No access."]}),
        ({"scopes": ["observe"]}, {"scope": ["read"]}),
    ]
    for change, details in cases:
        key = read_by(server, keys.add(["read"]))
        with opened(shared_hub, key, BOTH) as client:
            client.data("orderbook")
            keys.change(key, **change)
            error = client.next_of("error")["error"]
            assert (error["code"], error["details"]) == ("forbidden", {**details, "reason": "key_changed", "reconnect": False})
            assert client.closed_with() == 4403


def test_revoked_key_closes_with_4401(shared_hub: Web, server: Server, keys: Keys) -> None:
    key = read_by(server, keys.add(["read"]))
    with opened(shared_hub, key) as client:
        client.ask({"type": "ping"})
        keys.revoke(key)
        assert client.next_of("error")["error"]["details"] == {"reason": "revoked", "reconnect": False}
        assert client.closed_with() == 4401
