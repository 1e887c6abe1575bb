"""Credentials of `/ws/metrics` on a real hub: headers, first frames, renewal, revocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from api.access.model import SCOPES
from tests.conformance.http_client import Answer, Server
from tests.conformance.websocket_client import Refused
from tests.conftest import until
from tests.support.access import COLLECTED, REQUIRED, UNKNOWN_KEY, Keys, jwt_of, read_by
from tests.support.plain import Plain
from tests.support.processes import Web

CHALLENGE = 'Bearer realm="tickwire"'
CONNECTIONS = 5
PER_ADDRESS = 15


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    more = {"JWT_LEEWAY_SECONDS": "0", "AUTH_JOIN_SECONDS": "2", "WS_MAX_CONNECTIONS": str(CONNECTIONS)}
    return {**REQUIRED, **more, "TRUSTED_PROXIES": "127.0.0.1", "RATE_CONNECTIONS_PER_IP": str(PER_ADDRESS)}


@pytest.fixture
def key(keys: Keys, server: Server) -> str:
    """A key with `observe` that the hub has read."""
    return read_by(server, keys.add(["observe"]))


def refused(hub: Web, **headers: str) -> Answer:
    with pytest.raises(Refused) as caught, Plain(hub.port, headers=headers):
        pass
    return caught.value.answer


def error_of(answer: Answer) -> dict[str, Any]:
    error = json.loads(answer.body)["error"]
    assert set(error) == {"code", "message", "details"}
    return dict(error)


# headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": UNKNOWN_KEY},
        {"X-API-Key": "short"},
        {"X-API-Key": ""},
        {"Authorization": f"Bearer {UNKNOWN_KEY}"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Bearer {jwt_of(['observe'], life=-5)}"},
        {"Authorization": f"Bearer {jwt_of(['observe'], aud='other')}"},
    ],
    ids=range(8),
)
def test_bad_credential_in_a_header_is_401(headers: dict[str, str], shared_hub: Web) -> None:
    answer = refused(shared_hub, **headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"')
    assert error_of(answer)["code"] == "unauthorized"


def test_scope_observe_alone_opens_the_socket(shared_hub: Web, server: Server, keys: Keys) -> None:
    for scope in SCOPES:
        if scope == "admin":
            continue
        credentials = [{"X-API-Key": read_by(server, keys.add([scope]))}, {"Authorization": f"Bearer {jwt_of([scope])}"}]
        for headers in credentials:
            if scope == "observe":
                with Plain(shared_hub.port, headers=headers) as client:
                    assert client.body()["type"] == "connected"
            else:
                answer = refused(shared_hub, **headers)
                assert (answer.status, error_of(answer)["code"], error_of(answer)["details"]) == (403, "forbidden", {"scope": ["observe"]})


def test_two_credentials_are_400(shared_hub: Web, key: str) -> None:
    answer = refused(shared_hub, **{"X-API-Key": key, "Authorization": f"Bearer {jwt_of(['observe'])}"})
    assert (answer.status, error_of(answer)["code"]) == (400, "invalid_payload")


def test_instrument_patterns_do_not_limit_metrics(shared_hub: Web, server: Server, keys: Keys) -> None:
    narrow = read_by(server, keys.add(["observe"], ["EUR_CHF"]))
    with Plain(shared_hub.port, headers={"X-API-Key": narrow}) as client:
        assert client.body()["channels"] == ["market_data", "strategy", "execution", "system"]


# the first frame


def test_first_frame_carries_a_key_or_a_token(shared_hub: Web, key: str) -> None:
    for credential in (key, jwt_of(["observe"])):
        with Plain(shared_hub.port, "channels=system&max_rate=2") as client:
            client.send(f"auth:{credential}")
            body = client.body()
            assert (body["type"], body["channels"], body["max_rate"]) == ("connected", ["system"], 2)
            client.send("ping")
            assert client.receive() == "pong"


@pytest.mark.parametrize(
    ("credential", "code", "close"),
    [
        (UNKNOWN_KEY, "unauthorized", 4401),
        ("x", "unauthorized", 4401),
        ("", "unauthorized", 4401),
        (jwt_of(["read"], life=COLLECTED), "forbidden", 4403),
    ],
    ids=["unknown", "malformed", "empty", "scope"],
)
def test_bad_first_credential_is_an_error_and_a_close(credential: str, code: str, close: int, shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        client.send(f"auth:{credential}")
        assert client.body()["error"]["code"] == code
        assert client.closed_with() == close


def test_other_frames_wait_for_the_credential(shared_hub: Web, key: str) -> None:
    with Plain(shared_hub.port) as client:
        assert client.code("subscribe:alerts") == "unauthorized"
        assert client.code("ping") == "unauthorized"
        assert client.code("hello") == "invalid_payload"
        assert client.ask(f"auth:{key}")["type"] == "connected"


def test_client_without_a_credential_in_time_is_closed_with_4401(shared_hub: Web) -> None:
    with Plain(shared_hub.port) as client:
        assert client.body(20)["error"]["code"] == "unauthorized"
        assert client.closed_with() == 4401


# renewal


def test_token_of_the_same_subject_renews_the_connection(shared_hub: Web) -> None:
    with Plain(shared_hub.port, "channels=system", {"Authorization": f"Bearer {jwt_of(['observe'], life=4)}"}) as client:
        assert client.body()["type"] == "connected"
        for bad, code in (("x", "unauthorized"), (jwt_of(["observe"], sub="eve"), "unauthorized"), (jwt_of(["read"]), "forbidden")):
            assert client.code(f"auth:{bad}") == code
        notice = client.body(20)
        assert (notice["type"], notice["in_seconds"] <= 1) == ("credentials_expiring", True)
        renewed = jwt_of(["observe"], life=600)
        answer = client.ask(f"auth:{renewed}")
        assert (answer["type"], answer["expires_at"] > notice["expires_at"]) == ("refreshed", True)
        with pytest.raises(TimeoutError):
            client.receive(2)  # beyond the life of the first token
        assert client.ask({"type": "health"})["type"] == "health"


def test_expired_token_closes_with_4401(shared_hub: Web) -> None:
    with Plain(shared_hub.port, headers={"Authorization": f"Bearer {jwt_of(['observe'], life=2)}"}) as client:
        assert client.body()["type"] == "connected"
        assert client.body()["type"] == "credentials_expiring"
        error = client.body(20)["error"]
        assert (error["code"], error["details"]) == ("unauthorized", {"reason": "expired", "reconnect": False})
        assert client.closed_with() == 4401


# revocation


def test_revoked_key_and_token_close_with_4401(shared_hub: Web, keys: Keys, key: str) -> None:
    token = jwt_of(["observe"], sub="bob", jti="j-1")
    cases: list[tuple[dict[str, str], Callable[[], None]]] = [
        ({"X-API-Key": key}, partial(keys.revoke, key)),
        ({"Authorization": f"Bearer {token}"}, partial(keys.revoke_token, "j-1")),
    ]
    for headers, revoke in cases:
        with Plain(shared_hub.port, headers=headers) as client:
            assert client.body()["type"] == "connected"
            revoke()
            error = client.body()["error"]
            assert (error["code"], error["details"]) == ("unauthorized", {"reason": "revoked", "reconnect": False})
            assert client.closed_with() == 4401
        assert refused(shared_hub, **headers).status == 401


def test_removed_scope_closes_with_4403_and_other_rights_do_not(shared_hub: Web, server: Server, keys: Keys) -> None:
    key = read_by(server, keys.add(["observe", "read"]))
    with Plain(shared_hub.port, headers={"X-API-Key": key}) as client:
        assert client.body()["type"] == "connected"
        keys.change(key, scopes=["observe"], instruments=["EUR_*"])
        keys.change(key, scopes=["read"])
        error = client.body()["error"]
        assert (error["code"], error["details"]) == ("forbidden", {"scope": ["observe"], "reason": "key_changed", "reconnect": False})
        assert client.closed_with() == 4403


# limits


def test_connections_of_a_key_are_limited_by_header_and_by_frame(shared_hub: Web, server: Server, keys: Keys) -> None:
    key = keys.add(["observe"])
    keys.change(key, max_connections=1)
    read_by(server, key)
    with Plain(shared_hub.port, headers={"X-API-Key": key}) as held:
        assert held.body()["type"] == "connected"
        until(lambda: not opens(shared_hub, key), what="a hub that has read the limit")
        answer = refused(shared_hub, **{"X-API-Key": key})
        assert (answer.status, error_of(answer)["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) >= 1
        with Plain(shared_hub.port) as other:
            other.send(f"auth:{key}")
            error = other.body()["error"]
            assert (error["code"], error["details"]["max_connections"]) == ("too_many_requests", 1)
            assert other.closed_with() == 4429
    until(lambda: opens(shared_hub, key), what="the place of the ended connection")


def test_connections_of_an_address_are_limited_with_and_without_a_credential(shared_hub: Web, key: str) -> None:
    address = {"X-Forwarded-For": "203.0.113.9"}
    with ExitStack() as stack:
        with pytest.raises(Refused) as caught:
            open_many(stack, shared_hub, address)
        answer = caught.value.answer
        assert (answer.status, error_of(answer)["code"]) == (429, "too_many_requests")
        assert error_of(answer)["details"]["max_connections"] == PER_ADDRESS
        assert int(answer.headers["retry-after"]) >= 1
        assert refused(shared_hub, **address, **{"X-API-Key": key}).status == 429
        assert opens(shared_hub, key), "another address"


def open_many(stack: ExitStack, hub: Web, headers: dict[str, str]) -> None:
    for _ in range(3 * PER_ADDRESS):  # the first ones may have waited too long
        stack.enter_context(Plain(hub.port, headers=headers))


def opens(hub: Web, key: str) -> bool:
    try:
        with Plain(hub.port, headers={"X-API-Key": key}) as client:
            return bool(client.body()["type"] == "connected")
    except Refused:
        return False


def test_full_server_is_503_and_waiting_sockets_take_no_place(shared_hub: Web, key: str) -> None:
    until(lambda: opens(shared_hub, key))
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(Plain(shared_hub.port))
        for _ in range(CONNECTIONS - 1):
            assert joins(stack, shared_hub, key), "earlier connections have ended"
        waiting = stack.enter_context(Plain(shared_hub.port))
        assert joins(stack, shared_hub, key), "a waiting socket takes no place"
        answer = refused(shared_hub, **{"X-API-Key": key})
        assert (answer.status, error_of(answer)["code"], error_of(answer)["details"]["max_connections"]) == (
            503,
            "server_full",
            CONNECTIONS,
        )
        assert int(answer.headers["retry-after"]) >= 1
        assert waiting.code(f"auth:{key}") == "server_full"
        assert waiting.closed_with() == 1013
    until(lambda: opens(shared_hub, key))


def joins(stack: ExitStack, hub: Web, key: str) -> bool:
    def join() -> bool:
        try:
            client = stack.enter_context(Plain(hub.port, headers={"X-API-Key": key}))
        except Refused:
            return False
        return bool(client.body()["type"] == "connected")

    until(join)
    return True
