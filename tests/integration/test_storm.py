"""2,000 clients come back at once with `since` while prices flow: no hole and no repetition."""

from __future__ import annotations

import resource
import select
import threading
import time
from collections.abc import Iterator

import pytest

from db import topics
from db.bus import Bus
from db.messages import Tick
from tests.bench.client import Client, Plan
from tests.bench.frames import Walker
from tests.support.background import in_background
from tests.support.processes import Web

CLIENTS = 2000
PAIRS = ("EUR_USD", "GBP_USD")
MISSED = 20  # prices of each pair
SECONDS = 300.0  # a deadline that only a broken hub reaches


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    """Without deadlines that a busy machine misses."""
    return {
        "WEBSOCKET_MAX_CLIENTS": str(CLIENTS),
        "AUTH_JOIN_SECONDS": str(SECONDS),
        "WEBSOCKET_PING_TIMEOUT": "300",
        "OUTBOX_TIMEOUT": "300",
        "OUTBOX_LIMIT_BYTES": "16000000",  # prices must not conflate while the machine serves other programs
    }


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough descriptors for all clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CLIENTS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"at most {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def publish(bus: Bus, count: int) -> int:
    """Publish prices of each pair; return the last `seq`."""
    time_text = "2025-11-18T12:00:00.000000Z"
    for _ in range(count):
        stamps = bus.publish_prices([Tick(pair, "1.1", "1.2", "1.15", time_text, "test") for pair in PAIRS])
    return stamps[-1].seq


class Crowd:
    """Clients that read; `walker` is shared, because most bytes are equal."""

    def __init__(self, plan: Plan) -> None:
        self._epoll = select.epoll()
        self._walker = Walker()
        self._ends = time.monotonic() + SECONDS
        self.clients = {client.fd: client for client in (Client(plan) for _ in range(CLIENTS))}
        for fd in self.clients:
            self._epoll.register(fd, select.EPOLLOUT)

    def read(self) -> None:
        """Serve every ready client once."""
        assert time.monotonic() < self._ends, f"{sum(not client.done for client in self.clients.values())} wait for a subscription"
        for fd, event in self._epoll.poll(1.0, 4096):
            client = self.clients[fd]
            if event & select.EPOLLOUT:
                client.begin()
                self._epoll.modify(fd, select.EPOLLIN)
            else:
                client.receive(self._walker)

    def close(self) -> None:
        for client in self.clients.values():
            client.socket.close()
        self._epoll.close()


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.usefixtures("descriptors")
def test_clients_that_return_while_prices_flow_have_every_price_once(shared_hub: Web, shared_bus: Bus) -> None:
    before = publish(shared_bus, 1)
    position = shared_bus.position(topics.PRICES, PAIRS[0])
    assert position is not None
    publish(shared_bus, MISSED)
    since = tuple((pair, position.epoch, before) for pair in PAIRS)
    crowd = Crowd(Plan(shared_hub.port, "socketio", PAIRS, since, greeting=True))
    for client in crowd.clients.values():
        client.following = dict.fromkeys(PAIRS, before + 1)

    def publish_more(stop: threading.Event) -> None:
        while not stop.wait(0.02):
            publish(shared_bus, 1)

    try:
        with in_background(publish_more):
            while not all(client.done for client in crowd.clients.values()):
                crowd.read()
        last = publish(shared_bus, 1)
        assert last > before + MISSED + 1
        wanted = dict.fromkeys(PAIRS, last + 1)
        while any(client.following != wanted for client in crowd.clients.values()):
            crowd.read()
    finally:
        crowd.close()
