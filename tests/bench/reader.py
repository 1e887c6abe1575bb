"""The reader in C of the load generator: order, count and checksum of each client."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.client import Client
from tests.bench.frames import FrameError, price_in

_LOST, _BROKEN, _HOLE = 1, 2, 3  # kinds of events in reader.c; 0 is another payload
_EVENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
_PARSE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_int64),
    ctypes.POINTER(ctypes.c_double),
)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {  # function -> its result and its arguments after the reader
    "epoll": (ctypes.c_int, []),
    "received": (ctypes.c_uint64, []),
    "first": (ctypes.c_double, []),
    "last": (ctypes.c_double, []),
    "topic": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_size_t]),
    "add": (ctypes.c_int, [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]),
    "watch": (None, [ctypes.c_int, ctypes.c_int]),
    "follow": (None, [ctypes.c_int, ctypes.c_int, ctypes.c_int64]),
    "begin": (None, []),
    "complete": (ctypes.c_int, [ctypes.c_int, ctypes.POINTER(ctypes.c_int32), ctypes.c_int]),
    "percentile": (ctypes.c_double, [ctypes.c_double]),
    "turn": (None, []),
    "delete": (None, []),
}


class Reader:
    """Reads prices of connected clients, which it knows by numbers.

    `other(client, payload)` gets each payload that is not a price. `lost(client, reason)` reports
    the end of a client, `hole(client, text)` a wrong number.
    """

    def __init__(
        self, library: Path, other: Callable[[int, bytes], None], lost: Callable[[int, str], None], hole: Callable[[int, str], None]
    ) -> None:
        self._other, self._lost, self._hole = other, lost, hole
        self._name = b""  # of the last parsed topic: C reads it after the call
        code = ctypes.CDLL(str(library))
        code.reader_new.restype = ctypes.c_void_p
        self._callbacks = _EVENT(self._event), _PARSE(self._parse)  # C keeps them
        self._reader = ctypes.c_void_p(code.reader_new(*self._callbacks))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(code, f"reader_{name}")
            function.restype, function.argtypes = result, [ctypes.c_void_p, *arguments]
        self._code = code
        self.fd: int = code.reader_epoll(self._reader)

    def add(self, fd: int, rest: bytes, following: dict[str, int]) -> int:
        """Read from a socket from now on; return the client's number.

        `rest` is the begin of its next frame, `following` the next number of topics.
        """
        number: int = self._code.reader_add(self._reader, fd, rest, len(rest))
        if number < 0:
            raise OSError("epoll_ctl refuses a client")
        for topic, following_number in following.items():
            self._code.reader_follow(self._reader, number, self._topic(topic), following_number)
        return number

    def close(self) -> None:
        """Free the memory; nothing else may be called afterwards."""
        self._code.reader_delete(self._reader)

    def watch(self, number: int, on: bool) -> None:
        """Begin or stop to read from a client."""
        self._code.reader_watch(self._reader, number, on)

    def turn(self) -> None:
        """Read from every client that is ready."""
        self._code.reader_turn(self._reader)

    def begin(self) -> None:
        """Reset counts, checksums and latencies; keep the positions in the topics."""
        self._code.reader_begin(self._reader)

    def complete(self, number: int, topics: Sequence[str]) -> bool:
        """Whether a client has received exactly the messages that anyone received of its topics."""
        numbers = [self._topic(topic) for topic in topics]
        return bool(self._code.reader_complete(self._reader, number, (ctypes.c_int32 * len(numbers))(*numbers), len(numbers)))

    @property
    def received(self) -> int:
        """The prices since `begin`."""
        return int(self._code.reader_received(self._reader))

    @property
    def span(self) -> tuple[float, float]:
        """The times of the first and of the last price since `begin`; zeros without any."""
        return self._code.reader_first(self._reader), self._code.reader_last(self._reader)

    def percentiles(self, *shares: float) -> list[float | None]:
        """Return the latencies in seconds that these shares of the prices did not exceed."""
        found = [float(self._code.reader_percentile(self._reader, share)) for share in shares]
        return [None if value < 0 else value for value in found]

    def _topic(self, name: str) -> int:
        encoded = name.encode()
        return int(self._code.reader_topic(self._reader, encoded, len(encoded)))

    def _event(self, kind: int, client: int, address: int, length: int) -> None:
        data = ctypes.string_at(address, length)
        if kind == _HOLE:
            self._hole(client, data.decode())
        elif kind == _LOST:
            self._lost(client, data.decode())
        elif kind == _BROKEN:
            self._lost(client, f"a frame that a server must not send: {data!r}")
        else:
            self._other(client, data)

    def _parse(self, address: int, length: int, name: Any, name_length: Any, seq: Any, sent: Any) -> int:
        try:
            price = price_in(ctypes.string_at(address, length))
        except FrameError:
            return 0
        if price is None:
            return 0
        self._name = price.topic.encode()
        name[0] = ctypes.cast(ctypes.c_char_p(self._name), ctypes.c_void_p)
        name_length[0], seq[0], sent[0] = len(self._name), price.seq, price.sent
        return 1


class Handed:
    """The clients that the reader reads from: those that have subscribed."""

    def __init__(
        self, library: Path, answer: Callable[[Client, bytes], None], drop: Callable[[Client, str], None], problem: Callable[[str], None]
    ) -> None:
        self._clients: list[Client] = []  # by number
        self._stopped: set[int] = set()  # numbers
        self.reader = Reader(
            library,
            other=lambda number, payload: answer(self._clients[number], payload),
            lost=lambda number, reason: self._lose(number, reason, drop),
            hole=lambda number, text: problem(f"client {self._clients[number].fd}: {text}"),
        )
        self.fd = self.reader.fd

    def take(self, client: Client) -> None:
        """Read from a client that nobody else reads from."""
        client.number = self.reader.add(client.fd, client.rest, client.following)
        assert client.number == len(self._clients)
        self._clients.append(client)

    def watch(self, client: Client, on: bool) -> None:
        """Begin or stop to read from a client; one that has stopped is not compared."""
        assert client.number is not None
        self.reader.watch(client.number, on)
        self._stopped ^= {client.number}

    def unequal(self) -> int:
        """Return the number of clients without exactly the messages of their topics."""
        return sum(
            not self.reader.complete(number, client.plan.pairs)
            for number, client in enumerate(self._clients)
            if number not in self._stopped and not client.plan.visits
        )

    def forget(self) -> None:
        """Compare no client that is known now: their connections are closed."""
        self._stopped.update(range(len(self._clients)))

    def _lose(self, number: int, reason: str, drop: Callable[[Client, str], None]) -> None:
        self._stopped.add(number)
        drop(self._clients[number], reason)
