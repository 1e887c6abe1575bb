"""One client that floods a hub and reads the answers; prints the end of its connection as JSON.

`python -m tests.bench.flooder PORT KIND SECONDS`. The kinds are those of `FLOODS`.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from tests.conformance.websocket_client import CLOSE, PING, TEXT, frame

# kind -> frames of one repetition
FLOODS: dict[str, list[bytes]] = {
    "event": [frame(TEXT, b'42["ping"]')],
    "WebSocket ping": [frame(PING, b"")],
    "Engine.IO noop": [frame(TEXT, b"6")],
    "CONNECT to an unknown namespace": [frame(TEXT, b"40/x,")],
    "ack": [frame(TEXT, b"431[]")],
    "DISCONNECT, CONNECT, 20 × subscribe": [
        frame(TEXT, b"41"),
        frame(TEXT, b"40"),
        *[frame(TEXT, b'42["subscribe",{"pairs":"all"}]')] * 20,
    ],
    "fragments": [frame(TEXT, b"", fin=False), *[frame(0, b"", fin=False)] * 20, frame(0, b"6")],
    "large event": [frame(TEXT, b'42["ping",{"timestamp":"' + b"x" * 60_000 + b'"}]')],
    "binary event": [frame(TEXT, b'451-["ping",{"_placeholder":true,"num":0}]'), frame(2, b"x")],
}
_CHUNK_BYTES = 64 * 1024


def connect(port: int) -> socket.socket:
    """Return the socket of a client that has joined the main namespace."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    sock.sendall(head.encode() + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    _read_until(sock, b'{"sid":')
    sock.sendall(frame(TEXT, b"40"))
    _read_until(sock, b'42["connection_established"')
    return sock


def _read_until(sock: socket.socket, mark: bytes) -> None:
    """Read until a packet with the mark has arrived completely."""
    data = b""
    while mark not in data or data[-1:] not in b"}]":
        more = sock.recv(65536)
        if not more:
            raise ConnectionError(data[:200].decode(errors="replace"))
        data += more


def flood(sock: socket.socket, frames: list[bytes], seconds: float) -> dict[str, float | int | None]:
    """Send the frames again and again until the server closes; return times and the close code."""
    once = b"".join(frames)
    chunk = once * max(1, _CHUNK_BYTES // len(once))
    rest, received, began, sent = memoryview(chunk), b"", time.monotonic(), 0
    sock.setblocking(False)

    def end(code: int | None) -> dict[str, float | int | None]:
        return {"seconds": time.monotonic() - began, "code": code, "bytes": sent}

    while time.monotonic() - began < seconds:
        readable, writable, _ = select.select([sock], [sock], [], 0.1)
        try:
            if readable:
                data = sock.recv(1 << 18)
                if not data:
                    return end(None)
                received = _unread(received + data)
                if (code := _close_code(received)) is not None:
                    return end(code)
            if writable:
                count = sock.send(rest)
                sent += count
                rest = rest[count:] if count < len(rest) else memoryview(chunk)
        except BlockingIOError:
            continue
        except OSError:
            return end(None)
    return end(None)


def _unread(data: bytes) -> bytes:
    """Return the data from its first incomplete frame, or from a Close frame."""
    start = 0
    while len(data) - start >= 2 and data[start] & 0x0F != CLOSE:
        size, head = data[start + 1], 2
        if size == 126:
            size, head = int.from_bytes(data[start + 2 : start + 4]), 4
        elif size == 127:
            size, head = int.from_bytes(data[start + 2 : start + 10]), 10
        if len(data) < start + head + size:
            break
        start += head + size
    return data[start:]


def _close_code(data: bytes) -> int | None:
    return int.from_bytes(data[2:4]) if len(data) >= 4 and data[0] & 0x0F == CLOSE else None


if __name__ == "__main__":
    port, kind, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    joined = connect(port)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(flood(joined, FLOODS[kind], seconds)), flush=True)
