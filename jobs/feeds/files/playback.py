"""Playback of one recording onto the bus of a running system, for `manage.py replay`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from db.admitted import UsualBatch
from db.bus import Publisher
from db.bus.fence import NO_FENCE, Fence
from db.instruments import all_instruments, calendars_of
from db.messages import Tick, Trade
from db.postgres import Store
from jobs.feeds.base import SourceError, State
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.ingest import Ingest
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import Status


class _CountedBus:
    """The bus, with a call of `taken` per accepted batch.

    It reports no state: /health shows the sources of the jobs process.
    """

    def __init__(self, bus: Publisher, taken: Callable[[int], None]) -> None:
        self._bus = bus
        self._taken = taken

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None, *, fence: Fence = NO_FENCE) -> None:
        self._bus.publish_prices(ticks, batch_id, fence=fence)
        self._taken(len(ticks))

    def publish_trades(self, trades: Sequence[Trade] | UsualBatch, batch_id: str, *, fence: Fence = NO_FENCE) -> None:
        self._bus.publish_trades(trades, batch_id, fence=fence)

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        return


def play(
    source: ReplaySource,
    bus: Publisher,
    calendars: Mapping[str, str],
    *,
    taken: Callable[[int], None],
    clock: Callable[[], datetime],
    stop: threading.Event,
) -> None:
    """Publish the recording to its end, or until `stop`; call `taken` with the size of each
    accepted batch.

    `calendars` maps the existing instruments to their calendars. Waits while the bus is
    unavailable or full. Raises `SourceError` if the recording cannot be played.
    """
    status = Status(source.name, clock, threading.Event())
    admission = SourceAdmission(status, calendars, clock, mode=source.mode)
    Ingest(source, _CountedBus(bus, taken), status, admission, max_attempts=1).run(stop)
    if status.state is State.DOWN:
        raise SourceError(str(status.report()["detail"]), fatal=True)


def calendars_of_instruments(database_url: str) -> dict[str, str]:
    """Every instrument that a recording may hold, with its calendar. Raises `StoreError`."""
    store = Store(database_url, application="tickwire-replay")
    try:
        with store.transaction() as cursor:
            return calendars_of(all_instruments(cursor))
    finally:
        store.close()
