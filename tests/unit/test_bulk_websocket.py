"""The bulk protocol equals the library for any bytes of a server, cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Close, CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import parse_uri
from websockets.utils import accept_key

from jobs.feeds.binance.bulk_websocket import BulkProtocol

LONGEST = 1000
URI = parse_uri("ws://127.0.0.1/stream")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = (
    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(KEY)}\r\n\r\n"
).encode()
REFUSED = b'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 26\r\n\r\n{"code":-1,\n\n"msg":"away"}\n'


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=mask)


def in_eight_bytes(data: bytes) -> bytes:
    """Return a text frame with its length in eight bytes, also if it is short."""
    return b"\x81\x7f" + len(data).to_bytes(8) + data


_data = st.sampled_from([*range(6), 125, 126, 127, 160, 300, 500, LONGEST, LONGEST + 1, 65_535, 65_536]).flatmap(
    lambda size: st.sampled_from([b"abc\n", b"{}", b"\x81\x7e\x00\x02"]).map(lambda pattern: (pattern * size)[:size])
)
_text = _data.map(lambda data: frame(Opcode.TEXT, data))
_fragmented = st.lists(_data, min_size=2, max_size=4).map(
    lambda parts: b"".join(
        frame(Opcode.CONT if number else Opcode.TEXT, data, fin=number == len(parts) - 1) + frame(Opcode.PING, b"between")
        for number, data in enumerate(parts)
    )
)
_control = st.sampled_from(
    [
        frame(Opcode.PING, b""),
        frame(Opcode.PING, b"are you there?"),
        frame(Opcode.PONG, b"1234"),
        frame(Opcode.CLOSE, Close(CloseCode.GOING_AWAY, "24 hours").serialize()),
        frame(Opcode.CLOSE, b""),
    ]
)
_odd = st.sampled_from(
    [
        frame(Opcode.BINARY, b"\x00\n\x00"),
        frame(Opcode.TEXT, b"unfinished", fin=False),
        frame(Opcode.CONT, b"unexpected"),
        frame(Opcode.TEXT, b"masked", mask=True),
        b"\xc1\x02{}",  # a reserved bit
        b"\x83\x00",  # a reserved opcode
        b"\x89\x7e\x00\x80" + b"p" * 128,  # a ping that is too long
        b"\x81\x7f" + b"\xff" * 8,
        b"HTTP/1.1 200 OK\r\n\r\n",
    ]
)
_some = _text | _text | _fragmented | _control | _data.map(in_eight_bytes)
_stream = st.lists(_some | _odd, max_size=12).map(b"".join) | st.lists(_some, max_size=12).map(b"".join)


class Received:
    """The results of a client's protocol that received these parts."""

    def __init__(self, kind: type[ClientProtocol], parts: Sequence[bytes]) -> None:
        self.protocol = kind(URI, max_size=LONGEST)
        self.protocol.key = KEY
        self.protocol.send_request(self.protocol.connect())
        self.protocol.data_to_send()
        self.messages: list[bytes] = []
        self.others: list[Any] = []
        self.sent: list[tuple[int, bytes]] = []
        self.receptions = 0
        self._fragments: list[bytes] = []
        for part in parts:
            self.protocol.receive_data(part)
            self._look()
        self.open_at_the_end = self.protocol.state is OPEN
        self.protocol.receive_eof()
        self._look()

    def _look(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                self._fragments.append(bytes(event.data))
                if event.fin:
                    self.receptions += 1
                    self.messages += self._said(b"".join(self._fragments))
                    self._fragments.clear()
            else:
                self.others.append(event)
        self.sent += [unmasked(data) for data in self.protocol.data_to_send() if data]

    def _said(self, data: bytes) -> list[bytes]:
        return data.split(b"\n") if isinstance(self.protocol, BulkProtocol) else [data.replace(b"\n", b" ")]

    def outcome(self) -> dict[str, Any]:
        """Return everything that both protocols must have in common."""
        protocol = self.protocol
        others = [
            (event.opcode, bytes(event.data)) if isinstance(event, Frame) else (event.status_code, event.body) for event in self.others
        ]
        return {
            "messages": self.messages,
            "others": others,
            "sent": self.sent,
            "open": self.open_at_the_end,
            "handshake": repr(protocol.handshake_exc),
            "state": protocol.state,
            "fault": repr(protocol.parser_exc),
            "end": repr(protocol.close_exc),
        }


def unmasked(data: bytes) -> tuple[int, bytes]:
    mask, body = data[2:6], data[6:]
    return data[0], bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


_half = st.sampled_from([b"", b"\x81", b"\x81\x7e\x00", b"\x81\x7e\x01\x00{", b"\x01\x05ab"])  # at the very end


@settings(max_examples=200)
@given(_stream, st.lists(st.integers(0, 2**32), max_size=8), _half)
def test_bulk_protocol_equals_the_library(stream: bytes, places: list[int], half: bytes) -> None:
    parts = cut(ACCEPTED + stream + half, places)
    assert Received(BulkProtocol, parts).outcome() == Received(ClientProtocol, parts).outcome()


@given(st.lists(st.integers(0, 2**32), max_size=20))
def test_refused_handshake_is_read_whole_at_any_cut(places: list[int]) -> None:
    received = Received(BulkProtocol, cut(REFUSED, places))
    assert received.outcome() == Received(ClientProtocol, [REFUSED]).outcome()
    (response,) = received.others
    assert isinstance(response, Response)
    assert (response.status_code, response.body) == (503, b'{"code":-1,\n\n"msg":"away"}\n'[:26])


def test_bulk_protocol_equals_the_library_byte_by_byte() -> None:
    texts = [b"", b"{}", b"x" * 126, b"y" * 300]
    stream = ACCEPTED + b"".join(frame(Opcode.TEXT, text) + frame(Opcode.PING, b"?") for text in texts)
    received = Received(BulkProtocol, [stream[at : at + 1] for at in range(len(stream))])
    assert received.messages == texts
    assert len([sent for sent in received.sent if sent == (0x8A, b"?")]) == len(texts)


def test_messages_read_together_are_received_together() -> None:
    texts = [b'{"number":%d}' % number * 20 for number in range(1000)]
    received = Received(BulkProtocol, [ACCEPTED + b"".join(frame(Opcode.TEXT, text) for text in texts)])
    assert received.messages == texts
    assert received.receptions == 1


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 10])
def test_too_long_message_closes_the_connection_at_its_head(size: int) -> None:
    head = frame(Opcode.TEXT, b"x" * size)[:4]
    received = Received(BulkProtocol, [ACCEPTED, frame(Opcode.TEXT, b"{}") + head])
    assert received.messages == [b"{}"]
    assert received.open_at_the_end is (size == LONGEST)
    assert bool(received.sent) is (size > LONGEST)
