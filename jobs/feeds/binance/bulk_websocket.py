"""WebSockets of feeds that send thousands of small messages a second: websockets' threaded client, its messages in bulk.

The library makes each message an object of its own and hands it from its thread to ours through a queue, with checks and locks at each
step; that costs more than all that is done with the message afterwards. Here everything stays the library's (TLS, proxies, handshakes,
pings, closing, limits) but for one thing: whole text messages that came out of the socket together pass through it as one.
`docs/adr/0013-binance-messages-are-parsed-in-bulk.md` has the figures.
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

READ = 1 << 18  # bytes taken out of the socket at once

# The first byte of a frame that is a whole text message; in the second byte, what says that two more hold the length
# (one more than that: eight).
_WHOLE_TEXT, _TWO = 0x81, 126
_LONGEST_HEAD = 10  # bytes of a frame before its message
_START = Struct(">BBH").unpack_from


class BulkProtocol(ClientProtocol):
    """The library's protocol, but an event that is a text message may be several, a line each.

    For JSON, which needs no line breaks: those within a message become spaces. Only whole frames are passed to the library, which never
    waits in the midst of one, so that what follows may always be ours.
    """

    _rest = b""  # the beginning of a frame

    def receive_data(self, data: bytes | bytearray) -> None:
        """As the library's."""
        data = self._rest + data
        at = self._shake_hands(data)
        longest = sys.maxsize if self.max_message_size is None else self.max_message_size
        while self.state is OPEN:
            if self.current_size is None:  # the library is not in the midst of a fragmented message
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
        """Pass on the server's answer, line by line, for its last one may have frames behind it; where it ends."""
        at = 0
        while self.state is CONNECTING and at < len(data):
            after = data.find(b"\n", at) + 1 or len(data)
            super().receive_data(data[at:after])
            at = after
        return at

    def receive_eof(self) -> None:
        """As the library's."""
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
    """The library's threaded connection. `recv(decode=False)` gives one or more messages, a line each.

    `max_queue` counts such receptions, of `READ` bytes at most.
    """

    recv_bufsize = READ

    def __init__(self, sock: socket.socket, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(sock, BulkProtocol(protocol.uri, max_size=protocol.max_message_size, logger=protocol.logger), **options)


def whole_texts(data: bytes | bytearray, at: int, longest: int) -> tuple[list[bytes | bytearray], int]:
    """The messages that begin at `at`, as long as they are all there, text, unfragmented, unmasked and no longer than `longest`; and where
    they end."""
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
    """Where the server's frame at `at` ends, be it there or not; None where not even its length is there."""
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
