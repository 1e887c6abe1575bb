"""The sources of this process, and the instruments that each of them feeds at present."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from config.pacing import Outage
from config.venues import VENUES, with_prices
from db.admission import open_windows
from db.bus import BusError
from db.instruments import Instrument, calendars_of, last_change
from db.postgres import Cursor
from db.prices import latest_prices
from db.scenarios.files import has_books
from jobs.feeds.context import SourceContext
from jobs.feeds.ingest import Ingestion
from jobs.feeds.synthetic_past import make_past, make_past_of_added
from jobs.figures.hourly import volatility_rules
from jobs.figures.past_alerts import read_past_volatility
from jobs.runtime.context import JobContext
from jobs.venues import build, fed, feeds, walked

log = logging.getLogger(__name__)

_BUS_SECONDS = 5.0  # between two writes of the instruments to the bus, because Redis may lose them


class Feeding:
    """Builds the sources, and gives them their instruments again after each change."""

    def __init__(self, context: JobContext, sources: SourceContext) -> None:
        self._context = context
        self._instruments = sources.instruments  # the enabled ones
        self._number = last_change([*sources.instruments, *sources.disabled])
        self._set_at = float("-inf")
        self._outage = Outage(log, "the instruments are not set on the bus", monotonic=time.monotonic)
        # The process `books` plays the recordings of books.
        self._specs = with_prices(context.settings.sources, has_books)
        self.sources = [build(spec, sources) for spec in self._specs]
        self.ingestion = Ingestion(
            self.sources,
            context.bus,
            calendars=calendars_of(sources.instruments),
            max_ahead_seconds=context.settings.source_max_ahead_seconds,
            max_attempts=context.settings.max_reconnect_attempts,
            clock=context.clock,
            link_changed=context.source_events.set,
            thread_failed=context.fail,
            reported=context.acting.changed.set,
            counts=context.measures.sources,
        )
        self._note_fed()

    def take(self, before: Sequence[Instrument], after: Sequence[Instrument]) -> None:
        """Feed and admit the enabled instruments of `after`. Raises `StoreError` or `Stopped`."""
        enabled = [each for each in after if each.enabled]
        latest = self._prepare(enabled)
        self._instruments, self._number = enabled, last_change(after)
        self._note_fed()
        self.ingestion.set_calendars(calendars_of(enabled))
        self._set_at = float("-inf")
        self.set_on_bus()
        settings = self._context.settings
        for spec, source in zip(self._specs, self.sources, strict=True):
            source.set_instruments(fed(spec, settings, enabled), latest)
            self._context.source_events.set(source.name)  # its gap filler has other instruments too
        changed = {each.symbol for each in set(before) ^ set(after)}
        log.info("the instruments have changed", extra={"instruments": len(enabled), "changed": sorted(changed)})

    def _note_fed(self) -> None:
        """Note the instruments of each source for its metrics."""
        context = self._context
        calendars = {}
        for spec in self._specs:
            mine = fed(spec, context.settings, self._instruments)
            has_trades = VENUES[spec.kind].history == "trades"
            context.measures.sources.expect_symbols([each.symbol for each in mine], has_trades=has_trades)
            calendars[spec.name] = frozenset(each.calendar for each in mine)
        context.acting.calendars = calendars

    def set_on_bus(self) -> None:
        """Set the instruments on the bus, at most every `_BUS_SECONDS` without a change."""
        if time.monotonic() - self._set_at < _BUS_SECONDS:
            return
        context = self._context
        fed_by = feeds(context.settings, self._instruments)
        try:
            context.bus.set_instruments(calendars_of(self._instruments), context.settings.source_max_ahead_seconds, fed_by=fed_by)
            context.bus.keep_change_number(self._number)
        except BusError as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()
            self._set_at = time.monotonic()

    def _prepare(self, enabled: Sequence[Instrument]) -> dict[str, str]:
        """Make the past of added synthetic instruments; return the latest prices of all."""
        settings, store, clock = self._context.settings, self._context.store, self._context.clock
        sources = SourceContext(settings, enabled, {}, clock)
        make_pasts(self._context, walked(sources))
        windows = open_windows("live", calendars_of(enabled), clock(), max_ahead_seconds=settings.source_max_ahead_seconds)
        with store.transaction() as cursor:
            return latest_prices(cursor, windows)


def make_pasts(context: JobContext, walks: Sequence[Instrument]) -> None:
    """Make the past of a first start, or that of instruments that were added to others since.

    `walks` are the instruments of the synthetic source. The alert rules read a past without
    sending. Raises `StoreError` or `Stopped`.
    """
    now, settings = context.clock(), context.settings

    def read_past(cursor: Cursor, made: Sequence[Instrument]) -> None:
        read_past_volatility(cursor, made, volatility_rules(settings), now)

    seed, volatility = settings.synthetic_seed, settings.synthetic_volatility
    if not make_past(context.store, walks, seed, now, context.stop, volatility=volatility, then=read_past):
        added = [each for each in walks if each.changed]
        make_past_of_added(context.store, added, walks, seed, now, context.stop, volatility=volatility, then=read_past)
