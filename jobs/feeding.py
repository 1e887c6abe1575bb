"""The sources of this process, and the instruments that each of them feeds at present."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from config.pacing import STOP_POLL_SECONDS, Outage, Stopped, retry
from config.process.duties import parts_of
from config.venues import VENUES, with_prices
from db import topics
from db.admission import open_windows
from db.bus import BusError
from db.instrument_changes import InstrumentChanges
from db.instruments import Instrument, all_instruments, calendars_of, last_change
from db.messages import Stamp
from db.postgres import Cursor, StoreError
from db.prices import latest_positions, latest_prices, latest_times
from db.scenarios.files import has_books
from jobs.duties.holding import EveryStop, Holding
from jobs.feeds.context import SourceContext
from jobs.feeds.ingest import Ingestion
from jobs.feeds.synthetic_past import make_past, make_past_of_added
from jobs.figures.hourly import volatility_rules
from jobs.figures.past_alerts import read_past_volatility
from jobs.runtime.context import JobContext
from jobs.runtime.threads import LongLivedThread
from jobs.venues import build_part, fed, fed_by_part, feeds, walked

log = logging.getLogger(__name__)

_BUS_SECONDS = 5.0  # between two writes of the instruments to the bus, because Redis may lose them
_RETRY_SECONDS = 0.5  # between two attempts to read the context of sources
_INSTRUMENTS_ROUND_SECONDS = 20.0  # statements of a change, and the past of an added instrument


class Feeding:
    """Builds sources as their duties are won, and gives them their instruments after each change.

    One thread calls `begin` and `has_ended`. The process that leads keeps the instruments on the
    bus.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        # The process `books` plays the recordings of books.
        self._specs = with_prices(context.settings.sources, has_books)
        self._parts = {part.duty: part for part in parts_of(self._specs, context.settings.binance_split)}
        self._lock = threading.Lock()  # of the instruments and of the set of sources
        self._preparing = threading.Lock()
        self._instruments: Sequence[Instrument] = ()  # the enabled ones
        self._number = -1  # of their last change
        self._starting: set[str] = set()  # duties whose sources are not built yet
        self._leads = threading.Event()
        self._follower: LongLivedThread | None = None  # of the changes of instruments
        self._set_at = float("-inf")
        self._outage = Outage(log, "the instruments are not set on the bus", monotonic=time.monotonic)
        self.ingestion = Ingestion(
            [],
            context.bus,
            calendars={},
            max_ahead_seconds=context.settings.source_max_ahead_seconds,
            max_attempts=context.settings.max_reconnect_attempts,
            clock=context.clock,
            link_changed=context.source_events.set,
            thread_failed=context.fail,
            reported=context.acting.changed.set,
            counts=context.measures.sources,
        )
        context.acting.statuses = self.ingestion.statuses

    def begin(self, holdings: Sequence[Holding]) -> None:
        """Build and start the sources of these duties, as soon as store and bus answer."""
        duties = {holding.duty for holding in holdings}
        self._starting |= duties

        def start(_: threading.Event) -> None:
            try:
                self._start(holdings, self.prepare(EveryStop([holding.stop for holding in holdings])))
            except Stopped:
                return
            finally:
                self._starting -= duties

        self._long_lived(start, "sources", may_return=lambda: True).start()

    def has_ended(self, duty: str) -> bool:
        """Return True if the source of a duty has ended, after the `stop` of its holding."""
        if duty in self._starting:
            return False
        with self._lock:
            return self.ingestion.has_ended(self._parts[duty].name)

    def lead(self, stop: threading.Event) -> None:
        """Make the past of a first start, and keep the instruments on the bus until `follow`.

        Raises `Stopped`.
        """
        self.prepare(stop)
        self._leads.set()

    def follow(self) -> None:
        """Leave the instruments on the bus to another process."""
        self._leads.clear()

    def close(self) -> None:
        """End the threads that are left, after `stop` of the context was set."""
        if self._follower is not None and not self.ingestion.stop(timeout=1.0):
            log.warning("a source did not stop in time")

    def prepare(self, stop: threading.Event) -> SourceContext:
        """The context in which sources are built, as soon as store and bus answer.

        From now on the instruments are those of the store. Raises `Stopped`.
        """
        while not self._preparing.acquire(timeout=STOP_POLL_SECONDS):
            if stop.is_set():
                raise Stopped
        try:
            found = source_context(self._context, stop)
            self._follow_changes(found)
        finally:
            self._preparing.release()
        return found

    def _follow_changes(self, found: SourceContext) -> None:
        """Take over the instruments of a context; after the first one, follow their changes."""
        known = [*found.instruments, *found.disabled]
        with self._lock:
            if (number := last_change(known)) >= self._number:
                self._set(found.instruments, number)
        if self._follower is None:
            changes = InstrumentChanges(self._context.bus, self._context.store, known, each_round=self._set_on_bus)
            changes.listen(self.take)
            self._follower = self._long_lived(changes.run, "instruments", round_seconds=_INSTRUMENTS_ROUND_SECONDS)
            self._follower.start()
            self.ingestion.start()

    def take(self, before: Sequence[Instrument], after: Sequence[Instrument]) -> None:
        """Feed and admit the enabled instruments of `after`. Raises `StoreError` or `Stopped`."""
        enabled = [each for each in after if each.enabled]
        latest = self._prices_of(enabled)
        settings = self._context.settings
        with self._lock:
            self._set(enabled, last_change(after))
            running = self.ingestion.sources
            for part in self._parts.values():
                if part.name in running:
                    running[part.name].set_instruments(fed_by_part(part, settings, enabled), latest)
        self._set_at = float("-inf")
        self._set_on_bus()
        for spec in self._specs:
            self._context.source_events.set(spec.name)  # its gap filler has other instruments too
        changed = {each.symbol for each in set(before) ^ set(after)}
        log.info("the instruments have changed", extra={"instruments": len(enabled), "changed": sorted(changed)})

    def _long_lived(
        self,
        target: Callable[[threading.Event], object],
        name: str,
        *,
        may_return: Callable[[], bool] = lambda: False,
        round_seconds: float | None = None,
    ) -> LongLivedThread:
        context = self._context
        return LongLivedThread(
            target, name=name, stop=context.stop, on_failure=context.fail, may_return=may_return, round_seconds=round_seconds
        )

    def _start(self, holdings: Sequence[Holding], found: SourceContext) -> None:
        """Build and start the sources whose duties are still held."""
        number = last_change([*found.instruments, *found.disabled])
        with self._lock:
            for holding in holdings:
                if holding.stop.is_set():
                    continue
                part = self._parts[holding.duty]
                source = build_part(part, found)
                if self._number != number:  # they have changed since the context was read
                    source.set_instruments(fed_by_part(part, self._context.settings, self._instruments))
                self.ingestion.add(source, part=part.name, permit=holding, stop=holding.stop)
        self._context.acting.changed.set()
        log.info("ingestion started", extra={"sources": [self._parts[holding.duty].name for holding in holdings]})

    def _set(self, enabled: Sequence[Instrument], number: int) -> None:
        """Admit records of these instruments, and note those of each source for its metrics."""
        self._instruments, self._number = enabled, number
        self.ingestion.set_calendars(calendars_of(enabled))
        context = self._context
        calendars = {}
        for spec in self._specs:
            mine = fed(spec, context.settings, enabled)
            has_trades = VENUES[spec.kind].history == "trades"
            context.measures.sources.expect_symbols([each.symbol for each in mine], has_trades=has_trades)
            calendars[spec.name] = frozenset(each.calendar for each in mine)
        context.acting.calendars = calendars

    def _set_on_bus(self) -> None:
        """Set the instruments on the bus if this process leads, at most every `_BUS_SECONDS`
        without a change.
        """
        if not self._leads.is_set() or time.monotonic() - self._set_at < _BUS_SECONDS:
            return
        context = self._context
        with self._lock:
            instruments, number = self._instruments, self._number
        fed_by = feeds(context.settings, instruments)
        try:
            context.bus.set_instruments(calendars_of(instruments), context.settings.source_max_ahead_seconds, fed_by=fed_by)
            context.bus.keep_change_number(number)
        except BusError as error:
            self._outage.failed(error)
        else:
            self._outage.recovered()
            self._set_at = time.monotonic()

    def _prices_of(self, enabled: Sequence[Instrument]) -> dict[str, str]:
        """Make the past of added synthetic instruments; return the latest prices of all."""
        settings, store, clock = self._context.settings, self._context.store, self._context.clock
        make_pasts(self._context, walked(SourceContext(settings, enabled, {}, clock)), self._context.stop)
        windows = open_windows("live", calendars_of(enabled), clock(), max_ahead_seconds=settings.source_max_ahead_seconds)
        with store.transaction() as cursor:
            return latest_prices(cursor, windows)


