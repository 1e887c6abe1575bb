"""Measures the fan-out of the checkout in PYTHONPATH; writes one JSON object to stdout.

It uses the methods of `Fanout` that every version has.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from api.hub.fanout import Fanout
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import event

_BODY = b'{"instrument":"%s","price":{"bid":"1.09438","ask":"1.09452","mid":"1.09445","time":"2025-11-18T12:34:56.789123Z"},"seq":812}'
_PERIODS = 60


class _Owner:
    def blocked(self) -> None:
        raise AssertionError("/dev/null takes everything")

    queued = overflowed = broken = blocked


class World:
    """A fan-out with a manual clock; `sent` has the messages of each tick of the first client."""

    def __init__(self, symbols: Sequence[str], clients: int, rate: float) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.fanout = Fanout(lambda: self.now, self._call_later)
        self.frames = [(f"price_{each}", event("price_update", _BODY % each.encode(), each)) for each in symbols]
        self._null = os.open(os.devnull, os.O_WRONLY)
        self.sent: Counter[float] = Counter()
        for client in range(clients):
            box = Outbox(_Owner(), 0)
            box.open(self._count if client == 0 else lambda data: os.write(self._null, data))
            self.fanout.add(str(client), box)
            self.fanout.join(str(client), [room for room, _ in self.frames], rate)

    def _call_later(self, seconds: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (self.now + seconds, next(self._order), function))

    def _count(self, data: bytes) -> int:
        self.sent[round(self.now, 6)] += data.count(b'"seq"')
        return os.write(self._null, data)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            self.now, _, function = heapq.heappop(self._calls)
            function()
        self.now = end

    def publish(self) -> None:
        for room, frame in self.frames:
            self.fanout.broadcast((room,), frame)
        self.fanout.flush()


def cpu_per_message(world: World, period: float, periods: int) -> float:
    """Return µs per delivered message; each instrument has two prices in a period."""
    best = float("inf")
    for _ in range(5):
        before, began = world.fanout.delivered, time.process_time()
        for _ in range(2 * periods):
            world.publish()
            world.advance(period / 2)
        best = min(best, (time.process_time() - began) / (world.fanout.delivered - before) * 1e6)
    return best


def ticks(world: World) -> tuple[float, float]:
    """Return the largest tick, and its ratio to the mean of the slots.

    200 random instruments have a price every 5 ms.
    """
    chance = random.Random(17)
    for _ in range(1000):
        for room, frame in chance.sample(world.frames, 200):
            world.fanout.broadcast((room,), frame)
        world.fanout.flush()
        world.advance(0.005)
    whole = [number for when, number in world.sent.items() if when >= 1]
    slots = 40 * 4  # in the four whole seconds
    return max(whole), max(whole) / (sum(whole) / slots)


def main() -> None:
    """Measure and print."""
    names = [f"SYM_{number:04}" for number in range(5000)]
    largest, ratio = ticks(World(names, 1, 1.0))
    figures = {
        "joint_us": cpu_per_message(World(names[:20], 300, 5.0), 0.2, _PERIODS),
        "slots_us": cpu_per_message(World(names[:1000], 20, 1.0), 1.0, _PERIODS // 10),
        "tick_max": largest,
        "tick_ratio": ratio,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
