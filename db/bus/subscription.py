"""Live subscriptions to channels of the bus: one connection each."""

from __future__ import annotations

import re
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import hiredis
import redis

from db.bus.errors import translated

_PROBE_SECONDS = 10  # without data from Redis; three times as long ends the subscription
_MAX_RECEIVE_BYTES = 256 * 1024
_STAMPED = re.compile(rb',"seq":\d+,"epoch":"\w+"}$')  # the end of a message of ours
_PING = b"*1\r\n$4\r\nPING\r\n"


class RedisConnection(Protocol):
    """The part of a connection of redis-py that a subscription uses."""

    _sock: socket.socket | None

    def connect(self) -> None: ...

    def send_command(self, *words: str, check_health: bool) -> None: ...

    def disconnect(self) -> None: ...


class Subscription:
    """A live subscription. Raises `BusError` once its connection is lost: subscribe anew, catch up.

    It reads the socket of the connection directly, for two reasons. redis-py's `PubSub` reconnects
    silently, and the messages published meanwhile would be lost unnoticed. Its readers also wait
    three times per message, which dominates the cost under a cooperative hub.

    A caller either calls `read`, which waits, or watches `sock` and calls `receive`, which never
    does. Only `read` detects a peer that vanished; a caller of `receive` sends `ping` itself.

    `shard_channels` has, for each hash slot, the names of its shard channels on the wire, each with
    its channel. Stamped messages of the channels `foreign_only` are dropped: they come by shard
    channels too. `failed` is called with each error of the connection.
    """

    def __init__(
        self,
        connection: RedisConnection,
        channels: Sequence[str],
        shard_channels: Sequence[Mapping[str, str]] = (),
        *,
        foreign_only: Collection[str] = (),
        failed: Callable[[redis.RedisError], None] = lambda error: None,
    ) -> None:
        self._connection = connection
        self._failed = failed
        self._reader = hiredis.Reader()
        self._ready: list[tuple[str, bytes]] = []  # (channel, body)
        self._silent_seconds = 0.0
        self._names = {name.encode(): name for name in channels}
        self._shard_names = {wire.encode(): name for names in shard_channels for wire, name in names.items()}
        self._foreign_only = frozenset(name.encode() for name in foreign_only)
        self._unsent = b""  # rest of a PING
        self._waits = True  # False once `receive` reads the socket
        self._recv: Callable[[int], bytes] = lambda size: b""
        self._pending: Callable[[], int] | None = None  # of TLS
        self._unconfirmed = len(self._names) + len(self._shard_names)
        with self._translated():
            connection.connect()
            if channels:
                connection.send_command("SUBSCRIBE", *channels, check_health=False)
            for names in shard_channels:  # one command for each slot: two slots are CROSSSLOT
                connection.send_command("SSUBSCRIBE", *names, check_health=False)
            while self._unconfirmed:
                if not self._receive(_PROBE_SECONDS):
                    raise redis.ConnectionError("no answer to SUBSCRIBE")

    @property
    def sock(self) -> socket.socket:
        """The socket of the connection. Raises `BusError` if it is closed."""
        with self._translated():
            return self._socket()

    def receive(self) -> list[tuple[str, bytes]]:
        """Every (channel, body) of about 256 KiB that are ready; never waits."""
        try:
            if self._waits:
                self._stop_waiting()
            self._socket()
            self._read_ready()
        except redis.RedisError:
            with self._translated():  # here, because a context costs more than all the rest
                raise
        ready, self._ready = self._ready, []
        return ready

    def ping(self) -> None:
        """Send a PING, which Redis answers. A full socket is no error: Redis does not read it."""
        data = self._unsent + _PING
        with self._translated():
            try:
                sent = self._socket().send(data)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                raise redis.ConnectionError(str(error)) from error
        self._unsent = data[sent:]

    def read(self, wait: float) -> list[tuple[str, bytes]]:
        """Every (channel, body) that is ready; waits up to `wait` seconds for the first."""
        with self._translated():
            if not self._ready and not self._receive(wait):
                self.probe(wait)
                return []
        ready, self._ready = self._ready, []
        return ready

    def probe(self, waited: float) -> None:
        """Note a silence of `waited` seconds: send a PING after a while, then raise `BusError`.

        So a peer that vanished without a FIN is detected.
        """
        self._silent_seconds += waited
        with self._translated():
            if self._silent_seconds > 3 * _PROBE_SECONDS:
                raise redis.ConnectionError(f"no answer from Redis for {self._silent_seconds:.0f} s")
        if self._silent_seconds >= _PROBE_SECONDS:
            self.ping()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translated():
            try:
                yield
            except redis.RedisError as error:
                self._failed(error)
                raise

    def _socket(self) -> socket.socket:
        sock = self._connection._sock
        if sock is None:
            raise redis.ConnectionError("the subscription is closed")
        return sock

    def _stop_waiting(self) -> None:
        sock = self._socket()
        sock.setblocking(False)
        # A socket of a cooperative hub has the real one as `fd`, whose `recv` is a plain call.
        self._recv = getattr(sock, "fd", sock).recv
        self._pending = getattr(sock, "pending", None)
        self._waits = False

    def _read_ready(self) -> None:
        """Parse the bytes that are ready.

        With TLS, decrypted bytes may wait in the SSL object while the descriptor is not readable.
        They are read beyond the limit too.
        """
        size = self._parse_next(self._recv)
        if self._pending is not None:
            while size and (size < _MAX_RECEIVE_BYTES or self._pending()):
                more = self._parse_next(self._recv)
                size = size + more if more else 0

    def _receive(self, wait: float) -> bool:
        """Parse the data on the socket; False if none comes within `wait` seconds."""
        sock = self._socket()
        sock.settimeout(wait)
        self._waits = True
        return self._parse_next(sock.recv) > 0

    def _parse_next(self, recv: Callable[[int], bytes]) -> int:
        """Parse the next bytes and return their number; 0 if there are none."""
        try:
            data = recv(_MAX_RECEIVE_BYTES)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error
        if not data:
            raise redis.ConnectionError("Redis has closed the connection")
        self._silent_seconds = 0.0  # the answer to a PING counts too
        self._reader.feed(data)
        next_reply, names, shard_names, add = self._reader.gets, self._names, self._shard_names, self._ready.append
        foreign_only = self._foreign_only
        try:
            while (reply := next_reply()) is not False:
                if type(reply) is list and len(reply) == 3:
                    kind, channel, body = reply
                    if kind == b"message":
                        if not foreign_only or channel not in foreign_only or not _STAMPED.search(body):
                            add((names[channel], body))
                        continue
                    if kind == b"smessage":
                        add((shard_names[channel], body))
                        continue
                self._take(reply)
        except hiredis.ProtocolError as error:
            raise redis.ConnectionError(str(error)) from error
        return len(data)

    def _take(self, reply: Sequence[bytes] | hiredis.HiredisError) -> None:
        """Take a reply that is not a message: a confirmation, a pong or an error."""
        if isinstance(reply, hiredis.HiredisError):
            raise redis.ResponseError(str(reply))
        if reply[0] in (b"subscribe", b"ssubscribe"):
            self._unconfirmed -= 1
        elif reply[0] == b"sunsubscribe":
            raise redis.ResponseError("MOVED another server has the shard channel now")

    def close(self) -> None:
        """Close the connection. Raises nothing."""
        with suppress(redis.RedisError, OSError):
            self._connection.disconnect()


class Subscriptions:
    """Live subscriptions that are one for their user: `parts` has one for each server.

    A user watches every part, as it has to with one, or calls `read`. If a part fails, all of them
    have to be replaced.
    """

    def __init__(self, parts: Sequence[Subscription]) -> None:
        self.parts = parts
        self._selector: selectors.BaseSelector | None = None  # of `read`

    def read(self, wait: float) -> list[tuple[str, bytes]]:
        """Every (channel, body) that is ready; waits up to `wait` seconds for the first."""
        if len(self.parts) == 1:
            return self.parts[0].read(wait)
        if ready := self._receive(0):
            return ready
        if self._selector is None:
            self._selector = selectors.DefaultSelector()
            for part in self.parts:
                self._selector.register(part.sock, selectors.EVENT_READ)
        began = time.monotonic()
        self._selector.select(wait)
        return self._receive(time.monotonic() - began)

    def _receive(self, waited: float) -> list[tuple[str, bytes]]:
        ready = []
        for part in self.parts:
            if messages := part.receive():
                ready += messages
            elif waited:
                part.probe(waited)
        return ready

    def close(self) -> None:
        """Close every connection. Raises nothing."""
        if self._selector is not None:
            self._selector.close()
        for part in self.parts:
            part.close()