def source_context(context: JobContext, stop: threading.Event) -> SourceContext:
    """The context in which sources are built, as soon as store and bus answer. Raises `Stopped`."""

    def read() -> SourceContext:
        settings, store = context.settings, context.store
        with store.transaction() as cursor:
            known = all_instruments(cursor, disabled=True)
        instruments = [each for each in known if each.enabled]
        walks = walked(SourceContext(settings, instruments, {}, context.clock))
        make_pasts(context, walks, stop)
        calendars = calendars_of(instruments)
        windows = open_windows("live", calendars, context.clock(), max_ahead_seconds=settings.source_max_ahead_seconds)
        with store.transaction() as cursor:
            latest = latest_prices(cursor, windows)
            times = latest_times(cursor, windows)
            positions = latest_positions(cursor, windows)
        context.bus.forget_former_numbers()
        lost = context.bus.renew_if_behind(topics.PRICES, {symbol: Stamp(*position) for symbol, position in positions.items()})
        if lost is not None:
            log.error("the bus has lost data", extra={"epoch": lost})
        context.bus.set_instruments(calendars, settings.source_max_ahead_seconds, fed_by=feeds(settings, instruments))
        # An earlier process may have published prices that are not stored yet.
        on_bus = {symbol: moment for symbol, moment in context.bus.latest_times(times).items() if windows[symbol].contains(moment)}
        newest = {symbol: max(moment, on_bus.get(symbol, moment)) for symbol, moment in times.items()}
        disabled = [each for each in known if not each.enabled]
        return SourceContext(settings, instruments, latest, context.clock, newest, disabled)

    outage = Outage(log, "jobs wait for the store or the bus", monotonic=time.monotonic)
    return retry(read, on=(StoreError, BusError), stop=stop, outage=outage, pause=lambda attempt: _RETRY_SECONDS)


def make_pasts(context: JobContext, walks: Sequence[Instrument], stop: threading.Event) -> None:
    """Make the past of a first start, or that of instruments that were added to others since.

    `walks` are the instruments of the synthetic source. The alert rules read a past without
    sending. Raises `StoreError` or `Stopped`.
    """
    now, settings = context.clock(), context.settings

    def read_past(cursor: Cursor, made: Sequence[Instrument]) -> None:
        read_past_volatility(cursor, made, volatility_rules(settings), now)

    seed, volatility = settings.synthetic_seed, settings.synthetic_volatility
    if not make_past(context.store, walks, seed, now, stop, volatility=volatility, then=read_past):
        added = [each for each in walks if each.changed]
        make_past_of_added(context.store, added, walks, seed, now, stop, volatility=volatility, then=read_past)
