"""Requests of all REST processes, counted in Redis by the package `limits` (sliding window)."""

from __future__ import annotations

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from db import topics
from db.bus.connection import Connection
from db.bus.errors import translated


class RequestWindows:
    """The windows of all callers, on the connections of a bus. Every method raises `BusError`."""

    def __init__(self, bus: Connection) -> None:
        self._storage = RedisStorage("redis://", connection_pool=bus.connection_pool, key_prefix=topics.LIMITS_PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    def take(self, caller: str, count: int, seconds: int, cost: int) -> bool:
        """Count `cost` requests, or none if fewer are left of `count` in `seconds`."""
        with translated():
            return self._limiter.hit(_item(count, seconds), caller, cost=cost)

    def counts(self, caller: str, count: int, seconds: int) -> tuple[int, float, int, float]:
        """The requests of the former window, its seconds left, and the same of the present one."""
        item = _item(count, seconds)
        with translated():
            return self._storage.get_sliding_window(item.key_for(caller), item.get_expiry())


def _item(count: int, seconds: int) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(count, seconds)
