"""Budgets that all REST processes share, in Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable

from api.access.limits import Budget, Budgets, WindowCounts, stored_name, window_budget
from config.fields import Rate
from config.pacing import Outage
from db.bus import BusError
from db.bus.limits.request_windows import RequestWindows

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5  # for one answer of Redis
PAUSE_SECONDS = 5.0  # after a failure, in which Redis is not used


class SharedBudgets:
    """The `Budgets` of all processes. While Redis is away, `own` counts for this process alone.

    `monotonic` is a clock in seconds.
    """

    def __init__(self, windows: RequestWindows, own: Budgets, monotonic: Callable[[], float]) -> None:
        self._windows = windows
        self._own = own
        self._monotonic = monotonic
        self._paused = float("-inf")  # time until which Redis is not used
        self._outage = Outage(log, "each REST process counts requests for itself", monotonic=monotonic)

    def take(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost, or nothing if it is not there."""
        return self._count(caller, rate, cost, partly=False)

    def spend(self, caller: str, rate: Rate, cost: int) -> Budget:
        """Take the cost of work that is done, or all that is left."""
        return self._count(caller, rate, cost, partly=True)

    def _count(self, caller: str, rate: Rate, cost: int, *, partly: bool) -> Budget:
        own = self._own.spend if partly else self._own.take
        if self._monotonic() < self._paused:
            return own(caller, rate, cost)
        try:
            budget = self._in_redis(stored_name(caller), rate, min(cost, rate.count), partly=partly)
        except BusError as error:
            self._outage.failed(error)
            self._paused = self._monotonic() + PAUSE_SECONDS
            return own(caller, rate, cost)
        self._outage.recovered()
        return budget

    def _in_redis(self, name: str, rate: Rate, cost: int, *, partly: bool) -> Budget:
        accepted = self._windows.take(name, rate.count, rate.seconds, cost)
        budget = self._read(name, rate, None if accepted or partly else cost)
        if partly and not accepted and budget.remaining:
            self._windows.take(name, rate.count, rate.seconds, min(cost, budget.remaining))
            return self._read(name, rate, None)
        return budget

    def _read(self, name: str, rate: Rate, refused_cost: int | None) -> Budget:
        counts = WindowCounts(*self._windows.counts(name, rate.count, rate.seconds))
        return window_budget(counts, rate, refused_cost)
