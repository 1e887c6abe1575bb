"""Own clients of `/ws` that never read: the fault `slow_client`."""

from __future__ import annotations

import base64
import logging
import os
import socket
import time
from contextlib import suppress

from config.pacing import Throttle

log = logging.getLogger("jobs.books")

CONNECT_SECONDS = 2.0
RECEIVE_BYTES = 4_096  # the smallest buffer: the hub's queue fills soon
_MAX_HEAD_BYTES = 16_384


class SlowClients:
    """Connections to the plain WebSocket of a hub. One thread uses it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._sockets: list[socket.socket] = []
        self._throttle = Throttle(monotonic=time.monotonic)

    def set(self, number: int) -> None:
        """Open or close connections until there are so many. A refusal is logged."""
        while len(self._sockets) > number:
            self._sockets.pop().close()
        while len(self._sockets) < number:
            try:
                self._sockets.append(_connect(*self._address))
            except OSError as error:
                if self._throttle.due("refused") is not None:
                    fields = {"address": ":".join(map(str, self._address)), "reason": str(error)}
                    log.warning("a slow client of the scenario is refused (repeats suppressed for 60 s)", extra=fields)
                return


def _connect(host: str, port: int) -> socket.socket:
    """A client that has ended its handshake. Raises `OSError`."""
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        client.settimeout(CONNECT_SECONDS)
        client.connect((host, port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ("GET /ws HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}")
        client.sendall("\r\n".join([*lines, "Sec-WebSocket-Version: 13", "", ""]).encode())
        _read_head(client)
    except BaseException:
        with suppress(OSError):
            client.close()
        raise
    return client


def _read_head(client: socket.socket) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte or len(head) > _MAX_HEAD_BYTES:
            raise ConnectionError("the hub has closed the connection")
        head += byte
    status = head.split(b"\r\n", 1)[0].decode(errors="replace")
    if " 101 " not in f"{status} ":
        raise ConnectionError(f"the hub answers {status}")
