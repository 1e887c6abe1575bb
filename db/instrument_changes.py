"""Changes of the instruments while a process runs: noticed by message, by key, or in the table.

A change sets a key of the bus and publishes a message. A process that misses the message reads the
key, once a second. A process without the bus reads the table, every 30 s.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from db.bus import BusError, Subscription
from db.instruments import Instrument, all_instruments
from db.postgres import Store, StoreError

log = logging.getLogger(__name__)

KEY_SECONDS = 1.0  # between two looks at the key
TABLE_SECONDS = 30.0  # between two reads of the table


Take = Callable[[Sequence[Instrument], Sequence[Instrument]], None]


class ChangeBus(Protocol):
    """The part of the bus that announces changes. Every method raises `BusError`."""

    def instruments_changed(self) -> int | None:
        """The number of the last change; None if the bus does not have it."""

    def subscribe_instruments(self) -> Subscription:
        """Subscribe to the changes."""


class InstrumentChanges:
    """The instruments as this process has taken them, disabled ones included.

    `instruments` are those that it has; without them, call `read` first. One thread or greenlet
    calls `run`. If a listener raises, the change is taken again a second later. `each_round` is
    called at least once a second.
    """

    def __init__(
        self,
        bus: ChangeBus,
        store: Store,
        instruments: Sequence[Instrument] = (),
        *,
        each_round: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.instruments = instruments
        self._bus = bus
        self._store = store
        self._take: Take = lambda before, after: None
        self._each_round = each_round
        self._monotonic = monotonic
        self._number: int | None = None  # on the bus when the table was read last
        self._read_at = float("-inf")

    def listen(self, take: Take) -> None:
        """Call `take(before, after)` after each change, in the thread of `run`."""
        self._take = take

    def read(self) -> Sequence[Instrument]:
        """Read the table and return the instruments. Raises `StoreError`."""
        self.instruments = self._rows()
        return self.instruments

    def run(self, stop: threading.Event) -> None:
        """Take each change until `stop` is set."""
        while not stop.is_set():
            try:
                self._look(self._number, told=False)
                self._each_round()
                with closing(self._bus.subscribe_instruments()) as subscription:
                    self._follow(subscription, stop)
            except (BusError, StoreError) as error:
                log.debug("changes of instruments are not noticed at once: %s", error)
            except Exception:
                log.exception("a change of the instruments was not taken, and is taken again")
            stop.wait(KEY_SECONDS)

    def _follow(self, subscription: Subscription, stop: threading.Event) -> None:
        """Take changes until `stop` is set. Raises `BusError` if the bus is lost."""
        told = True  # a message may have been published before the subscription
        while not stop.is_set():
            self._look(self._bus.instruments_changed(), told=told)
            self._each_round()
            told = bool(subscription.read(KEY_SECONDS))

    def _look(self, number: int | None, *, told: bool) -> None:
        """Read the table if there may be a change. Raises `StoreError`."""
        if not told and number == self._number and self._monotonic() - self._read_at < TABLE_SECONDS:
            return
        found = self._rows()
        if set(found) != set(self.instruments):
            before, self.instruments = self.instruments, found
            try:
                self._take(before, found)
            except BaseException:
                self.instruments = before
                raise
        self._number = number

    def _rows(self) -> list[Instrument]:
        with self._store.transaction() as cursor:
            found = all_instruments(cursor, disabled=True)
        self._read_at = self._monotonic()
        return found
