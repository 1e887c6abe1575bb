"""Raw requests to both ports: one error shape for each status, and the check of the host."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator

import pytest

from config.gunicorn.request_reader import MAX_BODY_BYTES
from config.settings import Settings
from tests.support.hasty_rest import HastyRest
from tests.support.processes import Web
from tests.support.raw_http import Answer, RawConnection, exchange, request

PORTS = ("hub", "rest")
POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
LONG = "x" * 9000
OPEN = {"AUTH": "off", "AUTH_ALLOW_OPEN": "true"}  # both listen on addresses outside of this machine
# status -> code and a request, for both ports
BOTH: dict[str, tuple[int, str, bytes]] = {
    "request-line": (400, "bad_request", b"NONSENSE\r\n\r\n"),
    "version": (400, "bad_request", b"GET / HTTP/x.y\r\n\r\n"),
    "length": (400, "bad_request", request("/", "Content-Length: -1")),
    "length-and-chunked": (400, "bad_request", request("/", "Content-Length: 1", "Transfer-Encoding: chunked")),
    "path": (404, "not_found", request("/nowhere")),
    "target": (414, "request_uri_too_long", request("/" + LONG)),
    "field": (431, "request_header_fields_too_large", request("/", "X-Long: " + LONG)),
    "fields": (431, "request_header_fields_too_large", request("/", *["X-Long: " + LONG[:8000]] * 20)),
    "host": (403, "forbidden", request("/", host="evil.example:80")),
    "origin": (403, "forbidden", request("/", "Origin: null")),
}
HUB = {"method": (405, "method_not_allowed", request("/hub/health", method="POST"))}
REST = {
    "method": (405, "method_not_allowed", request("/symbols", method="DELETE")),
    "time": (408, "request_timeout", b"GET / HTTP/1.1\r\n"),
    "body": (413, "request_entity_too_large", request("/symbols", f"Content-Length: {MAX_BODY_BYTES + 1}")),
    "expectation": (417, "expectation_failed", request("/", "Expect: nothing")),
    "coding": (501, "not_implemented", request("/", "Transfer-Encoding: nonsense")),
    "arguments": (422, "invalid_payload", request("/ticks?symbol=EUR_USD&limit=0")),
    "symbol": (404, "no_price", request("/price/latest?symbol=EUR_USD")),
}
CASES = [
    *[(port, name, *case) for port in PORTS for name, case in BOTH.items()],
    *[("hub", name, *case) for name, case in HUB.items()],
    *[("rest", name, *case) for name, case in REST.items()],
]


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {**OPEN, "WEBSOCKET_HOST": "0.0.0.0", "ALLOWED_HOSTS": "hub.example"}  # noqa: S104


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    variables = {**OPEN, "API_HOST": "0.0.0.0", "ALLOWED_HOSTS": "hub.example"}  # noqa: S104
    with HastyRest(shared_settings, tmp_path_factory.mktemp("rest") / "rest.log", **variables) as process:
        yield process
        assert "Traceback" not in process.output()


@pytest.fixture(scope="module")
def ports(rest: Web, shared_hub: Web) -> dict[str, int]:
    return {"hub": shared_hub.port, "rest": rest.port}


@pytest.mark.parametrize(("port", "name", "status", "code", "data"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_error_has_the_one_shape(
    ports: dict[str, int], port: str, name: str, status: int, code: str, data: bytes, shared_bus: object
) -> None:
    answer = exchange(ports[port], data)
    assert (answer.status, answer.code) == (status, code)
    assert "server" not in answer.headers


@pytest.mark.parametrize("port", PORTS)
def test_no_answer_names_a_product(ports: dict[str, int], port: str) -> None:
    for path in ("/hub/health", "/health/live", POLLING, "/docs"):
        answer = exchange(ports[port], request(path))
        assert "server" not in answer.headers
        assert b"gunicorn" not in answer.body


def test_errors_of_engine_io_keep_their_shape(ports: dict[str, int]) -> None:
    for data in (request("/socket.io/?EIO=4"), request(POLLING, host="evil.example"), request(POLLING, "Origin: http://evil.example")):
        answer = exchange(ports["hub"], data)
        assert answer.headers["content-type"] == "application/json"
        assert answer.body.startswith(b'{"code":')
        assert b'"message":' in answer.body


# host -> True if it is accepted, for connections to 127.0.0.1 and to 127.0.0.2
HOSTS = {
    "localhost": (True, True),
    "127.0.0.1": (True, True),
    "127.0.0.2": (False, True),
    "127.0.0.3": (False, False),
    "[::1]": (True, True),
    "HUB.example.": (True, True),
    "evil.example": (False, False),
    "hub.example.evil.example": (False, False),
    "": (False, False),
}


def ask(port: int, transport: str, address: str, *, host: str | None, version: str = "1.1") -> Answer:
    """Open a session of that transport, or ask REST; return the head of the answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    data = {
        "polling": request(POLLING, host=host),
        "websocket": request(WEBSOCKET, *upgrade, host=host),
        "rest": request("/symbols", host=host),
    }[transport]
    with RawConnection(port, data.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1), host=address) as connection:
        return connection.answer(head_only=True)


@pytest.mark.parametrize("transport", ["polling", "websocket", "rest"])
@pytest.mark.parametrize("host", HOSTS)
def test_host_is_checked_before_a_session_exists(ports: dict[str, int], host: str, transport: str) -> None:
    port = ports["rest" if transport == "rest" else "hub"]
    for address, allowed in zip(("127.0.0.1", "127.0.0.2"), HOSTS[host], strict=True):
        answer = ask(port, transport, address, host=f"{host}:{port}")
        assert answer.status == ((101 if transport == "websocket" else 200) if allowed else 403)


def test_request_without_a_host_is_refused_except_on_the_routes_of_load_balancers(ports: dict[str, int]) -> None:
    for transport, port in (("polling", "hub"), ("rest", "rest")):
        assert ask(ports[port], transport, "127.0.0.1", host=None, version="1.0").status == 403
        assert ask(ports[port], transport, "127.0.0.1", host=None).status == 403
    for port, path in (("hub", "/hub/health"), ("rest", "/health/live"), ("rest", "/health/ready")):
        for head in (f"GET {path} HTTP/1.0\r\n\r\n", f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"):
            assert exchange(ports[port], head.encode()).status == 200


def test_ipv6_address_of_the_connection_is_accepted(shared_settings: Settings, rest: Web) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with HastyRest(shared_settings, rest.log.with_name("six.log"), **OPEN, API_HOST="::") as six:
        assert exchange(six.port, request("/symbols", host=f"[0:0:0:0:0:0:0:1]:{six.port}"), host="::1").status == 200
        assert exchange(six.port, request("/symbols", host="[::2]"), host="::1").status == 403
        assert exchange(six.port, request("/symbols", host="127.0.0.9"), host="127.0.0.9").status == 200
