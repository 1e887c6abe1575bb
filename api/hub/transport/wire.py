"""Engine.IO packets and WebSocket frames (RFC 6455) as bytes. Pure: no socket, no clock.

https://socket.io/docs/v4/engine-io-protocol/ and https://datatracker.ietf.org/doc/html/rfc6455
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from sys import maxsize

_MAX_FRAGMENTS = 1000  # of one message: empty fragments never reach the limit in bytes
_HEADER_BYTES = {126: 4, 127: 10}  # second byte of an unmasked frame -> length of its header, if it is not 2
_WAITING_SNAPSHOT = bytes(160)  # about the memory of a `Snapshot`; the bytes of the message do not exist yet
REPLAY_PART_BYTES = 48 * 1024
SEPARATOR = b"\x1e"  # between the packets of one polling payload

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = b"0", b"1", b"2", b"3", b"4", b"5", b"6"  # types of Engine.IO packets


class Opcode(IntEnum):
    """Kinds of WebSocket frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_OPCODES = {opcode.value: opcode for opcode in Opcode}  # a look-up takes a tenth of `Opcode(number)`


class Frame:
    """One packet for clients, built once and shared by all its receivers.

    `packet` goes into a polling payload, `wire` is the complete WebSocket frame. `key` is the
    conflation key: if a client is slow, the newest frame of a key replaces the older ones. A frame
    without a key is never dropped.

    A frame with a `chain`, the name of its room, is a link: a client can use it only after the link
    before it. All links of a room have one key of their own. If a client is slow, one snapshot
    replaces all of them (`Snapshot`).
    """

    __slots__ = ("chain", "key", "packet", "wire")
    replayed = False  # True if an outbox does not count the frame towards its limit

    def __init__(self, packet: bytes, wire: bytes, key: str | None = None, chain: str | None = None) -> None:
        self.packet = packet
        self.wire = wire
        self.key = key
        self.chain = chain


class Replayed(Frame):
    """A text frame of the past, with the bytes of the frame that was sent then. Never dropped."""

    __slots__ = ()
    replayed = True

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.key = self.chain = None

    @property
    def packet(self) -> bytes:  # type: ignore[override]  # made for a poll only, to save memory
        return self.wire[_HEADER_BYTES.get(self.wire[1], 2) :]

    @property
    def body(self) -> bytes:
        """The body of the event: `BODY` of `42["NAME",BODY]`."""
        packet = self.packet
        return packet[packet.index(b'",') + 2 : -1]


class Replay:
    """Frames of the past in their order, joined once for all clients that get the same ones.

    A poll takes `frames`. A socket takes `parts`, which are the same bytes in pieces of about
    `REPLAY_PART_BYTES`.
    """

    __slots__ = ("frames", "parts", "size")

    def __init__(self, frames: Sequence[Replayed]) -> None:
        self.frames = frames
        self.parts = [Replayed(b"".join(wires)) for wires in _pieces(frames)]
        self.size = sum(len(part.wire) for part in self.parts)


def _pieces(frames: Sequence[Replayed]) -> Iterator[list[bytes]]:
    """Yield the bytes of frames, in lists of about `REPLAY_PART_BYTES`."""
    wires, size = [], 0
    for frame in frames:
        wires.append(frame.wire)
        size += len(frame.wire)
        if size >= REPLAY_PART_BYTES:
            yield wires
            wires, size = [], 0
    if wires:
        yield wires


class Snapshot(Frame):
    """The place of a snapshot that an outbox makes when it sends it, instead of waiting links.

    `wire` is never sent: its length is the number of bytes for which the waiting snapshot counts.
    """

    __slots__ = ()

    def __init__(self, link: Frame) -> None:
        super().__init__(b"", _WAITING_SNAPSHOT, link.key, link.chain)


def text(packet: bytes, key: str | None = None, chain: str | None = None) -> Frame:
    """Return the frame of a text packet: UTF-8 bytes that begin with the packet type."""
    return Frame(packet, frame(Opcode.TEXT, packet), key, chain)


def binary(data: bytes) -> Frame:
    """Return the frame of a binary message (an attachment of Socket.IO)."""
    return Frame(b"b" + base64.b64encode(data), frame(Opcode.BINARY, data))


def event(name: str, body: bytes, key: str | None = None, namespace: str = "/", chain: str | None = None) -> Frame:
    """Return the frame of a Socket.IO event.

    It is `42["NAME",BODY]` in `/`, `42/NAMESPACE,["NAME",BODY]` in another namespace. `body`
    is JSON. `key` is the conflation key within the namespace; a frame with None is never dropped.
    `chain` is the room of a link, which MUST have a key.
    """
    if chain is not None and key is None:
        raise ValueError(f"a link of {chain} has no key")
    prefix = b"42" if namespace == "/" else b"42%s," % namespace.encode()
    return text(b'%s["%s",%s]' % (prefix, name.encode(), body), key if key is None or namespace == "/" else f"{namespace},{key}", chain)


def split_key(key: str) -> tuple[str, str]:
    """Return the namespace and the key within it, of the conflation key of an event."""
    namespace, comma, name = key.partition(",")
    return (namespace, name) if comma and namespace.startswith("/") else ("/", key)


