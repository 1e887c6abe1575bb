"""Stand-ins at the wire: servers of old versions, and a server that accepts and says nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve, port: int = 0) -> Iterator[int]:
    """Serve each connection in a thread; yields the port of 127.0.0.1."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threading.Thread(target=_serve, args=(serve, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()


def _serve(serve: Serve, connection: socket.socket) -> None:
    with suppress(OSError), connection:
        serve(connection)


def silent(connection: socket.socket) -> None:
    """Read everything and answer nothing."""
    while connection.recv(4096):
        pass


def old_postgres(connection: socket.socket) -> None:
    """Speak the start of the protocol as PostgreSQL 13, then close at the first query."""
    while (head := _read(connection, 8)) and struct.unpack("!II", head)[1] in (80877103, 80877104):
        connection.sendall(b"N")  # neither TLS nor GSSAPI
    _read(connection, struct.unpack("!II", head)[0] - 8)
    parameters = {
        "server_version": "13.21", "server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO, MDY",
        "integer_datetimes": "on", "standard_conforming_strings": "on", "TimeZone": "UTC",
    }  # fmt: skip
    messages = [(b"R", struct.pack("!I", 0))]
    messages += [(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items()]
    messages += [(b"K", struct.pack("!II", 1, 1)), (b"Z", b"I")]
    connection.sendall(b"".join(kind + struct.pack("!I", len(body) + 4) + body for kind, body in messages))
    connection.recv(4096)


def old_redis(connection: socket.socket) -> None:
    """Answer as an empty Redis 6.0: INFO, CONFIG GET, GET and PING."""
    info = "redis_version:6.0.16\r\nrole:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n"
    answers = {
        b"PING": b"+PONG\r\n",
        b"GET": b"$-1\r\n",
        b"INFO": f"${len(info)}\r\n{info}\r\n".encode(),
        b"CONFIG": b"*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n",
    }
    with connection.makefile("rb") as stream:
        while line := stream.readline():
            words = []
            for _ in range(int(line[1:])):
                words.append(stream.read(int(stream.readline()[1:]) + 2)[:-2])
            connection.sendall(answers.get(words[0], b"+OK\r\n"))


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


def forward(port: int) -> Serve:
    """Return the function that passes everything on to a port of 127.0.0.1, and back."""

    def serve(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:
            threading.Thread(target=_copy, args=(other, connection), daemon=True).start()
            _copy(connection, other)

    return serve


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
