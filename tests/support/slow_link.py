"""A link to a server that can be held: nothing is read from the server until it is released."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_SMALL = 4096  # bytes: the window towards the server stays small, so that messages wait in the server


class SlowLink:
    """Connections to `port` arrive at the server's port. `held` stops the way from the server."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._released = threading.Event()
        self._released.set()
        self.port: int = self._listener.getsockname()[1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Read nothing from the server for the length of the block."""
        self._released.clear()
        try:
            yield
        finally:
            self._released.set()

    def run(self) -> None:
        """Accept connections until `close`."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
                server.connect(("127.0.0.1", self._server_port))
                for source, target, waits in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._copy, args=(source, target, waits), daemon=True).start()

    def close(self) -> None:
        """Accept no further connection."""
        self._released.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _copy(self, source: socket.socket, target: socket.socket, waits: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_SMALL):
                target.sendall(data)
                if waits:
                    self._released.wait()
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def slow_link(server_port: int) -> Iterator[SlowLink]:
    """Open a link to the port of a server on this machine."""
    link = SlowLink(server_port)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        yield link
    finally:
        link.close()
        thread.join()
