"""Credentials in handshakes, CONNECT and later requests of a session, on a real hub."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import orjson
import pytest

from tests.conformance.http_client import SECONDS, Answer, Server
from tests.conformance.polling_client import Polling
from tests.conformance.websocket_client import Refused, WebSocket
from tests.conftest import until
from tests.support.access import REQUIRED, UNKNOWN_KEY, Keys, id_of, jwt_of, read_by
from tests.support.processes import Web

ENGINE = "/socket.io/"
OPENING = f"{ENGINE}?EIO=4&transport=polling"
CHALLENGE = 'Bearer realm="tickwire"'
MESSAGE = "A valid credential is needed."


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return REQUIRED


@pytest.fixture
def key(keys: Keys, server: Server) -> str:
    """A key that the hub has read."""
    return read_by(server, keys.add(["read"]))


def handshake(server: Server, transport: str, headers: dict[str, str], query: str = "") -> Answer:
    """Send a handshake; return the answer to it, 101 for an open WebSocket."""
    if transport == "polling":
        return server.request("GET", OPENING + query, headers=headers)
    try:
        with WebSocket(server, ENGINE, query=f"EIO=4&transport=websocket{query}", headers=headers):
            return Answer(101, {}, b"")
    except Refused as refused:
        return refused.answer


def joined(answer: Any) -> bool:
    """Return True for the answer to a CONNECT that was accepted."""
    return str(answer).startswith("40{")


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": UNKNOWN_KEY},
        {"X-API-Key": "short"},
        {"Authorization": f"Bearer {UNKNOWN_KEY}"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": ""},
        {"X-API-Key": ""},
    ],
    ids=range(7),
)
def test_handshake_with_a_bad_header_is_401(headers: dict[str, str], transport: str, server: Server) -> None:
    answer = handshake(server, transport, headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"')
    error = {"code": "unauthorized", "message": MESSAGE, "details": {}}
    assert json.loads(answer.body) == {"code": 4, "message": MESSAGE, "error": error}
    parsed = handshake(server, transport, {**headers, "X_Odd": "a name that the check before the parser leaves to the application"})
    assert (parsed.status, parsed.body) == (answer.status, answer.body)
    assert {**parsed.headers, "date": ""} == {**answer.headers, "date": ""}


def test_guesses_on_one_connection_are_answered_in_order(server: Server, key: str) -> None:
    def request(credential: str, target: str = OPENING, more: str = "") -> bytes:
        return f"GET {target} HTTP/1.1\r\nHost: {server.host}\r\n{credential}{more}\r\n".encode()

    bad, good = f"X-API-Key: {UNKNOWN_KEY}\r\n", f"X-API-Key: {key}\r\n"
    sent = [request(bad), request(good), request(bad), request("", "/hub/health"), request(""), request(bad, more="Connection: close\r\n")]
    with socket.create_connection((server.host, server.port), timeout=SECONDS) as sock:
        sock.sendall(b"".join(sent))
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    # A session without a credential may open; its CONNECT is refused.
    assert re.findall(rb"HTTP/1\.1 (\d+) ", answers) == [b"401", b"200", b"401", b"200", b"200", b"401"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_handshake_with_two_credentials_is_400(transport: str, server: Server, key: str) -> None:
    answer = handshake(server, transport, {"X-API-Key": key, "Authorization": f"Bearer {jwt_of()}"})
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "invalid_payload")
    assert handshake(server, transport, {"X-API-Key": key, "Authorization": f"Bearer {key}"}).status in (200, 101)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("name", ["api_key", "token", "access_token"])
def test_credential_in_the_url_is_400(name: str, transport: str, server: Server, key: str) -> None:
    answer = handshake(server, transport, {}, f"&{name}={key}")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "invalid_payload")
    assert key.encode() not in answer.body
    ours = server.request("GET", f"/hub/health?{name}={key}")
    assert (ours.status, json.loads(ours.body)["error"]["details"]) == (400, {name: ["Not in the URL: use a header."]})


def test_credential_of_the_handshake_holds_for_connect(server: Server, key: str) -> None:
    for headers in ({"X-API-Key": key}, {"Authorization": f"bearer {key}"}, {"Authorization": f"Bearer {jwt_of()}"}):
        polling = Polling(server, ENGINE, headers)
        polling.post("40")
        assert joined(polling.collect(2)[0])
        with WebSocket(server, ENGINE, headers=headers) as socket:
            socket.send("40")
            assert joined(socket.packet())


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_auth_of_connect_must_be_the_credential_of_the_handshake(transport: str, server: Server, keys: Keys, key: str) -> None:
    other = read_by(server, keys.add(["read"]))
    cases = [("api_key", key, ""), ("token", key, ""), ("api_key", other, "invalid_payload"), ("api_key", "x", "unauthorized")]
    for name, credential, code in cases:
        answer = connected(server, transport, {"X-API-Key": key}, {name: credential})
        assert joined(answer) is (not code)
        if code:
            assert json.loads(answer[2:])["data"]["code"] == code


def connected(server: Server, transport: str, headers: dict[str, str], auth: dict[str, Any]) -> str:
    """Return the answer to a CONNECT."""
    packet = "40" + orjson.dumps(auth).decode()
    if transport == "polling":
        polling = Polling(server, ENGINE, headers)
        polling.post(packet)
        return polling.collect(1)[0]
    with WebSocket(server, ENGINE, headers=headers) as socket:
        socket.send(packet)
        return str(socket.packet())


def test_later_request_with_another_credential_is_401(server: Server, keys: Keys, key: str) -> None:
    other = read_by(server, keys.add(["read"]))
    by_header, by_auth = Polling(server, ENGINE, {"X-API-Key": key}), Polling(server, ENGINE)
    for polling in (by_header, by_auth):
        polling.post("40" if polling is by_header else f'40{{"api_key":"{key}"}}')
        assert joined(polling.collect(2)[0])
        for headers in ({"X-API-Key": other}, {"X-API-Key": UNKNOWN_KEY}, {"Authorization": "Bearer a.b.c"}):
            refused = server.request("GET", polling.target, headers=headers)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"')
            assert polling.post('42["ping"]', headers).status == 401
            with pytest.raises(Refused) as refusal:
                WebSocket(server, ENGINE, sid=polling.sid, opened=False, headers=headers)
            assert refusal.value.answer.status == 401
        assert polling.post('42["ping"]', {"Authorization": f"Bearer {key}"}).body == b"ok"
        assert polling.collect(1)[0].startswith('42["pong"')
        with WebSocket(server, ENGINE, sid=polling.sid, opened=False, headers={"X-API-Key": key}) as second:
            second.send("2probe")
            assert second.receive() == "3probe"


def test_session_without_a_credential_accepts_none_later(server: Server, key: str) -> None:
    polling = Polling(server, ENGINE)
    assert server.request("GET", polling.target, headers={"X-API-Key": key}).status == 401


def test_revoked_key_of_a_handshake_cannot_connect(server: Server, keys: Keys) -> None:
    key = read_by(server, keys.add(["read"]))
    polling = Polling(server, ENGINE, {"X-API-Key": key})
    keys.revoke(key)
    until(lambda: server.request("GET", "/hub/health", headers={"X-API-Key": key}).status == 401)
    polling.post("40")
    assert json.loads(polling.collect(1)[0][2:])["message"] == "unauthorized"


def test_greeting_describes_the_credential(server: Server, keys: Keys) -> None:
    key = read_by(server, keys.add(["observe", "read"], ["EUR_USD"]))
    for auth, key_id, scopes in (
        ({"api_key": key}, id_of(key), ["read", "observe"]),
        ({"token": jwt_of(["read"], ["EUR_USD"])}, None, ["read"]),
    ):
        with WebSocket(server, ENGINE) as socket:
            socket.send("40" + orjson.dumps(auth).decode())
            greeting = json.loads(str(socket.packets(2)[1])[2:])[1]
        assert (greeting["key_id"], greeting["scopes"], greeting["available_pairs"]) == (key_id, scopes, ["EUR_USD"])
        assert (greeting["expires_at"] is None) is (key_id is not None)


def test_health_has_details_for_callers_that_observe(server: Server, keys: Keys, key: str) -> None:
    observer = read_by(server, keys.add(["observe"]))
    assert json.loads(server.request("GET", "/hub/health").body) == {"status": "healthy", "redis_connected": True}
    assert set(json.loads(server.request("GET", "/hub/health", headers={"X-API-Key": key}).body)) == {"status", "redis_connected"}
    body = json.loads(server.request("GET", "/hub/health", headers={"Authorization": f"Bearer {observer}"}).body)
    assert set(body) == {"status", "redis_connected", "access", "sessions", "fanout_loop"}
    assert body["access"] == "current"
    bad = server.request("GET", "/hub/health", headers={"X-API-Key": UNKNOWN_KEY})
    assert (bad.status, bad.headers["www-authenticate"]) == (401, f'{CHALLENGE}, error="invalid_token"')
    assert json.loads(bad.body)["error"]["code"] == "unauthorized"


def test_credential_is_in_no_line_of_the_log(shared_hub: Web, server: Server, key: str) -> None:
    token = jwt_of(sub="eve", jti="in-no-log")
    for auth in ({"api_key": key}, {"token": token}, {"token": token[:-4] + "AAAA"}):
        connected(server, "websocket", {}, auth)
        handshake(server, "polling", {}, f"&token={token}")
    assert key not in shared_hub.output()
    assert token[:-4] not in shared_hub.output()
