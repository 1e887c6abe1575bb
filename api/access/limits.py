"""Budgets of requests, one for each caller. Pure: the clock is an argument.

A budget is a token bucket. Its tokens come back in steps, a tenth of them in each tenth of the
window, counted from the first request that found the bucket full.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import floor
from typing import Any, NamedTuple, Protocol

from api.access.model import Access
from api.access.peers import Peers
from config.fields import Rate

# Names of limits in the log of access.
RATE_REQUESTS, RATE_EVENTS = "RATE_REQUESTS", "RATE_EVENTS"
RATE_CONNECTIONS, RATE_CONNECTIONS_PER_IP = "RATE_CONNECTIONS", "RATE_CONNECTIONS_PER_IP"

REQUEST_COST = 1
EXPORT_COST = 20
ROWS_PER_TOKEN = 1000  # of a page, beyond the token of its request
PRICES_PER_TOKEN = 100  # of a batch, likewise

STEPS = 10  # in which the tokens of one window come back
MAX_CALLERS = 10_000  # whose buckets are kept


class Budget(NamedTuple):
    """The budget of a caller after a request. Times are in seconds.

    `reset` is the time until it is full. `retry_after` is set if the request is refused: the time
    until its cost is there.
    """

    limit: int
    remaining: int
    reset: float
    retry_after: float | None = None


class Budgets(Protocol):
    """The budgets of all callers."""

    def take(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost, or nothing if it is not there.

        A cost above the limit counts as the limit.
        """

    def spend(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost of work that is done, or all that is left."""


class _Bucket:
    """The tokens of one caller, in units of 1/STEPS token: whole numbers only."""

    __slots__ = ("_counted", "_full", "_step", "_units", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._full = self._units = rate.count * STEPS
        self._step = rate.seconds / STEPS
        self._counted = now  # time up to which steps are counted

    def take(self, cost: int, now: float, *, partly: bool) -> Budget:
        """Take the cost; without enough tokens, all of them (`partly`) or none."""
        if now - self._counted >= self._step or self._units == self._full:
            self._fill(now)
        units = min(cost * STEPS, self._full)
        retry_after = None
        if units <= self._units:
            self._units -= units
        elif partly:
            self._units = 0
        else:
            retry_after = self._seconds_until(units, now)
        return Budget(self.rate.count, self._units // STEPS, self._seconds_until(self._full, now), retry_after)

    def _fill(self, now: float) -> None:
        if now - self._counted >= self._step:
            steps = floor((now - self._counted) / self._step)
            self._units = min(self._full, self._units + steps * self.rate.count)
            self._counted += steps * self._step
        if self._units == self._full:
            self._counted = now

    def _seconds_until(self, units: int, now: float) -> float:
        """Return the time until the bucket has `units`."""
        steps = -((self._units - units) // self.rate.count)  # rounded up
        return max(0.0, self._counted + steps * self._step - now) if steps > 0 else 0.0


class TokenBuckets:
    """The `Budgets` of one process. `now` is a monotonic clock in seconds.

    `lock` guards them if several threads serve requests. The callers seen last are kept.
    """

    def __init__(self, now: Callable[[], float], lock: AbstractContextManager[Any] | None = None, most: int = MAX_CALLERS) -> None:
        self._now = now
        self._lock = lock or nullcontext()
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()  # caller -> bucket, the latest caller last

    def take(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost, or nothing if it is not there."""
        with self._lock:
            bucket = self._buckets.get(caller)
            if bucket is None or bucket.rate is not rate:
                bucket = self._bucket(caller, rate)
            else:
                self._buckets.move_to_end(caller)
            return bucket.take(cost, self._now(), partly=False)

    def spend(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost of work that is done, or all that is left."""
        with self._lock:
            return self._bucket(caller, rate).take(cost, self._now(), partly=True)

    def _bucket(self, caller: str, rate: Rate) -> _Bucket:
        bucket = self._buckets.get(caller)
        if bucket is None or (bucket.rate is not rate and bucket.rate != rate):
            bucket = self._buckets[caller] = _Bucket(rate, self._now())
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """The requests of a caller in the present window and in the one before it.

    `previous_seconds` is the time until those of the former window have no weight any more,
    `current_seconds` the same for the present one.
    """

    previous: int
    previous_seconds: float
    current: int
    current_seconds: float


def window_budget(counts: WindowCounts, rate: Rate, refused_cost: int | None = None) -> Budget:
    """Return the budget of a sliding window.

    The former window has the weight of its part that is within `rate.seconds` of now.
    """
    used = floor(counts.previous * counts.previous_seconds / rate.seconds) + counts.current
    reset = counts.current_seconds if counts.current else counts.previous_seconds if counts.previous else 0.0
    retry_after = None if refused_cost is None else _wait(counts, rate, rate.count - min(refused_cost, rate.count))
    return Budget(rate.count, max(0, rate.count - used), reset, retry_after)


def _wait(counts: WindowCounts, rate: Rate, most: int) -> float:
    """Return the seconds until at most `most` requests count."""
    if counts.current <= most:
        share = (most - counts.current) / counts.previous if counts.previous else 1.0
        return max(0.0, counts.previous_seconds - share * rate.seconds)
    rest = max(0.0, counts.current_seconds - rate.seconds)  # of the present window
    return rest + (1 - most / counts.current) * rate.seconds


def limited_caller(access: Access, address: str, peers: Peers) -> str | None:
    """Return the name by which limits count the caller: `key:ID`, `sub:NAME` or `ip:ADDRESS`.

    None for a caller that they do not count: on this machine, without a credential.
    """
    if access.caller is not None:
        return access.caller
    return None if peers.exempt(address) else f"ip:{address}"


def stored_name(caller: str) -> str:
    """Return the name of a caller as keys of Redis contain it.

    It is the id of a key, and a digest of a subject, which may be any text.
    """
    kind, _, name = caller.partition(":")
    return f"{kind}:{hashlib.sha256(name.encode()).hexdigest()[:32]}" if kind == "sub" else caller.removeprefix("key:")
