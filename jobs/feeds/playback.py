"""A recording onto the bus of a system that runs already, once and by hand: what `manage.py replay` does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from db.bus import Bus
from db.instruments import all_instruments
from db.messages import Tick, Trade
from db.postgres import Store
from jobs.feeds.base import SourceError, State
from jobs.feeds.ingest import Ingest
from jobs.feeds.replay import ReplaySource
from jobs.feeds.status import Status


class _CountedBus:
    """The bus, telling how many ticks it took. Health hears nothing: it asks for the sources of the jobs process."""

    def __init__(self, bus: Bus, taken: Callable[[int], None]) -> None:
        self._bus = bus
        self._taken = taken

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None) -> None:
        self._bus.publish_prices(ticks, batch_id)
        self._taken(len(ticks))

    def publish_trades(self, trades: Sequence[Trade], batch_id: str) -> None:
        self._bus.publish_trades(trades, batch_id)

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        return

    def report_source(self, name: str, state: Mapping[str, Any]) -> None:
        return


def play(source: ReplaySource, bus: Bus, *, taken: Callable[[int], None], clock: Callable[[], datetime], stop: threading.Event) -> None:
    """Publish the recording to its end, or until `stop`; `taken` hears the size of each batch that the bus has.

    Waits while the bus is away or full, as the jobs do. Raises `SourceError` where the recording cannot be played.
    """
    status = Status(source.name, clock, threading.Event())
    Ingest(source, _CountedBus(bus, taken), status, max_attempts=1).run(stop)
    if status.state is State.DOWN:
        raise SourceError(str(status.report()["detail"]), fatal=True)


def symbols(database_url: str) -> list[str]:
    """The instruments that a recording may hold. Raises `StoreError`."""
    store = Store(database_url, application="tickwire-replay")
    try:
        with store.transaction() as cursor:
            return [instrument.symbol for instrument in all_instruments(cursor)]
    finally:
        store.close()
