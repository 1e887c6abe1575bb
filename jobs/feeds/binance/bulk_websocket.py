"""WebSocket client for feeds of thousands of small messages a second: websockets' threaded client,
messages in bulk.

The library makes an object of each message and passes it between threads through a queue, with
checks and locks at each step. That costs more than all further work on the message. This module
keeps the library's TLS, proxies, handshakes, pings, closing and limits. It changes one thing: whole
text messages that were read together pass as one. The figures are in
`docs/adr/0013-binance-messages-are-parsed-in-bulk.md`.
"""

from __future__ import annotations

import socket
import sys
from struct import Struct
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import CONNECTING, OPEN
from websockets.sync.client import ClientConnection

READ = 1 << 18  # bytes read from the socket at once

# First byte of a frame that is a whole text message. A second byte of 126 means that two more bytes
# hold the length; 127 means eight.
_WHOLE_TEXT, _TWO = 0x81, 126
_LONGEST_HEAD = 10  # bytes of a frame before its message
_START = Struct(">BBH").unpack_from


class BulkProtocol(ClientProtocol):
    """The library's protocol; one text event may hold several messages, a line each.

    It is for JSON, which needs no line breaks: those within a message become spaces. The library
    receives whole frames only and never waits in the middle of one, so that this class may read the
    next frame.
    """

    _rest = b""  # the beginning of a frame

    def receive_data(self, data: bytes | bytearray) -> None:
        """Receive bytes; see the library."""
        data = self._rest + data
        at = self._shake_hands(data)
        longest = sys.maxsize if self.max_message_size is None else self.max_message_size
        while self.state is OPEN:
            if self.current_size is None:  # the library is not within a fragmented message
                messages, at = whole_texts(data, at, longest)
                if messages:
                    self.events.append(Frame(Opcode.TEXT, _lines(messages)))
            end = frame_end(data, at)
            if end is None or len(data) < end <= at + _LONGEST_HEAD + longest:
                break
            self._pass_on(data[at:end])
            at = end
        else:
            if at < len(data):
                super().receive_data(data[at:])
                at = len(data)
        self._rest = bytes(data[at:])

    def _shake_hands(self, data: bytes | bytearray) -> int:
        """Pass on the server's answer line by line, because frames may follow its last line; return
        its end.
        """
        at = 0
        while self.state is CONNECTING and at < len(data):
            after = data.find(b"\n", at) + 1 or len(data)
            super().receive_data(data[at:after])
            at = after
        return at

    def receive_eof(self) -> None:
        """Receive the end of the stream; see the library."""
        if self._rest:
            rest, self._rest = self._rest, b""
            super().receive_data(rest)
        super().receive_eof()

    def _pass_on(self, frame: bytes | bytearray) -> None:
        known = len(self.events)
        super().receive_data(frame)
        for event in self.events[known:]:
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                event.data = _lines([bytes(event.data)])


class BulkConnection(ClientConnection):
    """The library's threaded connection. `recv(decode=False)` returns one or more messages, a line
    each.

    `max_queue` counts such receptions, of at most `READ` bytes.
    """

    recv_bufsize = READ

    def __init__(self, sock: socket.socket, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(sock, BulkProtocol(protocol.uri, max_size=protocol.max_message_size, logger=protocol.logger), **options)


def whole_texts(data: bytes | bytearray, at: int, longest: int) -> tuple[list[bytes | bytearray], int]:
    """The whole messages from `at` on, and their end.

    The messages are complete, text, unfragmented, unmasked and at most `longest` bytes long.
    """
    messages, size, start = [], len(data), _START
    while at + 4 <= size:
        kind, length, extended = start(data, at)
        if kind != _WHOLE_TEXT or length > _TWO:
            break
        body = at + 2
        if length == _TWO:
            body, length = at + 4, extended
        if body + length > size or length > longest:
            break
        at = body + length
        messages.append(data[body:at])
    return messages, at


def frame_end(data: bytes | bytearray, at: int) -> int | None:
    """The end of the server's frame at `at`, received or not; None if its length is incomplete."""
    if at + 2 > len(data):
        return None
    length, body = data[at + 1] & 0x7F, at + 2
    if length >= _TWO:
        body += 2 if length == _TWO else 8
        if body > len(data):
            return None
        length = int.from_bytes(data[at + 2 : body])
    return body + length


def _lines(messages: list[bytes | bytearray]) -> bytes:
    lines = b"\n".join(messages)
    if lines.count(b"\n") >= len(messages):
        lines = b"\n".join([message.replace(b"\n", b" ") for message in messages])
    return lines
