"""The load generator: a separate process with thousands of WebSocket clients on one epoll.

It verifies every received message. It reads JSON commands from stdin, one per line, and writes one
line per response to stdout. The file named as argument contains the number of received prices in
eight bytes; the publisher maps the file too. With a second argument, the library of `reader.c`, C
reads from the clients that have subscribed.
"""

from __future__ import annotations

import gc
import json
import mmap
import select
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.client import Client, Plan
from tests.bench.frames import FrameError, Walker
from tests.bench.histogram import Histogram
from tests.bench.reader import Handed
from tests.bench.visitors import Visitors

_READ = 65536
_TOGETHER = 32  # connections opened at the same time
_MOST_PROBLEMS = 20  # reported as text; further ones are counted only
_COUNT = struct.Struct("Q")


class Load:
    """All clients of one server."""

    def __init__(self, progress: mmap.mmap, library: Path | None = None) -> None:
        self._progress = progress
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}  # fd -> client
        self._handed = Handed(library, self._answer, self._drop, self._report_problem) if library else None
        self._visitors: Visitors | None = None
        self._walker = Walker()
        self._waiting: list[Plan] = []  # not yet connected; the last one is next
        self._connected = 0
        self._received = 0
        self._problems: list[str] = []
        self._problem_count = 0
        self._snapshots = self._holes = 0  # of books, since the start; missed messages before a snapshot
        self._latency = Histogram()
        self._first = self._last = 0.0  # arrival of the first and last price of this phase
        self._cpu = time.process_time()
        self._commands: dict[str, Callable[..., dict[str, Any]]] = {
            "connect": self.connect, "begin": self.begin, "report": self.report, "stall": self.stall, "resume": self.resume,
            "close": self.close, "visit": self.visit,
        }  # fmt: skip

    def serve(self) -> None:
        """Run commands until stdin ends."""
        stdin = sys.stdin.fileno()
        self._epoll.register(stdin, select.EPOLLIN)
        if self._handed:
            self._epoll.register(self._handed.fd, select.EPOLLIN)
        while True:
            command_waits = self.turn(stdin, self._visitors.change(time.monotonic()) if self._visitors else None)
            if command_waits and not (line := sys.stdin.readline()):
                return
            if command_waits:
                command = json.loads(line)
                response = self._commands[command.pop("do")](**command)
                print(json.dumps(response), flush=True)

    def turn(self, stdin: int = -1, wait: float | None = None) -> bool:
        """Read from every readable client; return whether a command waits."""
        command_waits = False
        for fd, event in self._epoll.poll(wait, 4096):
            if fd == stdin:
                command_waits = True
            elif self._handed and fd == self._handed.fd:
                self._handed.reader.turn()
            elif event & select.EPOLLOUT:
                self._start(self._clients[fd])
            else:
                self._receive(self._clients[fd])
        _COUNT.pack_into(self._progress, 0, self._total())
        return command_waits

    def _total(self) -> int:
        return self._received + (self._handed.reader.received if self._handed else 0)

    # commands

    def connect(self, seconds: float, plans: list[dict[str, Any]], together: int = _TOGETHER, **common: Any) -> dict[str, Any]:
        """Connect clients by their plans, `together` at the same time."""
        self._waiting = [Plan(**plan, **common) for plan in reversed(plans)]
        wanted = self._connected + len(plans)
        began = time.monotonic()
        for _ in range(together):
            self._open_next()
        while self._connected < wanted and time.monotonic() < began + seconds and not self._problem_count:
            self.turn(wait=1.0)
        gc.collect()
        gc.freeze()
        gc.disable()
        return {"connected": self._connected, "seconds": time.monotonic() - began, "problems": self._problems}

    def begin(self) -> dict[str, Any]:
        """Begin a phase: reset counts and latencies, keep the positions in the topics."""
        self._received = 0
        self._latency.clear()
        if self._handed:
            self._handed.reader.begin()
        self._first = self._last = 0.0
        self._cpu = time.process_time()
        _COUNT.pack_into(self._progress, 0, 0)
        return {}

    def report(self) -> dict[str, Any]:
        """Return the counts and latencies of this phase.

        `unequal` are the clients without exactly the messages of their topics, by C alone.
        """
        first, last = self._handed.reader.span if self._handed else (self._first, self._last)
        latency = self._handed.reader if self._handed else self._latency
        p50, p99, most = latency.percentiles(0.5, 0.99, 1.0)
        return {
            "received": self._total(), "first": first, "last": last, "p50": p50, "p99": p99, "max": most,
            "cpu": time.process_time() - self._cpu, "clients": self._connected,
            "problem_count": self._problem_count, "problems": self._problems, "unequal": self._handed.unequal() if self._handed else 0,
            "snapshots": self._snapshots, "holes": self._holes,
        }  # fmt: skip

    def stall(self) -> dict[str, Any]:
        """Stop reading for every client with `stalls` in its plan."""
        return {"stalled": self._watch_stalling(False)}

    def resume(self) -> dict[str, Any]:
        """Read again from every client that has stopped."""
        self._watch_stalling(True)
        return {}

    def _watch_stalling(self, on: bool) -> int:
        stalling = [client for client in self._clients.values() if client.plan.stalls]
        for client in stalling:
            if client.number is not None and self._handed:
                self._handed.watch(client, on)
            elif on:
                self._epoll.register(client.fd, select.EPOLLIN)
            else:
                self._epoll.unregister(client.fd)
        return len(stalling)

    def visit(self, per_second: float, seconds: float = 1.0, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let `per_second` clients come, each for `seconds`. Zero ends it; return their number."""
        if plan and per_second:
            self._visitors = Visitors(per_second, seconds, lambda: self._open(Plan(**plan)), self._leave)
            return {}
        arrived, self._visitors = self._visitors, None
        return {"visits": arrived.end() if arrived else 0}

    def close(self) -> dict[str, Any]:
        """Close every connection."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._connected = 0
        if self._handed:
            self._handed.forget()
        return {}

    # connections

    def _open_next(self) -> None:
        if self._waiting:
            self._open(self._waiting.pop())

    def _open(self, plan: Plan) -> Client:
        client = Client(plan)
        self._clients[client.fd] = client
        self._epoll.register(client.fd, select.EPOLLOUT)
        return client

    def _leave(self, client: Client) -> None:
        if client.number is not None and self._handed:
            self._handed.watch(client, False)
        self._clients.pop(client.fd, None)
        client.socket.close()

    def _start(self, client: Client) -> None:
        try:
            client.begin()
        except OSError as error:
            self._drop(client, f"cannot connect: {error}")
            return
        self._epoll.modify(client.fd, select.EPOLLIN)

    def _receive(self, client: Client) -> None:
        try:
            data = client.recv(_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(client, str(error))
            return
        now = time.time()
        if not data:
            self._drop(client, "connection closed by the server")
            return
        try:
            self._read_data(client, data, now)
        except FrameError as error:
            self._drop(client, str(error))

    def _read_data(self, client: Client, data: bytes, now: float) -> None:
        if client.rest:
            data = client.rest + data
            client.rest = b""
        if not client.upgraded:
            data = client.read_head(data)
            if client.upgraded and not client.plan.steps():
                self._begin_prices(client)
            if not data and not client.done:
                return
        chunk = self._walker.walk(data) if client.inflate is None else self._walker.walk_compressed(data, client.inflate)
        client.rest = chunk.rest
        self._count(client, chunk.runs)
        if chunk.prices:
            for sent, count in chunk.sent:
                self._latency.add(now - sent, count)
            self._received += chunk.prices
            self._last = now
            self._first = self._first or now
        for packet in chunk.others:
            self._answer(client, packet)
        if client.done and client.number is None and client.inflate is None and self._handed:
            self._epoll.unregister(client.fd)
            self._handed.take(client)

    def _count(self, client: Client, runs: tuple[tuple[str, int, int], ...]) -> None:
        following = client.following
        for topic, first, last in runs:
            wanted = following.get(topic)
            if first > last:
                self._snapshots += 1
                self._holes += wanted is not None and wanted < first
            elif wanted != first and wanted is not None:
                self._report_problem(f"client {client.fd}: {topic} {first} instead of {wanted}")
            following[topic] = last + 1

    def _answer(self, client: Client, packet: bytes) -> None:
        if packet == b"2":
            client.send(b"3")
        elif client.plan.stalls and packet.startswith(b'42["gap_notice"'):
            pass  # it counts the messages that a snapshot has replaced
        elif client.done:
            self._report_problem(f"client {client.fd}: unexpected {packet[:200]!r}")
        elif client.advance(packet):
            self._begin_prices(client)

    def _begin_prices(self, client: Client) -> None:
        client.done = True
        if self._visitors and client.plan.visits:
            self._visitors.arrived(client)
        else:
            self._connected += 1
            self._open_next()

    def _drop(self, client: Client, reason: str) -> None:
        self._report_problem(f"client {client.fd} lost: {reason}")
        self._connected -= client.done and not client.plan.visits
        self._clients.pop(client.fd, None)
        client.socket.close()

    def _report_problem(self, problem: str) -> None:
        self._problem_count += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(problem)


def main(progress: str, library: str = "") -> None:
    """Run the commands of the parent process."""
    with open(progress, "r+b") as file, mmap.mmap(file.fileno(), _COUNT.size) as shared:
        Load(shared, Path(library) if library else None).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
