"""Clients that stop reading: the kernel keeps little for each, and conflation begins early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from db import topics
from db.bus import Bus
from db.messages import Tick
from tests.bench.measure import kernel_bytes
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import WebSocket
from tests.conftest import until
from tests.support.processes import Web

CLIENTS = 50
RECEIVE_BYTES = 4096
UNSENT_LIMIT = 64 * 1024  # of a client in the kernel
OUTBOX_LIMIT = 256 * 1024
PUBLISHED_BYTES = 4_000_000
PAIRS = ("EUR_USD", "GBP_USD", "USD_JPY", "AUD_USD")
RELAYED, CONFLATED = "tickwire_hub_relayed_total", "tickwire_hub_conflated_total"


class Client(WebSocket):
    """A client of the namespace `/` that holds `PAIRS`, with a small receive buffer."""

    def __init__(self, hub: Web) -> None:
        super().__init__(Server("127.0.0.1", hub.port), "/socket.io/", receive_bytes=RECEIVE_BYTES)
        self.send("40", f'42["subscribe",{{"pairs":{orjson.dumps(PAIRS).decode()}}}]')
        while "subscription_confirmed" not in str(self.packet()):
            pass

    def event(self) -> tuple[str, Any]:
        """Return name and body of the next event."""
        packet = self.packet()
        assert isinstance(packet, str)
        name, body = orjson.loads(packet.removeprefix("42"))
        return name, body


@pytest.fixture
def publish(shared_bus: Bus, shared_hub: Web) -> Any:
    """Publish prices of all pairs, wait for the hub, and return the number of their bytes."""

    def published(count: int) -> int:
        before = shared_hub.metric(RELAYED)
        for _ in range(count // len(PAIRS)):
            shared_bus.publish_prices([Tick(pair, "1.1", "1.2", "1.15", "2025-11-18T12:30:00.000000Z", "flood") for pair in PAIRS])
        until(lambda: shared_hub.metric(RELAYED) == before + count, 60, "the prices in the hub")
        return sum(len(entry.body) for entry in islice(shared_bus.backwards(topics.PRICES), count))

    return published


def send_queues(port: int) -> list[int]:
    """Return the bytes in the send queue (`TIOCOUTQ`) of each connection of the hub."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return [int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == established]


@pytest.fixture
def stalled(shared_hub: Web) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Client(shared_hub)) for _ in range(CLIENTS)]


def test_kernel_keeps_little_for_each_stalled_client(stalled: list[Client], shared_hub: Web, publish: Any) -> None:
    before, published = kernel_bytes(), 0
    while published < PUBLISHED_BYTES:
        published += publish(4000)
    queues = send_queues(shared_hub.port)
    assert sum(queue > 0 for queue in queues) >= CLIENTS, "they are stalled"
    assert max(queues) <= UNSENT_LIMIT
    # Sockets of other tests count too, for a while.
    until(lambda: kernel_bytes() - before <= CLIENTS * UNSENT_LIMIT, what="little memory of the kernel")


def test_conflation_begins_within_the_budget_and_loses_no_latest_price(shared_hub: Web, publish: Any) -> None:
    with Client(shared_hub) as client:
        before, published, count = shared_hub.metric(CONFLATED), 0, 0
        while shared_hub.metric(CONFLATED) == before:
            published += publish(40)
            count += 40
        assert OUTBOX_LIMIT / 2 < published <= OUTBOX_LIMIT + UNSENT_LIMIT + 2 * RECEIVE_BYTES
        publish(400)
        seqs: dict[str, list[int]] = defaultdict(list)
        while (received := client.event())[0] == "price_update":
            seqs[received[1]["instrument"]].append(received[1]["seq"])
        assert received[0] == "gap_notice"
        for pair in PAIRS:
            assert seqs[pair] == sorted(set(seqs[pair])), "no duplicate"
            assert seqs[pair][-1] == seqs[pair][0] + (count + 400) // len(PAIRS) - 1, "the latest price"
            assert len(seqs[pair]) + received[1]["dropped"][pair] == (count + 400) // len(PAIRS)
