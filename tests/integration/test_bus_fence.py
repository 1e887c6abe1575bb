"""Fences on a real Redis: a process that has lost a duty publishes for it no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from db import topics
from db.bus import Bus, BusFenced, Fence
from tests.integration.test_bus import CANDLE, tick, trade

EARLIER, LATER = Fence("source:test", 7), Fence("source:test", 8)

PUBLISH: dict[str, Callable[[Bus, Fence, str], object]] = {
    topics.PRICES: lambda bus, fence, batch_id: bus.publish_prices([tick()], batch_id, fence=fence),
    topics.TRADES: lambda bus, fence, batch_id: bus.publish_trades([trade(1)], batch_id, fence=fence),
    topics.CANDLES: lambda bus, fence, batch_id: bus.publish_candles([("EUR_USD", "M1", CANDLE)], fence=fence),
    topics.DATA_READY: lambda bus, fence, batch_id: bus.publish(topics.DATA_READY, "hourly", {}, batch_id, fence=fence),
}


def entries(bus: Bus, channel: str) -> int:
    return int(bus._redis.xlen(topics.stream_key(channel)))


@pytest.mark.parametrize("channel", PUBLISH)
def test_former_holder_of_a_duty_publishes_nothing(bus: Bus, channel: str) -> None:
    publish = PUBLISH[channel]
    publish(bus, EARLIER, "a/1")
    publish(bus, LATER, "b/1")
    with pytest.raises(BusFenced) as raised:
        publish(bus, EARLIER, "a/2")
    assert (raised.value.stored, entries(bus, channel)) == (8, 2)
    publish(bus, Fence("source:other", 1), "c/1")  # each duty has a number of its own
    publish(bus, Fence("", 0), "d/1")  # no duty: not checked
    assert entries(bus, channel) == 4


@pytest.mark.parametrize("channel", [topics.PRICES, topics.TRADES])
def test_repeat_of_an_accepted_batch_is_answered_although_it_is_fenced(bus: Bus, channel: str) -> None:
    first = PUBLISH[channel](bus, EARLIER, "a/1")
    PUBLISH[channel](bus, LATER, "b/1")
    assert PUBLISH[channel](bus, EARLIER, "a/1") == first
    assert entries(bus, channel) == 2


def test_fence_that_cannot_be_read_is_replaced(bus: Bus) -> None:
    bus._redis.hset(topics.FENCE_KEY, EARLIER.duty, "x")
    bus.publish_prices([tick()], fence=EARLIER)
    with pytest.raises(BusFenced):
        bus.publish_prices([tick()], fence=Fence(EARLIER.duty, 6))
