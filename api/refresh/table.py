"""Keeps the table of keys of this process up to date.

A change is noticed by message, within 50 ms. If the message is lost, the counter on the bus
differs, which is compared once a second. Without the bus, the tables are read every 30 s.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from math import isfinite
from typing import Protocol

from api.access.table import Tables
from config.pacing import Outage, Throttle
from db.access_changes import access_changes_after
from db.bus import BusError, Subscription
from db.postgres import Store, StoreError

log = logging.getLogger(__name__)

COUNTER_SECONDS = 1.0  # between two looks at the counter
TABLE_SECONDS = 30.0  # between two reads of the tables
ANSWER_SECONDS = 2.0  # for one answer of Redis: without it, the tables must be read in time


class SignalBus(Protocol):
    """The part of the bus that announces changes. Every method raises `BusError`."""

    def access_counter(self) -> bytes | None:
        """The number of the last change, as it stands on the bus."""

    def subscribe_access(self) -> Subscription:
        """Subscribe to the changes."""


class TableRefresh:
    """Reads changed rows into `tables`. One thread or greenlet calls `run`.

    `each_round` is called at least once a second. Nothing on the bus is taken for a right: a
    message or another counter causes a read, and the rows decide.
    """

    def __init__(
        self,
        bus: SignalBus,
        store: Store,
        tables: Tables,
        *,
        each_round: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._store = store
        self._tables = tables
        self._each_round = each_round
        self._monotonic = monotonic
        self._counter: bytes | None = None  # on the bus before the tables were read last
        self._read_at = float("-inf")
        self._taken = True  # False while a change was read that not all listeners have taken
        self._outage = Outage(log, "the keys cannot be read: the last ones stay in force", monotonic=monotonic)
        self._failures = Throttle(monotonic=monotonic)

    @property
    def age(self) -> float | None:
        """Seconds since the tables were read; None before the first read."""
        return self._monotonic() - self._read_at if isfinite(self._read_at) else None

    def run(self, stop: threading.Event) -> None:
        """Take each change until `stop` is set."""
        while not stop.is_set():
            try:
                self._each_round()
                self._look(self._counter)
                with closing(self._bus.subscribe_access()) as subscription:
                    self._follow(subscription, stop)
            except (BusError, StoreError) as error:
                log.debug("changes of keys are not noticed at once: %s", error)
            except Exception:
                if count := self._failures.due("round"):
                    log.exception("a change of keys was not taken, and is taken again", extra={"count": count})
            stop.wait(COUNTER_SECONDS)

    def read(self) -> None:
        """Read the rows that have changed since the last read. Raises `StoreError`.

        If a listener fails, the next read takes all rows: no connection of a revoked key stays.
        """
        table = self._tables.table
        changed = -1 if table is None or not self._taken else table.changed
        try:
            with self._store.transaction() as cursor:
                changes = access_changes_after(cursor, changed)
                if whole := changes.last < changed:  # PostgreSQL was restored from a backup
                    changes = access_changes_after(cursor, -1)
        except StoreError as error:
            self._tables.stale = True
            self._outage.failed(error)
            raise
        self._outage.recovered()
        self._tables.stale, self._taken = False, False
        self._tables.take(changes.keys, changes.tokens, whole=whole)
        self._read_at, self._taken = self._monotonic(), True

    def _follow(self, subscription: Subscription, stop: threading.Event) -> None:
        """Take changes until `stop` is set. Raises `BusError` if the bus is lost."""
        while not stop.is_set():
            # The counter is set before the message is published: an equal one makes a message void.
            self._look(self._bus.access_counter())
            self._each_round()
            subscription.read(COUNTER_SECONDS)

    def _look(self, counter: bytes | None) -> None:
        """Read the tables if there may be a change. Raises `StoreError`."""
        if counter != self._counter or self._monotonic() - self._read_at >= TABLE_SECONDS:
            self.read()
            self._counter = counter
