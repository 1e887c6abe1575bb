"""Seeded malformed requests to REST: request lines, queries, headers, bodies, bytes."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import quote

PATHS = (
    "/", "/health", "/symbols", "/ticks", "/candles", "/market/trades", "/gaps", "/price/latest", "/volatility", "/volatility/latest",
    "/correlation", "/correlation/history", "/alerts", "/sessions", "/jobs", "/openapi.json", "/docs/static/favicon.png", "/nowhere",
)  # fmt: skip
ARGUMENTS = (
    "symbol",
    "symbols",
    "symbol1",
    "symbol2",
    "start",
    "end",
    "limit",
    "order",
    "format",
    "page_token",
    "interval",
    "kind",
    "as_of",
)
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "TRACE", "CONNECT", "get", "G\x00T", "", "GET GET", "X" * 30)
VERSIONS = ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.x", "HTP/1.1", "")
HEADERS = (
    "Content-Length", "Transfer-Encoding", "Expect", "Connection", "Upgrade", "Host", "Origin", "Accept", "Content-Type", "Range", "Cookie",
    "If-Modified-Since", "If-None-Match", "If-Range", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Authorization",
    "SCRIPT_NAME", "Accept-Encoding", "Access-Control-Request-Method", "Forwarded", "Date", "TE", "Trailer", "HTTP2-Settings", "",
)  # fmt: skip
VALUES = (
    "",
    " ",
    "0",
    "-1",
    "1",
    "1_0",
    "99999999999999999999",
    "1e9",
    "NaN",
    "chunked",
    "chunked, chunked",
    "gzip",
    "identity",
    "100-continue",
    "close",
    "keep-alive",
    "websocket",
    "h2c",
    "null",
    "*",
    "*/*",
    "text/html;q=x",
    "application/json",
    "bytes=0-1,5-",
    "bytes=-",
    "é",
    "\x00",
    "\x7f",
    "\t",
    "%",
    "%00",
    "%ff",
    "%zz",
    "../..",
    "..%2f..",
    "'",
    '"',
    "';--",
    "{",
    "[]",
    "2025-01-01",
    "0001-01-01",
    "9999-12-31T23:59:60Z",
    "2025-13-45",
    "EUR_USD",
    "EUR_USD,",
    "https",
    "http://[",
    "x" * 300,
    "A" * 9000,
    "💥",
    "\u202e",
    "a\rb",
    "a\nb",
    "WyJ0aWNrcyJd",
    "e30=",
    "W10gICAgICAgIA",
    "basic Og==",
    "Bearer ",
    "Thu, 99 Foo 0000",
    'W/"',
    "unix:/x",
    "[::1",
    "127.0.0.1:99999",
)
BODIES = (
    b"",
    b"x",
    b"{",
    b"[" * 500,
    b'{"a":"\\ud800"}',
    b"\xff\xfe",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"zz\r\n",
    b"5\r\nhel",
    b"\r\n\r\n",
)


def requests(seed: int, count: int) -> Iterator[bytes]:
    """Yield requests; each is malformed or odd in one to four places."""
    choose = random.Random(seed)
    for _ in range(count):
        yield choose.choice((_structured, _structured, _structured, _structured, _mutated, _random))(choose)


def _structured(choose: random.Random) -> bytes:
    """A request of parts, of which some are odd."""

    def value() -> str:
        return choose.choice(VALUES)

    query = "&".join(f"{choose.choice(ARGUMENTS)}={_written(choose, value())}" for _ in range(choose.randrange(4)))
    target = choose.choice(PATHS) + (f"?{query}" if query else "")
    if choose.random() < 0.1:
        target = choose.choice(
            ("", "*", "http://evil.example/", "//x", "/%", "/\xff", "/a b", "/" + value(), "/?" + value(), "?", "#", "/\x00")
        )
    method = choose.choice(METHODS) if choose.random() < 0.15 else "GET"
    version = choose.choice(VERSIONS) if choose.random() < 0.1 else "HTTP/1.1"
    lines = [f"{method} {target} {version}"]
    if choose.random() < 0.97:
        lines.append(f"Host: {'127.0.0.1' if choose.random() < 0.95 else value()}")
    for _ in range(choose.randrange(3)):
        lines.append(f"{choose.choice(HEADERS)}{': ' if choose.random() < 0.95 else choose.choice((':', ' : ', ''))}{value()}")
    ending = "\r\n" if choose.random() < 0.97 else choose.choice(("\n", "\r", "\r\n\r\n", "\r\n "))
    head = ending.join([*lines, "", ""])
    return head.encode("utf-8" if choose.random() < 0.5 else "latin-1", "replace") + (
        choose.choice(BODIES) if choose.random() < 0.3 else b""
    )


def _written(choose: random.Random, value: str) -> str:
    """Write a value in a query: quoted, or as it is."""
    return quote(value) if choose.random() < 0.8 else value


_VALID = b"GET /ticks?symbol=EUR_USD&limit=5 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nContent-Length: 5\r\n\r\nhello"


def _mutated(choose: random.Random) -> bytes:
    """A valid request with some bytes changed, removed, repeated or inserted."""
    data = bytearray(_VALID)
    for _ in range(choose.randrange(1, 5)):
        place = choose.randrange(len(data))
        changes = (bytes([choose.randrange(256)]), b"", bytes(data[place : place + 9]) * 2, b"\r\n")
        data[place : place + choose.randrange(3)] = choose.choice(changes)
    return bytes(data)


def _random(choose: random.Random) -> bytes:
    return choose.randbytes(choose.randrange(1, 200)) + choose.choice((b"", b"\r\n\r\n"))


_statuses = re.compile(rb"(?:\A|\r\n\r\n[^\r]*?)HTTP/1\.[01] (\d{3}) ").findall


def bad_answers(port: int, each: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Send each request on a connection of its own; return those with an answer of 500."""
    bad = []
    for data in each:
        answer = _answer(port, data)
        if any(status in (b"500", b"502") for status in _statuses(answer)):
            bad.append((data, answer[:300]))
    return bad


def _answer(port: int, data: bytes) -> bytes:
    """Return all bytes of the answers; the connection is half closed after the request."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            answer += piece
    return bytes(answer)
