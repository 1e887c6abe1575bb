"""Hubs: CPU of a fixed number of deliveries over 1 to 8 hubs, of a relayed message, of a send."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from tests.bench.bars import Bar, Measured
from tests.bench.client import Plan
from tests.bench.control import LoadGenerator
from tests.bench.feed import Feed
from tests.bench.servers import BenchError, Server
from tests.scale.ground import HUB_HOSTS, HUB_PORT, Ground

COUNTS = (1, 2, 4, 8)
CLIENTS, DELIVERIES_PER_S = 2000, 20_000
LOAD_SHARE = 0.6  # of a hub's CPU
EFFICIENCY = Bar("1 − R·ρ / 0.6", 0.95, at_least=True)
_SECONDS, _QUICK_SECONDS, _WARM_SECONDS = 4.0, 2.0, 0.5
_RELAYED = ((100, 1), (1000, 10), (1000, 1))  # messages per second, and in one batch
_JUDGED = _RELAYED[:2]  # lone messages at 1,000/s are printed alone: sources send batches at such rates
_SYNC_OFF = ("--appendfsync", "everysec")  # a hub's cost is measured, and one publisher is fast enough
_ROOMS = 20
_TOGETHER = 16  # a hub refuses more than 20 sessions of one address that have not joined


def spread(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure 20,000 deliveries/s to 2,000 clients in one room, over 1, 2, 4 and 8 hubs."""
    alone = 0.0
    with ExitStack() as stack:
        node = stack.enter_context(place.redis("r1", *_SYNC_OFF))
        bus = stack.enter_context(place.bus(node.url))
        hubs: list[Server] = []
        for count in COUNTS:
            for host in HUB_HOSTS[len(hubs) : count]:
                hubs.append(stack.enter_context(place.hub(host, node.url)))
            feed = Feed(bus, place.instruments[:1], 1, CLIENTS / DELIVERIES_PER_S)
            plans = [_plan(place, HUB_HOSTS[number % count], place.instruments[:1]) for number in range(CLIENTS)]
            found = _cpu_per_delivery(place, hubs, feed, plans, _QUICK_SECONDS if quick else _SECONDS)
            alone = alone or found
            yield Measured(f"N = {count}", found, text="CPU µs per delivery, summed over the hubs")
            yield Measured(f"N = {count}", found / alone, text="÷ N = 1")


def relay(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure ρ, the cost of a message in a hub without clients."""
    with place.redis("r1", *_SYNC_OFF) as node, place.bus(node.url) as bus, place.hub("h1", node.url) as hub:
        seconds = _QUICK_SECONDS if quick else _SECONDS
        _warm(Feed(bus, place.instruments, 1, 0.01))
        idle = _cpu(hub, lambda: time.sleep(seconds)) / seconds
        for rate, size in _RELAYED:
            feed = Feed(bus, place.instruments, size, size / rate)
            began = time.monotonic()
            used = _cpu(hub, lambda: feed.steady(round(rate / size * seconds)))  # noqa: B023 (it is called at once)
            took = time.monotonic() - began
            cost = (used - idle * took) / (rate * seconds)
            case = f"R = {rate:,}/s, {'lone' if size == 1 else f'in batches of {size}'}"
            yield Measured(case, cost * 1e6, text="ρ: CPU µs per message and hub")
            yield Measured(case, rate * seconds / took, text="published per second")
            yield Measured(case, 1 - rate * cost / LOAD_SHARE, EFFICIENCY if (rate, size) in _JUDGED else None, EFFICIENCY.text)


def send(place: Ground, quick: bool) -> Iterator[Measured]:
    """Measure µ, the cost of a send to one client: 20 prices on one beat, and a lone price."""
    seconds = _QUICK_SECONDS if quick else _SECONDS
    with place.redis("r1", *_SYNC_OFF) as node, place.bus(node.url) as bus, place.hub("h1", node.url) as hub:
        rooms = place.instruments[:_ROOMS]
        for label, chosen, clients, per_beat, beat in (
            ("20 prices on one beat", rooms, 300, len(rooms), 0.1),
            ("a lone price", rooms[:1], 500, 1, 0.01),
        ):
            feed = Feed(bus, chosen, per_beat, beat)
            plans = [_plan(place, "h1", chosen)] * clients
            found = _cpu_per_delivery(place, [hub], feed, plans, seconds) * per_beat
            yield Measured(label, found, text="µ: CPU µs per send")


def _cpu_per_delivery(place: Ground, hubs: Sequence[Server], feed: Feed, plans: Sequence[Plan], seconds: float) -> float:
    """Return the µs of CPU of all hubs per delivery. Raises `BenchError` if one is missing."""
    receivers = Counter(pair for plan in plans for pair in plan.pairs)
    with LoadGenerator(native=True, prefix=place.clients.argv()) as load:
        load.connect(plans, together=_TOGETHER)
        _warm(feed)
        time.sleep(_WARM_SECONDS)
        load.command("begin")
        before, cpu = feed.published.copy(), sum(hub.cpu() for hub in hubs)
        feed.steady(round(seconds / feed.beat))
        expected = sum(count * receivers[name] for name, count in (feed.published - before).items())
        complete = load.wait(expected, 30.0)
        cpu = sum(hub.cpu() for hub in hubs) - cpu
        report = load.command("report")
    if not complete or report["received"] != expected or report["problem_count"] or report["unequal"]:
        raise BenchError(f"received {report['received']} of {expected} deliveries; {report['problems']}")
    return cpu / expected * 1e6


def _plan(place: Ground, host: str, pairs: Sequence[str]) -> Plan:
    return Plan(HUB_PORT, "socketio", tuple(pairs), greeting=True, host=place.address(host))


def _cpu(hub: Server, work: Callable[[], object]) -> float:
    before = hub.cpu()
    work()
    return hub.cpu() - before


def _warm(feed: Feed) -> None:
    feed.steady(max(1, round(_WARM_SECONDS / feed.beat)))
