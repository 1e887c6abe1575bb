"""WebSocket frames: the checks that RFC 6455 requires of a server."""

from __future__ import annotations

import pytest

from tests.conformance.http_client import Server
from tests.conformance.websocket_client import BINARY, CLOSE, PING, PONG, TEXT, WebSocket, frame

CONTINUATION = 0


def test_fragments_become_one_message(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(TEXT, b"4he", fin=False) + frame(CONTINUATION, b"l", fin=False) + frame(CONTINUATION, b"lo"))
        assert socket.packet() == "4hello"
        socket.send_bytes(frame(BINARY, b"\x01", fin=False) + frame(CONTINUATION, b"\x02"))
        assert socket.packet() == b"\x01\x02"


def test_character_may_be_split_between_fragments(server: Server) -> None:
    euro = "€".encode()
    with WebSocket(server) as socket:
        socket.send_bytes(frame(TEXT, b"4" + euro[:1], fin=False) + frame(CONTINUATION, euro[1:]))
        assert socket.packet() == "4€"


def test_ping_is_answered_even_between_fragments(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(TEXT, b"4he", fin=False) + frame(PING, b"there?") + frame(CONTINUATION, b"llo"))
        assert socket.packet() == "4hello"
        assert socket.pongs == [b"there?"]


def test_frame_may_arrive_byte_by_byte(server: Server) -> None:
    with WebSocket(server) as socket:
        for byte in frame(TEXT, b"4hello"):
            socket.send_bytes(bytes([byte]))
        assert socket.packet() == "4hello"


def test_unasked_pong_is_ignored(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(PONG, b"") + frame(TEXT, b"4hello"))
        assert socket.packet() == "4hello"


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"4hello", masked=False),
        frame(TEXT, b"4hello", reserved=4),
        frame(TEXT, b"4hello", reserved=2),
        frame(TEXT, b"4hello", reserved=1),
        frame(3, b"4hello"),
        frame(11, b""),
        frame(CONTINUATION, b"4hello"),
        frame(TEXT, b"4", fin=False) + frame(TEXT, b"4"),
        frame(PING, b"", fin=False),
        frame(PING, b"x" * 126),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, (1005).to_bytes(2)),
        frame(CLOSE, (999).to_bytes(2)),
    ],
    ids=[
        "unmasked",
        "rsv1",
        "rsv2",
        "rsv3",
        "opcode 3",
        "opcode 11",
        "nothing to continue",
        "unfinished",
        "fragmented ping",
        "long ping",
        "half a close code",
        "close code 1005",
        "close code 999",
    ],
)
def test_protocol_error(server: Server, data: bytes) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(data)
        assert socket.closed() == 1002


@pytest.mark.parametrize(
    "data",
    [frame(TEXT, b"4\xff"), frame(TEXT, b"4\xed\xa0\x80"), frame(TEXT, b"4\xe2\x82", fin=False) + frame(CONTINUATION, b"4")],
    ids=["no UTF-8", "a surrogate", "half a character"],
)
def test_text_that_is_no_text(server: Server, data: bytes) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(data)
        assert socket.closed() == 1007


def test_fragments_beyond_max_payload(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(TEXT, b"4" + b"x" * 600_000, fin=False) + frame(CONTINUATION, b"x" * 600_000)[:1000])
        assert socket.closed() == 1009


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_close_is_answered(server: Server, code: int) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(CLOSE, code.to_bytes(2) + b"bye"))
        assert socket.closed() == code


def test_close_without_a_code_is_answered(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.send_bytes(frame(CLOSE, b""))
        assert socket.closed() in (1000, 1005)


def test_connection_ends_after_the_close(server: Server) -> None:
    with WebSocket(server) as socket:
        socket.end()
