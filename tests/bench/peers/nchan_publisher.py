"""The publisher of nchan: posts each message of the Redis channel to the nginx at PORT.

It is a process beside the measured ones, because nchan has no subscription to Redis channels.

    python -m tests.bench.peers.nchan_publisher PORT
"""

from __future__ import annotations

import os
import socket
import sys
import time

import redis

_START_SECONDS = 20.0


def connect(port: int) -> socket.socket:
    """Connect to nginx, which may still start. Raises `OSError` after 20 s."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def post(connection: socket.socket, body: bytes) -> None:
    """Publish one message and wait for the answer. Raises `RuntimeError` if nginx refuses it."""
    start = body.index(b':"') + 2  # the instrument is the first field of a body
    name = body[start : body.index(b'"', start)]
    connection.sendall(b"POST /pub?id=%s HTTP/1.1\r\nHost: nchan\r\nContent-Length: %d\r\n\r\n%s" % (name, len(body), body))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, rest = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 20"):
        raise RuntimeError(f"nchan refuses a message: {answer[:300]!r}")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(rest) < length:
        rest += connection.recv(65536)


def main(port: int) -> None:
    """Publish until the process is killed."""
    connection = connect(port)
    pubsub = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=2).pubsub()  # type: ignore[no-untyped-call]
    pubsub.subscribe("price_updates")
    for message in pubsub.listen():
        if message["type"] == "message":
            post(connection, message["data"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
