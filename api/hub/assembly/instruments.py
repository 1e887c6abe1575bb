"""The instruments of the hub: the first read of them, and their changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial

from api.hub.events import Events
from api.hub.topic_log import TopicLog
from config.pacing import Outage, backoff, retry
from db.bus import Bus
from db.instrument_changes import InstrumentChanges
from db.instruments import Instrument
from db.postgres import Store, StoreError
from db.sessions import MarketSession, all_sessions

log = logging.getLogger(__name__)


class Catalogue:
    """The instruments of this hub; `take` runs in the greenlet that notices changes."""

    def __init__(self, bus: Bus, topic_log: TopicLog, known: set[str], events: Events) -> None:
        self._bus = bus
        self._log = topic_log
        self._known = known  # shared with the parts that check names
        self._events = events

    def take(self, before: Sequence[Instrument], after: Sequence[Instrument]) -> None:
        """Serve the enabled instruments of `after`."""
        names = enabled(after)
        if added := [name for name in names if name not in self._known]:
            self._log.seed_latest(self._bus.latest_prices(added))  # of instruments that were enabled before
        self._known.update(added)
        self._known.intersection_update(names)
        self._events.metrics.set_symbols(each.symbol for each in after)
        self._events.set_instruments(names, lambda: time.sleep(0))


def enabled(instruments: Iterable[Instrument]) -> list[str]:
    """Return the symbols of the enabled instruments."""
    return [each.symbol for each in instruments if each.enabled]


def read_reference_data(bus: Bus, store: Store, stop: threading.Event) -> tuple[InstrumentChanges, list[MarketSession]]:
    """Return instruments and market sessions, which check messages; waits for the store."""
    changes = InstrumentChanges(bus, store)

    def read() -> tuple[InstrumentChanges, list[MarketSession]]:
        changes.read()
        with store.transaction() as cursor:
            return changes, all_sessions(cursor)

    outage = Outage(log, "hub waits for the store", monotonic=time.monotonic)
    pause = partial(backoff, first=0.5, longest=5.0, jitter=1.0, spread=0.0)
    return retry(read, on=StoreError, stop=stop, outage=outage, pause=pause)
