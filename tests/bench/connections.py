"""The cost of a connection: clients connect and subscribe, one after the other or many at a time.

`measure` works on any peer with the protocol `socketio`. `returning` needs `since`, which Tickwire
alone has. A client counts from `connect()` until it has its subscription and every missed price.
"""

from __future__ import annotations

import gc
import select
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.bench.client import Client, Plan
from tests.bench.frames import FrameError, Walker
from tests.bench.servers import BenchError, Server

TOGETHER = {"one": 1, "some": 64, "all": 2000}  # name -> clients in progress at the same time
_STILL_SECONDS = 20.0  # without any progress


@dataclass(slots=True)
class Cost:
    """The cost of one run of connections."""

    cpu_us: float  # of the server, per client
    per_s: float
    times: list[float] = field(repr=False)  # seconds from `connect()` to the last packet, per client, sorted

    def percentile(self, share: float) -> float:
        """Return a percentile of the times in ms."""
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))] * 1e3


class Arrivals:
    """Clients that connect, and then stay idle. `missed` prices arrive after the subscription."""

    def __init__(self, plans: Sequence[Plan], together: int, missed: int = 0) -> None:
        self._left = list(reversed(plans))
        self._together = together
        self._missed = missed
        self._epoll = select.epoll()
        self._walker = Walker()
        self._clients: dict[int, Client] = {}  # fd -> client, those that are complete too
        self._began: dict[int, float] = {}  # fd -> monotonic time of the `connect()` of each incomplete one
        self._prices: dict[int, int] = {}  # fd -> prices received
        self.times: list[float] = []

    def run(self) -> float:
        """Connect all; return the seconds it took. Raises `BenchError`."""
        start = moved = time.monotonic()
        while self._left or self._began:
            while self._left and len(self._began) < self._together:
                self._open(Client(self._left.pop()))
            for fd, event in self._epoll.poll(1.0, 4096):
                moved = time.monotonic()
                self._advance(self._clients[fd], event)
            if time.monotonic() - moved > _STILL_SECONDS:
                raise BenchError(f"{len(self._began)} clients wait for their subscription")
        return time.monotonic() - start

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.socket.close()
        self._epoll.close()

    def _open(self, client: Client) -> None:
        self._began[client.fd] = time.monotonic()
        self._clients[client.fd] = client
        self._prices[client.fd] = 0
        self._epoll.register(client.fd, select.EPOLLOUT)

    def _advance(self, client: Client, event: int) -> None:
        try:
            if event & select.EPOLLOUT:
                client.begin()
                self._epoll.modify(client.fd, select.EPOLLIN)
            else:
                self._receive(client)
        except (OSError, FrameError) as error:
            raise BenchError(f"a client failed to connect: {error}") from None

    def _receive(self, client: Client) -> None:
        self._prices[client.fd] += client.receive(self._walker)
        if client.done and self._prices[client.fd] >= self._missed and client.fd in self._began:
            self.times.append(time.monotonic() - self._began.pop(client.fd))
            self._epoll.modify(client.fd, 0)  # complete: later packets stay in the kernel


@contextmanager
def connected(server: Server, plans: Sequence[Plan], together: int, missed: int = 0) -> Iterator[Cost]:
    """Connect clients, yield their cost, and close them.

    `missed` is the number of prices that each client receives beside its subscription.
    """
    arrivals = Arrivals(plans, together, missed)
    gc.disable()
    try:
        cpu = server.cpu()
        seconds = arrivals.run()
        cpu = server.cpu() - cpu
        yield Cost(cpu / len(plans) * 1e6, len(plans) / seconds, sorted(arrivals.times))
    finally:
        arrivals.close()
        gc.enable()


def measure(server: Server, pairs: Sequence[str], clients: int = 2000, rounds: int = 1) -> dict[str, float]:
    """Return µs of CPU per connection, connections/s and percentiles for each row of `TOGETHER`.

    Each client subscribes to `pairs`; without them it stays without a subscription. `uss_kib` is
    the memory of an idle client. With more rounds, the smallest figures count: other programs only
    add to them.
    """
    plans = [Plan(server.port, "socketio", tuple(pairs), greeting=server.peer.greeting)] * clients
    with connected(server, plans[:200], 32):
        pass
    figures: dict[str, float] = {}
    for name, together in TOGETHER.items():
        costs = []
        for _ in range(rounds):
            _settle(server)
            before = server.memory().uss
            with connected(server, plans, together) as cost:
                costs.append(cost)
                if name == "one":
                    _settle(server)
                    figures.setdefault("uss_kib", (server.memory().uss - before) / clients / 1024)
        best = min(costs, key=lambda cost: cost.cpu_us)
        figures |= {f"{name}_cpu_us": best.cpu_us, f"{name}_per_s": best.per_s, f"{name}_p99_ms": best.percentile(0.99)}
    return figures


def returning(server: Server, positions: Sequence[tuple[str, str, int]], missed: int, clients: int = 2000) -> dict[str, float]:
    """Return the figures of clients that come back with `since`, 64 at a time and all at once.

    `positions` has (pair, epoch, seq) of each pair; each client misses `missed` prices of all pairs
    together.
    """
    pairs = tuple(pair for pair, _, _ in positions)
    plan = Plan(server.port, "socketio", pairs, tuple(positions), greeting=server.peer.greeting)
    figures: dict[str, float] = {}
    for name in ("some", "all"):
        _settle(server)
        with connected(server, [replace(plan)] * clients, TOGETHER[name], missed) as cost:
            figures |= {f"storm_{name}_cpu_us": cost.cpu_us, f"storm_{name}_per_s": cost.per_s}
            figures |= {f"storm_{name}_p50_ms": cost.percentile(0.5), f"storm_{name}_p99_ms": cost.percentile(0.99)}
    return figures


def _settle(server: Server) -> None:
    """Wait until the server has no work left: the ends of earlier clients would count."""
    last = server.cpu()
    for _ in range(50):
        time.sleep(0.2)
        now = server.cpu()
        if now - last < 0.01:
            return
        last = now
