"""REST's reader of requests: pieces of any size, bodies, limits, pipelining."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.config import Config
from hypothesis import given
from hypothesis import strategies as st

from config.gunicorn.http_errors import RefusedRequest
from config.gunicorn.request_reader import MAX_BODY_BYTES, MAX_HEAD_BYTES, RequestReader

PLAIN = b"GET /symbols?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"
WITH_BODY = b"POST /notes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /notes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value\r\nhel\r\n2\r\nlo\r\n0\r\nX-Checksum: 1\r\n\r\n"
)
EMPTY_CHUNKED = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
BODY_WITH_ENDS = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n\r\n\r\n0\r\n\r\n\r\n\x00"
WITHOUT_FIELDS = b"GET / HTTP/1.0\r\n\r\n"
# the requests above, and what a reader of each must return: method, path, body
READ = {
    PLAIN: ("GET", "/symbols", b""),
    WITH_BODY: ("POST", "/notes", b"hello"),
    CHUNKED: ("POST", "/notes", b"hello"),
    EMPTY_CHUNKED: ("GET", "/", b""),
    BODY_WITH_ENDS: ("POST", "/", b"\r\n\r\n0\r\n\r\n\r\n\x00"),
    WITHOUT_FIELDS: ("GET", "/", b""),
}


def reader() -> RequestReader:
    return RequestReader(Config(), ("192.0.2.1", 5))


def read(pieces: list[bytes]) -> list[tuple[str, str, bytes]]:
    """Feed the pieces one by one; return every request."""
    target, found = reader(), []
    for piece in pieces:
        target.feed(piece)
        while request := target.next_request():
            found.append((request.method, request.path, request.body.read()))
    assert not target.started
    return found


def status(data: bytes, target: RequestReader | None = None) -> tuple[int, str] | None:
    """Return status and message of the refusal of the bytes, None if there is none."""
    target = target or reader()
    target.feed(data)
    try:
        target.next_request()
    except RefusedRequest as refused:
        return refused.status, str(refused)
    return None


@pytest.mark.parametrize("data", READ, ids=["plain", "body", "chunked", "empty-chunked", "body-with-ends", "without-fields"])
def test_request_split_at_every_byte_is_read_whole(data: bytes) -> None:
    for split in range(1, len(data)):
        assert read([data[:split], data[split:]]) == [READ[data]]
    assert read([data[index : index + 1] for index in range(len(data))]) == [READ[data]]


@given(st.lists(st.sampled_from(list(READ)), min_size=1, max_size=6), st.data())
def test_pipelined_requests_in_any_pieces_are_read_in_order(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == [READ[each] for each in requests]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"GET / HTTP/2.5\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nExpect: 200-ok\r\n\r\n", 417),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"x" * 9000, 414),
        (b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 5000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 90 + b"B: y" * (MAX_HEAD_BYTES // 4), 431),
        (f"POST / HTTP/1.1\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode(), 413),
    ],
    ids=[
        "nonsense",
        "bare-lf",
        "bare-lf-later",
        "version",
        "lower-case",
        "field-name",
        "two-hosts",
        "negative-length",
        "two-lengths",
        "length-and-chunked",
        "superscript-length",
        "long-length",
        "coding",
        "expectation",
        "long-line",
        "endless-line",
        "many-fields",
        "long-field",
        "endless-field",
        "endless-fields",
        "large-body",
    ],
)
def test_invalid_head_is_refused_at_once(data: bytes, expected: int) -> None:
    refused = status(data)
    assert refused is not None
    assert refused[0] == expected


_CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"zz\r\n", 400),
        (b"-1\r\n", 400),
        (b"\r\n", 400),
        (b"1_0\r\n", 400),
        (b"3\r\nabcXY\r\n", 400),
        (b"0\r\nnonsense\r\n\r\n", 400),
        (b"1;\x00\r\na\r\n0\r\n\r\n", 400),
        (b"x" * 9000, 400),
        (b"ffffffffffffffffffffffff\r\n", 413),
        (f"{MAX_BODY_BYTES + 1:x}\r\n".encode(), 413),
        (b"80000\r\n" + b"x" * 0x80000 + b"\r\n80001\r\n", 413),
        (b"1\r\na\r\n" * (2 * MAX_BODY_BYTES // 6 + 20_000), 413),
        (b"0\r\n" + b"A: 1\r\n" * 20_000, 431),
    ],
    ids=[
        "not-hex",
        "negative",
        "empty",
        "underscore",
        "no-terminator",
        "trailer",
        "extension",
        "endless-line",
        "huge",
        "one-chunk",
        "two-chunks",
        "small-chunks",
        "trailers",
    ],
)
def test_invalid_chunked_body_is_refused_at_once(body: bytes, expected: int) -> None:
    refused = status(_CHUNKED_HEAD + body)
    assert refused is not None
    assert refused[0] == expected


def test_incomplete_request_is_neither_returned_nor_refused() -> None:
    for data in (b"", b"G", PLAIN[:-1], WITH_BODY[:-1], CHUNKED[:-1], _CHUNKED_HEAD + b"5\r\nhel", b"GET / HTTP/1.1\r\nHost: a\r"):
        assert status(data) is None


def test_expectation_is_noted_until_the_body_has_arrived() -> None:
    target = reader()
    head = WITH_BODY.removesuffix(b"hello").replace(b"Host: a", b"Host: a\r\nExpect: 100-continue")
    assert status(head, target) is None
    assert (target.in_body, target.continue_due) == (True, True)
    target.feed(b"hello")
    request: Any = target.next_request()
    assert (request.body.read(), request._expected_100_continue, target.continue_due, target.in_body) == (b"hello", False, False, False)


def test_body_of_the_greatest_length_is_read() -> None:
    target = reader()
    target.feed(f"POST / HTTP/1.1\r\nContent-Length: {MAX_BODY_BYTES}\r\n\r\n".encode())
    for _ in range(16):
        assert target.next_request() is None
        target.feed(b"x" * (MAX_BODY_BYTES // 16))
    request = target.next_request()
    assert request.body.read() == b"x" * MAX_BODY_BYTES
