"""A rolling deploy: two hubs behind HAProxy are replaced one by one, under load."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from config.settings import Settings
from db.bus import Bus
from tests.conftest import until
from tests.support.answers import get
from tests.support.background import in_background
from tests.support.polling import PATIENCE
from tests.support.ports import free_port
from tests.support.processes import Web
from tests.support.proxies import Proxy, program
from tests.support.swarm import Swarm

CLIENTS = 200
PAIRS = ("EUR_USD", "GBP_USD", "USD_JPY", "AUD_USD", "EUR_GBP", "EUR_JPY", "USD_CAD", "USD_CHF", "NZD_USD", "EUR_CHF")
RATE = 100  # messages a second, of all instruments together
DELAY, SECONDS = 1.0, 4.0
MOMENT = datetime(2025, 11, 18, tzinfo=UTC)


class Prices:
    """Publishes `PAIRS` in turn, `RATE` prices a second."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.last = dict.fromkeys(PAIRS, 0)

    def publish(self, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(1 / RATE):
            pair = PAIRS[number % len(PAIRS)]
            self.last[pair] = self._bus.cache_price(pair, bid="1.1", ask="1.3", mid="1.2", time=MOMENT).seq
            number += 1


def clients_of(hub: Web) -> int:
    status, body = get(hub.url, "/hub/health")
    return int(orjson.loads(body)["sessions"]) if status else -1


def most_in_a_second(moments: Iterable[float]) -> int:
    """The largest number of monotonic times within one second."""
    times = sorted(moments)
    return max(bisect_left(times, begin + 1.0) - number for number, begin in enumerate(times))


@pytest.mark.slow
def test_hubs_replaced_one_by_one_lose_no_message_of_any_client(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    program("haproxy")
    drain = {"HUB_DRAIN_DELAY": f"{DELAY:g}", "HUB_DRAIN_SECONDS": f"{SECONDS:g}"}
    prices = Prices(bus)
    with (
        Web("hub", settings, tmp_path / "hub1.log", **drain) as first,
        Web("hub", settings, tmp_path / "hub2.log", **drain) as second,
        Proxy("haproxy", tmp_path / "haproxy", hubs=(first, second), rest=free_port()) as proxy,
        Swarm(proxy.port, PAIRS, CLIENTS) as swarm,
    ):
        members = swarm.members
        until(lambda: all(member.held for member in members), 60, "the subscriptions of all clients")
        assert min(clients_of(first), clients_of(second)) >= CLIENTS // 4, "the proxy does not spread the clients"
        seen = 0
        with in_background(prices.publish):
            for name, hub in (("hub1", first), ("hub2", second)):
                leaving = clients_of(hub)
                assert hub.ask_to_stop(60) == 0
                until(lambda: all(member.held for member in members), 60, "the return of all clients")
                hub.start()
                until(lambda name=name: proxy.output().rstrip().rpartition(f"least_busy/{name} is ")[2].startswith("UP"), 60)  # type: ignore[misc]
                returns = sorted((each for member in members for each in member.returns), key=lambda each: each.back)[seen:]
                seen += len(returns)
                assert len(returns) == leaving > 0, "a client that did not return once"
                assert all(each.back - each.closed <= each.retry_after + PATIENCE for each in returns)
                # A busy machine may delay some of them; without slices all come in one second.
                assert most_in_a_second(each.back for each in returns) <= PATIENCE * leaving / SECONDS
                assert most_in_a_second(each.closed for each in returns) <= PATIENCE * leaving / SECONDS
        for member in members:
            last = prices.last[member.pair]
            until(lambda member=member, last=last: member.seqs[-1] == last, 30, f"price {last} of {member.pair}")  # type: ignore[misc]
            assert member.seqs == list(range(1, last + 1))
            assert member.unrecovered == 0
        assert clients_of(first) + clients_of(second) == CLIENTS
