"""Requests of all REST processes, counted in Redis by the package `limits` (sliding window)."""

from __future__ import annotations

from typing import Any

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from db import topics
from db.bus.connection import Connection


class RequestWindows:
    """The windows of all callers, on the connections of a bus. Every method raises `BusError`.

    A script counts two windows, so that all keys carry the tag of shard 0.
    """

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self._pool: Any = None

    def take(self, caller: str, count: int, seconds: int, cost: int) -> bool:
        """Count `cost` requests, or none if fewer are left of `count` in `seconds`."""
        with self._bus.on_first_node() as pool:
            self._use(pool)
            return self._limiter.hit(_item(count, seconds), caller, cost=cost)

    def counts(self, caller: str, count: int, seconds: int) -> tuple[int, float, int, float]:
        """The requests of the former window, its seconds left, and the same of the present one."""
        item = _item(count, seconds)
        with self._bus.on_first_node() as pool:
            self._use(pool)
            return self._storage.get_sliding_window(item.key_for(caller), item.get_expiry())

    def _use(self, pool: Any) -> None:
        """Use these connections: after a failover they lead to another server."""
        if pool is not self._pool:
            self._storage = RedisStorage("redis://", connection_pool=pool, key_prefix=self._bus.key(topics.LIMITS_PREFIX))
            self._limiter = SlidingWindowCounterRateLimiter(self._storage)
            self._pool = pool


def _item(count: int, seconds: int) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(count, seconds)
