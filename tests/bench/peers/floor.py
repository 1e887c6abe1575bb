"""The floor: a process that reads the same channel and calls `send()` per message and socket.

There is no WebSocket handshake and no Socket.IO. A client sends its instruments as one line of JSON
and receives frames.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import hiredis

from tests.bench.frames import PRICE_PREFIX, server_frame

_rooms: dict[bytes, list[Callable[[bytes], object]]] = {}  # instrument -> send of each socket


def accept(listener: socket.socket) -> None:
    """Accept connections until the process ends."""
    kept = []
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=subscribe, args=[connection], daemon=True).start()
        kept.append(connection)


def subscribe(connection: socket.socket) -> None:
    """Read the line with the instruments and join their rooms."""
    with connection.makefile("rb") as stream:
        line = stream.readline()
    if line:
        for pair in json.loads(line)["pairs"]:
            _rooms.setdefault(pair.encode(), []).append(connection.send)
        connection.send(server_frame(b'42["subscription_confirmed",{}]'))


def fan_out(redis: socket.socket, reader: hiredis.Reader) -> None:
    """Send every message from Redis to the sockets of its room."""
    nobody: list[Callable[[bytes], object]] = []
    while data := redis.recv(65536):
        reader.feed(data)
        while reply := reader.gets():
            if reply[0] != b"message":
                continue
            body = reply[2]
            frame = server_frame(PRICE_PREFIX + body + b"]")
            start = body.index(b':"') + 2  # the instrument is the body's first field
            for send in _rooms.get(body[start : body.index(b'"', start)], nobody):
                send(frame)


def main(port: int) -> None:
    """Listen and fan out."""
    url = urlsplit(os.environ["REDIS_URL"])
    redis = socket.socket(socket.AF_UNIX if url.scheme == "unix" else socket.AF_INET)
    redis.connect(unquote(url.path) if url.scheme == "unix" else (url.hostname, url.port))
    reader = hiredis.Reader()
    redis.sendall(f"AUTH {url.username} {url.password}\r\n".encode())
    assert redis.recv(64) == b"+OK\r\n"
    redis.sendall(b"SUBSCRIBE price_updates\r\n")
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    threading.Thread(target=accept, args=[listener], daemon=True).start()
    fan_out(redis, reader)


if __name__ == "__main__":
    main(int(sys.argv[1]))
