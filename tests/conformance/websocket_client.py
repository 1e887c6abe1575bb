"""A WebSocket client that can violate the protocol, and checks every byte of the answer."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import struct
import time
from types import TracebackType
from typing import Any, Self

from tests.conformance.http_client import SECONDS, Answer, Server

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """A WebSocket handshake received an ordinary HTTP answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"{answer.status} {answer.body!r}")


class Closed(Exception):
    """The server has closed the WebSocket; `code` is None if no Close frame came."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(f"closed with {code}")


class WebSocket:
    """A WebSocket.

    If `opened` is set, it reads the Engine.IO open packet into `opened`. `receive_bytes` is the
    size of its receive buffer, if it must be small.
    """

    def __init__(
        self,
        server: Server,
        path: str = "/engine.io/",
        *,
        sid: str | None = None,
        query: str | None = None,
        opened: bool = True,
        headers: dict[str, str] | None = None,
        receive_bytes: int | None = None,
    ) -> None:
        self._sock = socket.socket()
        if receive_bytes is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._sock.settimeout(SECONDS)
        self._sock.connect((server.host, server.port))
        self._buffer = b""
        self.pongs: list[bytes] = []  # answers of the server to WebSocket pings
        if query is None:
            query = "EIO=4&transport=websocket" + (f"&sid={sid}" if sid else "")
        self._handshake(server, f"{path}?{query}", headers or {})
        self.opened: dict[str, Any] = {}
        if opened:
            first = self.receive()
            assert isinstance(first, str), first
            assert first[0] == "0", first
            self.opened = json.loads(first[1:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sock.close()

    def _handshake(self, server: Server, target: str, headers: dict[str, str]) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {target} HTTP/1.1", f"Host: {server.host}:{server.port}", "Connection: Upgrade", "Upgrade: websocket"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Extensions: permessage-deflate"]
        lines += [*(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._sock.sendall("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._fill(time.monotonic() + SECONDS)
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        status, *fields = head.decode().split("\r\n")
        answered = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if status.split()[1] != "101":
            raise Refused(self._refusal(int(status.split()[1]), answered))
        assert answered["sec-websocket-accept"] == base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324
        assert "sec-websocket-extensions" not in answered, "permessage-deflate is declined"

    def _refusal(self, status: int, headers: dict[str, str]) -> Answer:
        while len(self._buffer) < int(headers["content-length"]):
            self._fill(time.monotonic() + SECONDS)
        self._sock.close()
        return Answer(status, headers, self._buffer)

    def send(self, *packets: str | bytes) -> None:
        """Send each packet as one frame, all in one write."""
        self._sock.sendall(b"".join(frame(TEXT, item.encode()) if isinstance(item, str) else frame(BINARY, item) for item in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes."""
        self._sock.sendall(data)

    def receive(self, seconds: float = SECONDS) -> str | bytes:
        """Return the next message. Raises `Closed`, or `TimeoutError` after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            opcode, payload = self._frame(deadline)
            if opcode == TEXT:
                return payload.decode()
            if opcode == BINARY:
                return payload
            if opcode == CLOSE:
                raise Closed(int.from_bytes(payload[:2]) if payload else 1005)
            self._control(opcode, payload)

    def _control(self, opcode: int, payload: bytes) -> None:
        """Take a Ping or Pong of the server. The hub sends no Ping on `/engine.io/`."""
        assert opcode == PONG, f"opcode {opcode} from the server"
        self.pongs.append(payload)

    def packet(self, seconds: float = SECONDS) -> str | bytes:
        """Return the next message that is no Engine.IO ping; answer pings."""
        deadline = time.monotonic() + seconds
        while (received := self.receive(deadline - time.monotonic())) == "2":
            self.send("3")
        return received

    def packets(self, count: int) -> list[str | bytes]:
        return [self.packet() for _ in range(count)]

    def closed(self, seconds: float = SECONDS) -> int | None:
        """Wait until the server closes, answering its pings; nothing else may come before.

        The close code.
        """
        try:
            received = self.packet(seconds)
        except Closed as closed:
            return closed.code
        raise AssertionError(f"{received!r} where a close was expected")

    def end(self) -> None:
        """Close in order: wait for the answer of the server and for the end of the connection."""
        self._sock.sendall(frame(CLOSE, struct.pack("!H", 1000)))
        assert self.closed() == 1000
        assert self.closed() is None
        self._sock.close()

    def _frame(self, deadline: float) -> tuple[int, bytes]:
        first, second = self._take(2, deadline)
        assert first & 0xF0 == 0x80, f"no whole WebSocket frame with clear reserved bits, but {bytes([first, second]) + self._buffer!r}"
        assert second < 0x80, "a server does not mask"
        length = second
        if length > 125:
            length = int.from_bytes(self._take(2 if length == 126 else 8, deadline))
        return first & 0x0F, self._take(length, deadline)

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._fill(deadline)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _fill(self, deadline: float) -> None:
        self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self._sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(None)
        self._buffer += data


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return a frame of a client; `reserved` are the three bits (RSV1 is 4)."""
    mask = os.urandom(4) if masked else b""
    length = len(payload)
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    short = length if length < 126 else 126 if length < 65536 else 127
    head += bytes([(0x80 if masked else 0) | short])
    head += b"" if length < 126 else struct.pack("!H" if length < 65536 else "!Q", length)
    if not masked:
        return head + payload
    key = (mask * (length // 4 + 1))[:length]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(length)
