"""The process of the books with recordings of raw messages, and with live depth of futures.

A client on the bus verifies each message and each checksum.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.settings import Settings
from db.bus import Bus, Subscriptions
from db.postgres import Store
from db.timestamps import utc_now
from health.reports import read_processes
from tests.conftest import Servers, new_ground, until
from tests.standins.binance import BinanceStandIn
from tests.standins.binance_depth import DepthBooks
from tests.standins.binance_market import DEPTH_RECORDINGS, recorded
from tests.support.book_follower import Follower, subscribe
from tests.support.bus import source_changes
from tests.support.processes import Running, books
from tests.support.store import select


@dataclass
class Place:
    """A database and a bus of this module, and a client of books."""

    settings: Settings
    bus: Bus
    store: Store
    folder: Path
    subscription: Subscriptions
    client: Follower = field(default_factory=Follower)

    @contextmanager
    def running(self, **variables: str) -> Iterator[Running]:
        """A process of the books with a new client."""
        self.client = Follower()
        while self.subscription.read(0.2):
            pass  # messages of the process before
        with books(self.settings, self.folder / "books.log", HEARTBEAT_INTERVAL="0.5", **variables) as process:
            yield process
            assert self.client.problems == []
            assert process.ask_to_stop() == 0

    def await_client(self, condition: Callable[[Follower], object], what: str = "the client") -> None:
        def holds() -> object:
            self.client.read(self.subscription)
            return condition(self.client)

        until(holds, 20, lambda: f"{what}: {self.client.states[-8:]} {(self.folder / 'books.log').read_text()[-3000:]}")

    def states(self) -> Mapping[str, str]:
        """instrument -> state, in the newest heartbeat."""
        return dict(self.client.heartbeats[-1]["books"]) if self.client.heartbeats else {}

    def source_states(self) -> list[str]:
        """The published states of the live source."""
        return [change["state"] for change in source_changes(self.bus) if change["source"] == "binance-depth"]

    def sources(self) -> dict[str, Any]:
        found = [each.report for each in read_processes(self.bus, utc_now()).expected() if each.role == "books"]
        return next((dict(each.part("sources")) for each in found if each is not None and each.acting), {})


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("live")
    with ExitStack() as stack:
        settings, bus, store, _ = stack.enter_context(new_ground(servers, folder))
        subscription = stack.enter_context(closing(subscribe(bus)))
        yield Place(settings, bus, store, folder, subscription)


def test_lost_exchange_of_futures_is_stale_and_returns(place: Place, tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, market="usdm", symbols=("BTCUSDT",), speed=4) as exchange, place.running(**exchange.book_variables):
        place.await_client(lambda client: place.states() == {"BTCUSDT": "live"}, "the book")
        exchange.control("vanish", seconds=1)
        place.await_client(lambda client: ("resyncing", "live", "disconnected") in client.states, "the book after the outage")
        steps = [("live", "stale"), ("stale", "resyncing"), ("resyncing", "live")]
        assert place.client.states[2:] == [(*step, "disconnected") for step in steps]
        until(lambda: place.source_states()[-1:] == ["live"], 20, lambda: str(place.source_states()))
        assert {"live", "backing_off", "connecting"} <= set(place.source_states())


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_recording_is_played_to_its_end(place: Place, tmp_path: Path, market: str) -> None:
    file = tmp_path / f"{market}.txt"
    with gzip.open(DEPTH_RECORDINGS[market]["BTCUSDT"]) as lines:
        file.write_bytes(b"".join(islice(lines, 10_000)))
    [last] = [json.loads(line.partition(b" ")[2])["data"]["u"] for line in file.read_bytes().splitlines() if b"@depth" in line][-1:]
    gaps = select(place.store, "SELECT count(*) FROM gaps")
    with place.running(SOURCES=f"replay:{file}@max"):
        place.await_client(lambda client: (place.bus.book_rows().get("BTCUSDT") or {}).get("update_id") == last, "the last diff")
        until(lambda: place.sources().get(f"replay:{file.name}", {}).get("state") == "ended", 20, lambda: str(place.sources()))
        bids, asks = DepthBooks(recorded(["BTCUSDT"], kind=market)).at("BTCUSDT", last, 20)
        newest = orjson.loads(place.bus.latest_book("BTCUSDT", 20) or b"{}")["snapshot"]
        assert (newest["bids"], newest["asks"]) == (bids, asks)
    assert select(place.store, "SELECT count(*) FROM gaps") == gaps  # of live books only
    assert select(place.store, "SELECT count(*) FROM book_tops") == [(0,)]
