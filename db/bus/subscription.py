"""Reading a channel of the bus as it happens."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
import redis

_PROBE_SECONDS = 10
_RECEIVE = 256 * 1024


class BusError(Exception):
    """The bus cannot be reached or does not work just now; what was asked may be tried again."""


@contextmanager
def translated() -> Iterator[None]:
    """Redis's own exceptions become `BusError`; none of them leaves `db`."""
    try:
        yield
    except redis.RedisError as error:
        raise BusError(f"{type(error).__name__}: {error}") from error


class Subscription:
    """A live subscription. Raises `BusError` once the connection is gone: subscribe anew and catch up.

    It reads the connection's socket itself. redis-py's `PubSub` reconnects by itself, and what was published meanwhile would be
    missed without a word; and its readers wait three times for each message, which under a cooperative hub is most of the work.
    """

    def __init__(self, connection: Any, channels: Sequence[str]) -> None:
        self._connection = connection
        self._reader = hiredis.Reader()
        self._ready: list[tuple[str, bytes]] = []
        self._silent = 0.0  # seconds without a word from Redis
        connection.connect()
        connection.send_command("SUBSCRIBE", *channels, check_health=False)
        self._unconfirmed = len(channels)
        while self._unconfirmed:
            if not self._receive(_PROBE_SECONDS):
                raise redis.ConnectionError("no answer to SUBSCRIBE")

    def read(self, wait: float) -> list[tuple[str, bytes]]:
        """Every (channel, body) that is ready; waits up to `wait` seconds for the first."""
        with translated():
            if not self._ready and not self._receive(wait):
                self._probe(wait)
                return []
            self._silent = 0.0
        ready, self._ready = self._ready, []
        return ready

    def _receive(self, wait: float) -> bool:
        """Take in what the socket has, waiting up to `wait` seconds for it; False where there is nothing."""
        sock = self._connection._sock
        if sock is None:
            raise redis.ConnectionError("the subscription is closed")
        try:
            sock.settimeout(wait)
            data = sock.recv(_RECEIVE)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error
        if not data:
            raise redis.ConnectionError("Redis has closed the connection")
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._take(reply)
        return True

    def _take(self, reply: Any) -> None:
        if isinstance(reply, hiredis.HiredisError):
            raise redis.ResponseError(str(reply))
        if reply[0] == b"message":
            self._ready.append((reply[1].decode(), reply[2]))
        elif reply[0] == b"subscribe":
            self._unconfirmed -= 1

    def _probe(self, waited: float) -> None:
        """A peer that vanished without a FIN is noticed because it no longer answers pings."""
        self._silent += waited
        if self._silent > 3 * _PROBE_SECONDS:
            raise redis.ConnectionError("the bus has fallen silent")
        if self._silent >= _PROBE_SECONDS:
            self._connection.send_command("PING", check_health=False)

    def close(self) -> None:
        """Give the connection up."""
        self._connection.disconnect()
