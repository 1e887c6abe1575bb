"""Errors of the bus, and the one place that makes them of Redis's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis


class BusError(Exception):
    """The bus cannot be reached or does not work at the moment. The call may be repeated."""


class BusFull(BusError):
    """The store is too far behind. Nothing was accepted; the call may be repeated later."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise `BusError` for every `redis.RedisError`, so that none of them leaves `db.bus`."""
    try:
        yield
    except redis.RedisError as error:
        raise BusError(f"{type(error).__name__}: {error}") from error
