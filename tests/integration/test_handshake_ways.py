"""A WebSocket handshake has the same result on each way through the hub.

The ways are: the callback that reads a new connection, the HTTP server on a connection that it
serves already, the application behind its parser, and a request in two parts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conformance.http_client import SECONDS, Server
from tests.conformance.websocket_client import CLOSE, TEXT, frame
from tests.support.access import UNKNOWN_KEY
from tests.support.examples import with_shared_fixtures
from tests.support.processes import Web

KEY, PROOF = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the example of RFC 6455
NEXT = b"GET /hub/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
ODD = b"X_Odd: 1"  # a name that only the parser of the HTTP server reads
CONNECT = frame(TEXT, b"40")

QUERY = "EIO=4&transport=websocket"
PLAIN = {
    "Host": "localhost",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


class Result(NamedTuple):
    """The answer, and the status of the next request on its connection; None if it has ended.

    Of a WebSocket, `body` begins with the type of its first packet, and `then` is 101 after its
    CONNECT was answered.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    then: int | None


class Connection:
    """A connection to the hub, and its bytes."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.create_connection((server.host, server.port), timeout=SECONDS)
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # the hub has ended the connection: the reading finds it
            self.sock.sendall(data)

    def until(self, found: Callable[[bytes], bool]) -> bytes:
        """Return the buffer when it satisfies the condition, or at the end of the connection."""
        while not found(self._buffer):
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                break
            self._buffer += data
        return self._buffer

    def answer(self) -> tuple[int, dict[str, str], bytes] | None:
        """Return status, headers and body of an answer; None at the end of the connection."""
        if b"\r\n\r\n" not in self.until(lambda data: b"\r\n\r\n" in data):
            return None
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        size = int(headers.get("content-length", "0"))
        self.until(lambda data: len(data) >= size)
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(line.split()[1]), {**headers, "date": ""}, body

    def result(self) -> Result:
        """Read the answer to a handshake, and try the connection once more."""
        if (answer := self.answer()) is None:
            return Result(0, {}, b"", None)
        status, headers, body = answer
        if status == 101:
            packet = self.until(lambda data: b"maxPayload" in data)
            self.send(CONNECT)
            connected = b"40{" in self.until(lambda data: b"40{" in data)
            return Result(status, headers, packet[2:3], 101 if connected else None)
        self.send(NEXT)
        following = self.answer()
        return Result(status, headers, body, following[0] if following else None)


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {"CORS_ORIGINS": "https://app.example", "RATE_CONNECTIONS_PER_IP": "1000"}


def request(
    fields: dict[str, str], query: str = QUERY, *, method: str = "GET", path: str = "/socket.io/", version: str = "HTTP/1.1"
) -> bytes:
    lines = [f"{method} {path}?{query} {version}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def at_once(server: Server, data: bytes) -> Result:
    with Connection(server) as connection:
        connection.send(data)
        return connection.result()


def later(server: Server, data: bytes) -> Result:
    """Send the request on a connection that the HTTP server serves already."""
    with Connection(server) as connection:
        connection.send(NEXT)
        assert connection.answer() is not None
        connection.send(data)
        return connection.result()


def with_odd_header(data: bytes) -> bytes:
    line, rest = data.split(b"\n", 1)
    return line + b"\n" + ODD + b"\r\n" + rest


def parsed(server: Server, data: bytes) -> Result:
    """Send the request with a header that leaves it to the application."""
    return at_once(server, with_odd_header(data))


@pytest.fixture(scope="module")
def turn(shared_hub: Web) -> Iterator[Callable[[], None]]:
    """Wait until the loop of the hub has read what was sent before."""
    with Connection(Server("127.0.0.1", shared_hub.port)) as connection:

        def wait() -> None:
            connection.send(NEXT)
            answer = connection.answer()
            assert answer is not None
            assert answer[0] == 200

        yield wait


def apart(server: Server, data: bytes, at: int, turn: Callable[[], None]) -> Result:
    with Connection(server) as connection:
        turn()  # the hub has accepted the connection
        connection.send(data[:at])
        turn()
        connection.send(data[at:])
        return connection.result()


CASES = {
    "usual": (request(PLAIN), 101, 101),
    "of a browser": (request({**PLAIN, "Connection": "keep-alive, Upgrade", "Origin": "http://localhost:3000", "Pragma": "x"}), 101, 101),
    "page of an allowed origin": (request({**PLAIN, "Origin": "https://app.example"}), 101, 101),
    "foreign origin": (request({**PLAIN, "Origin": "https://evil.example"}), 403, 200),
    "foreign host": (request({**PLAIN, "Host": "evil.example"}), 403, 200),
    "without a host": (request({name: value for name, value in PLAIN.items() if name != "Host"}), 403, 200),
    "foreign host and unknown key": (request({**PLAIN, "Host": "evil.example", "X-API-Key": UNKNOWN_KEY}), 403, 200),
    "credential in the URL": (request(PLAIN, f"{QUERY}&token=x"), 400, 200),
    "credential in the URL, of a page": (request({**PLAIN, "Origin": "https://app.example"}, f"{QUERY}&api_key=x"), 400, 200),
    "old version": (request(PLAIN, "EIO=3&transport=websocket"), 400, 200),
    "without a version": (request(PLAIN, "transport=websocket"), 400, 200),
    "old version and unknown key": (request({**PLAIN, "X-API-Key": UNKNOWN_KEY}, "EIO=3&transport=websocket"), 400, 200),
    "unknown session": (request(PLAIN, f"{QUERY}&sid=x"), 400, 200),
    "another transport": (request(PLAIN, "EIO=4&transport=webtransport"), 400, 200),
    "bad key of the handshake": (request({**PLAIN, "Sec-WebSocket-Key": "short"}), 400, 200),
    "bad version of the handshake": (request({**PLAIN, "Sec-WebSocket-Version": "8"}), 400, 200),
    "without an upgrade": (request({**PLAIN, "Upgrade": "h2c"}), 400, 200),
    "closing": (request({**PLAIN, "Connection": "close"}), 400, None),
    "unknown key": (request({**PLAIN, "X-API-Key": UNKNOWN_KEY}), 401, 200),
    "unknown key of a page": (request({**PLAIN, "Authorization": f"Bearer {UNKNOWN_KEY}", "Origin": "https://app.example"}), 401, 200),
    "two keys": (request({**PLAIN, "X-API-Key": UNKNOWN_KEY, "Authorization": "Bearer x"}), 400, 200),
    "another method": (request(PLAIN, method="POST"), 400, 200),
    "another path": (request(PLAIN, path="/socket.io"), 404, 200),
    "HTTP/1.0": (request(PLAIN, version="HTTP/1.0"), 101, 101),
    "long value": (request({**PLAIN, "Cookie": "x" * 7000}), 101, 101),
    "above one read": (request({**PLAIN, "Cookie": "x" * 5000, "Referer": "y" * 5000}), 101, 101),
    "value too long": (request({**PLAIN, "Cookie": "x" * 9000}), 431, None),
    "too many fields": (request({**PLAIN, **{f"A{number}": "x" for number in range(110)}}), 431, None),
    "ends of lines without CR": (request(PLAIN).replace(b"\r\n", b"\n"), 101, 101),
    "no HTTP": (b"\x16\x03\x01\x02\r\n\r\n", 400, None),
}


@pytest.mark.parametrize("case", CASES)
def test_result_is_the_same_on_each_way(case: str, server: Server, turn: Callable[[], None]) -> None:
    data, status, then = CASES[case]
    result = at_once(server, data)
    assert (result.status, result.then) == (status, then)
    ways = [later(server, data), apart(server, data, 20, turn), apart(server, data, len(data) - 3, turn)]
    if case not in ("no HTTP", "too many fields"):
        ways.append(parsed(server, data))
    for way in ways:
        assert way == result


@pytest.mark.parametrize(("case", "step"), [("usual", 1), ("unknown key of a page", 5)])
def test_result_is_the_same_if_the_request_is_split_at_any_byte(case: str, step: int, server: Server, turn: Callable[[], None]) -> None:
    data = CASES[case][0]
    result = at_once(server, data)
    assert all(apart(server, data, at, turn) == result for at in range(1, len(data), step))


NAMES = st.sampled_from([*PLAIN, "Origin", "X-API-Key", "Authorization", "X-Forwarded-For", "Content-Length", "X y"])
VALUES = st.sampled_from(
    [
        *PLAIN.values(),
        "keep-alive, upgrade",
        "WebSocket",
        "close",
        "https://app.example",
        "null",
        "",
        " a ",
        "a,b",
        UNKNOWN_KEY,
        "Bearer a.b.c",
        "0",
        "\xe9",
        "a\x01b",
    ]
)
QUERIES = st.lists(
    st.sampled_from(
        ["EIO=4", "EIO=3", "EIO=", "transport=websocket", "transport=polling", "sid=x", "t=a-_.", "access_token=x", "EI%4f=4", "=", "x"]
    ),
    max_size=4,
).map("&".join)


@given(st.dictionaries(NAMES, VALUES, max_size=2), st.sets(NAMES, max_size=1), st.one_of(st.just(QUERY), QUERIES))
@with_shared_fixtures(max_examples=60)
def test_result_of_any_handshake_is_the_same_on_each_way(server: Server, fields: dict[str, str], without: set[str], query: str) -> None:
    merged = {name: value for name, value in {**PLAIN, **fields}.items() if name not in without}
    data = request(merged, query)
    result = at_once(server, data)
    assert later(server, data) == result
    assert parsed(server, data) == result


@pytest.mark.parametrize("way", [at_once, later, parsed])
def test_frames_behind_a_handshake_are_those_of_the_websocket(way: Callable[[Server, bytes], Result], server: Server) -> None:
    data = request(PLAIN) + CONNECT + frame(CLOSE, b"\x03\xe8")
    with Connection(server) as connection:
        if way is later:
            connection.send(NEXT)
            assert connection.answer() is not None
        connection.send(with_odd_header(data) if way is parsed else data)
        answer = connection.answer()
        assert answer is not None
        assert (answer[0], answer[1]["sec-websocket-accept"]) == (101, PROOF)
        received = connection.until(lambda _: False)  # until the hub has closed too
        assert [mark in received for mark in (b"maxPayload", b"40{", b"connection_established", b"\x88\x02\x03\xe8")] == [True] * 4


@pytest.mark.parametrize("way", [at_once, later, parsed])
def test_request_behind_a_refused_handshake_is_answered(way: Callable[[Server, bytes], Result], server: Server) -> None:
    data = request({**PLAIN, "X-API-Key": UNKNOWN_KEY})
    with Connection(server) as connection:
        if way is later:
            connection.send(NEXT)
            assert connection.answer() is not None
        connection.send((with_odd_header(data) if way is parsed else data) + NEXT)
        assert [answer and answer[0] for answer in (connection.answer(), connection.answer())] == [401, 200]
