"""HTTP as bytes: a connection on which a test sends anything, and the answers on it."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

SECONDS = 60.0  # a deadline that only a broken server reaches


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error in the one shape; asserts the shape."""
        assert self.headers["content-type"] == "application/json", self
        error = json.loads(self.body)["error"]
        assert set(error) == {"code", "message", "details"}, error
        return str(error["code"])


class RawConnection:
    """A connection to a port of this machine."""

    def __init__(self, port: int, first: bytes = b"", *, receive_buffer: int | None = None, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(SECONDS)
        self.sock.connect((host, port))
        self._file = self.sock.makefile("rb")
        self.send(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def try_to_send(self, data: bytes) -> bool:
        """Send bytes; return False if the server has closed the connection."""
        try:
            self.send(data)
        except OSError:
            return False
        return True

    def answer(self, *, head_only: bool = False) -> Answer:
        """Read the next answer. Raises `EOFError` if the server has closed the connection."""
        status = int(self._line().split(b" ")[1])
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if head_only or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        return Answer(status, headers, self._file.read(int(headers["content-length"])))

    def ends(self) -> bool:
        """Read up to the end of the connection; return True if no further byte arrives."""
        try:
            return not self._file.read()
        except ConnectionResetError:
            return True

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise EOFError("the server has closed the connection")
        return line.rstrip(b"\r\n")

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line(), 16):
            body += self._file.read(size)
            self._line()
        self._line()
        return body


def request(path: str, *lines: str, method: str = "GET", host: str | None = "127.0.0.1", body: bytes = b"") -> bytes:
    """Return the bytes of a request of HTTP/1.1."""
    head = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def exchange(port: int, data: bytes, *, host: str = "127.0.0.1") -> Answer:
    """Send bytes on a connection of their own and return the answer."""
    with RawConnection(port, host=host) as connection:
        connection.try_to_send(data)
        return connection.answer()


def is_closed_by_peer(sock: socket.socket) -> bool:
    """Return True if the server has closed the connection; drops what it has sent."""
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def as_json(answer: Answer) -> Any:
    return json.loads(answer.body)