def together(frames: Sequence[Frame]) -> Frame:
    """Return frames as one, which is never dropped."""
    if len(frames) == 1:
        return frames[0]
    return Frame(SEPARATOR.join(frame.packet for frame in frames), b"".join(frame.wire for frame in frames))


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return an unfragmented, unmasked WebSocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def close_frame(code: int) -> bytes:
    """Return a Close frame with a status code and without a reason."""
    return frame(Opcode.CLOSE, struct.pack("!H", code))


class WireError(Exception):
    """The client violated the protocol. `code` is the WebSocket close code: 1002, 1007 or 1009."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Reader:
    """Parses the WebSocket bytes of one client; keeps only an incomplete frame or message.

    Checks masking, reserved bits, opcodes, control frames, fragments, UTF-8 and close codes, as RFC
    6455 requires of a server.
    """

    __slots__ = ("_buffer", "_limit", "_opcode", "_parts", "frames", "more")

    def __init__(self, limit: int, first: bytes = b"") -> None:
        self._limit = limit  # bytes of one message
        self._buffer = first
        self.frames = 0  # that the last call has parsed, fragments included
        self.more = False  # True if the last call stopped at its limit, with bytes left
        self._opcode: Opcode | None = None  # of the incomplete fragmented message
        self._parts: list[bytes] = []

    def allow(self, limit: int) -> None:
        """Accept messages of at most this size in bytes from now on."""
        self._limit = limit

    def feed(self, data: bytes, most: int = maxsize) -> list[tuple[Opcode, bytes]]:
        """Return the messages and control frames that `data` completes. Raises `WireError`.

        It parses at most `most` frames; a call with no bytes continues.
        """
        data = self._buffer + data if self._buffer else data
        found = []
        start = self.frames = 0
        while self.frames < most and (parsed := self._frame(data, start)) is not None:
            self.frames += 1
            final, opcode, payload, start = parsed
            if (whole := self._assemble(final, opcode, payload)) is not None:
                found.append(whole)
        self._buffer = data[start:]
        self.more = self.frames == most and bool(self._buffer)
        return found

    def _frame(self, data: bytes, start: int) -> tuple[bool, Opcode, bytes, int] | None:
        """Return FIN, opcode, payload and end of the frame at `start`; None if it is incomplete."""
        if len(data) - start < 2:
            return None
        first, second = data[start], data[start + 1]
        opcode = self._check_head(first, second)
        size, body, least = second & 0x7F, start + 2, 0
        if size == 126:
            size, body, least = int.from_bytes(data[body : body + 2]), body + 2, 126
        elif size == 127:
            size, body, least = int.from_bytes(data[body : body + 8]), body + 8, 65536
        if len(data) < body:
            return None
        if size < least:
            raise WireError(1002, "length not in the fewest bytes")
        if size + sum(map(len, self._parts)) > self._limit:
            raise WireError(1009, "message too big")
        end = body + 4 + size
        if len(data) < end:
            return None
        return bool(first & 0x80), opcode, unmask(data[body : body + 4], data[body + 4 : end]), end

    def _check_head(self, first: int, second: int) -> Opcode:
        if first & 0x70:
            raise WireError(1002, "reserved bits set")
        if (opcode := _OPCODES.get(first & 0x0F)) is None:
            raise WireError(1002, "unknown opcode")
        if not second & 0x80:
            raise WireError(1002, "frame not masked")
        if opcode >= Opcode.CLOSE and (second & 0x7F > 125 or not first & 0x80):
            raise WireError(1002, "control frame too long or fragmented")
        if opcode < Opcode.CLOSE and (opcode is Opcode.CONTINUATION) is (self._opcode is None):
            raise WireError(1002, "fragments out of order")
        return opcode

    def _assemble(self, final: bool, opcode: Opcode, payload: bytes) -> tuple[Opcode, bytes] | None:
        if opcode >= Opcode.CLOSE:
            if opcode is Opcode.CLOSE:
                check_close(payload)
            return opcode, payload
        if opcode is not Opcode.CONTINUATION:
            self._opcode = opcode
        if not final:
            if len(self._parts) >= _MAX_FRAGMENTS:
                raise WireError(1009, "too many fragments")
            self._parts.append(payload)
            return None
        kind, self._opcode = self._opcode, None
        assert kind is not None  # noqa: S101 - _check_head guarantees it
        if self._parts:
            payload = b"".join((*self._parts, payload))
            self._parts = []
        if kind is Opcode.TEXT:
            check_text(payload)
        return kind, payload


def unmask(mask: bytes, payload: bytes) -> bytes:
    """XOR the payload with the repeated mask, as one big integer: faster than a loop over bytes."""
    size = len(payload)
    if not size:
        return b""
    repeated = mask * (size // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(repeated[:size])).to_bytes(size)


def check_text(payload: bytes) -> None:
    """Raise `WireError` (1007) if the payload is not UTF-8."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise WireError(1007, "text is not UTF-8") from None


def check_close(payload: bytes) -> None:
    """Raise `WireError` if the payload of a Close frame is invalid.

    It may be empty, or a code that clients may send and a reason in UTF-8.
    """
    if not payload:
        return
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999):
        raise WireError(1002, "bad close code")
    check_text(payload[2:])


def unbase64(packet: bytes) -> bytes:
    """Return the bytes of a binary packet of a polling payload, given without its `b`.

    Raises `ValueError`.
    """
    return base64.b64decode(packet, validate=True)


def split_payload(body: bytes) -> Sequence[bytes]:
    """Return the packets of a polling payload."""
    return body.split(SEPARATOR)
