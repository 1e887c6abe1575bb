"""Reads a JWK Set from a file or a URL, with limits of time and size."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from socket import socket
from typing import cast
from urllib.parse import urlsplit

from api.access.tokens.keys import JwksError

MAX_BYTES = 256 * 1024
MAX_SECONDS = 3.0
_HEADERS = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "tickwire", "Connection": "close"}


def read_file(path: Path) -> bytes:
    """Return the content of a file. Raises `JwksError`."""
    try:
        with path.open("rb") as file:
            return _checked(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise JwksError(f"the file cannot be read: {error.strerror}") from None


def download(url: str, *, seconds: float = MAX_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> bytes:
    """Return the body that a URL answers within `seconds`. Raises `JwksError`.

    Redirects are not followed: they could lead from https to http.
    """
    parts = urlsplit(url)
    made = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    deadline = monotonic() + seconds
    connection = made(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.connect()
        with connection.sock as sock:
            connection.sock = cast(socket, _TimedSocket(sock, lambda: deadline - monotonic()))
            connection.request("GET", parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl(), headers=_HEADERS)
            response = connection.getresponse()
            if response.status != 200:
                raise JwksError(f"the answer has the status {response.status}")
            return _checked(response.read(MAX_BYTES + 1))
    except TimeoutError:
        raise JwksError(f"no complete answer within {seconds:g} s") from None
    except (OSError, HTTPException, ValueError) as error:
        raise JwksError(f"{type(error).__name__}: {error}") from None


def _checked(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise JwksError(f"it has more than {MAX_BYTES // 1024} KB")
    return data


class _TimedSocket:
    """The part of a socket that `http.client` uses, with one deadline for all of its calls.

    The timeout of a socket alone starts again with each byte.
    """

    def __init__(self, sock: socket, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def sendall(self, data: bytes) -> None:
        """Send all bytes. Raises `TimeoutError`."""
        self._sock.settimeout(_seconds(self._left))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file for reading."""
        return io.BufferedReader(_Incoming(self._sock, self._left))

    def close(self) -> None:
        """Do nothing: `download` closes the socket."""


class _Incoming(io.RawIOBase):
    """The incoming bytes of a socket."""

    def __init__(self, sock: socket, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Receive at least one byte; return 0 at the end. Raises `TimeoutError`."""
        self._sock.settimeout(_seconds(self._left))
        return self._sock.recv_into(buffer)


def _seconds(left: Callable[[], float]) -> float:
    if (seconds := left()) <= 0:
        raise TimeoutError
    return seconds
