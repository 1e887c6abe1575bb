"""The venues that `SOURCES` can name: the functions of each, one row per venue.

`config/venues.py` has the other half of the table, the facts, with the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from config.process.duties import SourcePart
from config.settings import Settings, SourceSpec
from config.venues import PUBLISHED, VENUES, Venue
from db.admission import Window, market_window
from db.instruments import Instrument, calendars_of
from jobs.feeds.base import CandleHistory, Source, SourceError, TradeHistory
from jobs.feeds.binance.history import binance_history
from jobs.feeds.binance.stream import BinanceSource
from jobs.feeds.context import SourceContext
from jobs.feeds.files.recordings import instrument_of
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.oanda.history import oanda_history
from jobs.feeds.oanda.stream import OandaSource
from jobs.feeds.synthetic import SyntheticSource
from jobs.gaps.candles import CandleGaps
from jobs.gaps.filler import GAP_CHECK_SECONDS, Filling, GapFiller
from jobs.gaps.trades import TradeGaps
from jobs.runtime.context import JobContext

History = TypeVar("History", bound=TradeHistory | CandleHistory)


@dataclass(frozen=True, slots=True)
class VenueParts(Generic[History]):
    """Functions of one kind of source. None of them does I/O.

    `build` makes its live source. `instruments` names the instruments that it feeds with these
    settings. `history` opens its API of the past, of the kind that `venue.history` names.
    `gap_filling` fills the store from that history.
    """

    venue: Venue
    build: Callable[[SourceSpec, SourceContext], Source[Any]]
    instruments: Callable[[Settings, Sequence[Instrument]], list[str]]
    history: Callable[[Settings, Callable[[], datetime]], History] | None = None
    gap_filling: Callable[[JobContext, History], Filling] | None = None


def build(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    """The source of one entry of `SOURCES`. Does no I/O."""
    return VENUE_PARTS[spec.kind].build(spec, context)


def build_part(part: SourcePart, context: SourceContext) -> Source[Any]:
    """The source of one part, which feeds the symbols of that part alone. Does no I/O."""
    if part.count == 1:
        return build(part.spec, context)
    settings = context.settings
    mine = tuple(symbol for symbol in settings.binance_symbols if part.has(symbol.upper()))
    return build(part.spec, replace(context, settings=replace(settings, binance_symbols=mine)))


def configured(settings: Settings) -> list[VenueParts[Any]]:
    """The rows of the venues that these settings name, each once."""
    return [VENUE_PARTS[kind] for kind in dict.fromkeys(spec.kind for spec in settings.sources)]


def gap_filler(context: JobContext, venue: str, *, period: float = GAP_CHECK_SECONDS) -> GapFiller:
    """The gap filler of a venue. Does no I/O. Raises `ValueError` if the venue has no history."""
    row = VENUE_PARTS[venue]
    if row.history is None or row.gap_filling is None:
        raise ValueError(f"{venue} has no history")
    filling = row.gap_filling(context, row.history(context.settings, context.clock))
    return GapFiller(venue, filling, context.source_events.event(venue), period=period, backlog=context.measures.backlog)


def fed(spec: SourceSpec, settings: Settings, instruments: Sequence[Instrument]) -> list[Instrument]:
    """The instruments that one entry of `SOURCES` feeds."""
    if spec.file is not None:
        settings = replace(settings, sources=(spec,))
    symbols = set(VENUE_PARTS[spec.kind].instruments(settings, instruments))
    live = VENUES[spec.kind].kind == "live"  # a setting may list instruments of other sources
    return [each for each in instruments if each.symbol in symbols and (not live or each.source == spec.kind)]


def fed_by_part(part: SourcePart, settings: Settings, instruments: Sequence[Instrument]) -> list[Instrument]:
    """The instruments that one part of a source feeds."""
    return [each for each in fed(part.spec, settings, instruments) if part.has(each.symbol)]


def feeds(settings: Settings, instruments: Sequence[Instrument]) -> dict[str, str]:
    """instrument -> name of the first configured source that feeds it."""
    found: dict[str, str] = {}
    for spec in settings.sources:
        for each in fed(spec, settings, instruments):
            found.setdefault(each.symbol, spec.name)
    return found


def walked(context: SourceContext) -> list[Instrument]:
    """The instruments of the synthetic source: those that no other configured source feeds.

    Empty if the synthetic source is not configured.
    """
    symbols = set(_walked_symbols(context.settings, context.instruments))
    return [instrument for instrument in context.instruments if instrument.symbol in symbols]


def _walked_symbols(settings: Settings, instruments: Sequence[Instrument]) -> list[str]:
    if not any(VENUES[spec.kind].kind == "synthetic" for spec in settings.sources):
        return []
    recorded = set(_recorded_symbols(settings, instruments))
    live = {spec.kind for spec in settings.sources if VENUES[spec.kind].kind == "live"}
    taken = {*live, PUBLISHED}
    return [each.symbol for each in instruments if each.source not in taken and each.symbol not in recorded]


def _synthetic(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings
    return SyntheticSource(
        walked(context),
        interval=settings.ingestion_interval_seconds,
        seed=settings.synthetic_seed,
        latest=context.latest,
        clock=context.clock,
        volatility=settings.synthetic_volatility,
    )


def _recorded_symbols(settings: Settings, instruments: Sequence[Instrument]) -> list[str]:
    """The instruments in the file names of recordings.

    An instrument that is named in a column only is not known before the file is read.
    """
    symbols = _symbols(instruments)
    found = []
    for spec in settings.sources:
        try:
            found += [] if spec.file is None else [instrument_of(spec.file, symbols)]
        except SourceError:
            continue
    return list(dict.fromkeys(found))


def _replay(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    return ReplaySource(spec, calendars_of(context.instruments), clock=context.clock)


def _scenario(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    raise ValueError("the process `books` plays scenarios: they have no prices")


def _oanda_symbols(settings: Settings, instruments: Sequence[Instrument]) -> list[str]:
    return _symbols(each for each in instruments if each.calendar == "fx" and each.source == "oanda")


def _oanda(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings

    def window() -> Window:
        return market_window("live", "fx", context.clock(), max_ahead_seconds=settings.source_max_ahead_seconds)

    return OandaSource(
        settings.oanda_stream_url,
        settings.oanda_account_id or "",
        settings.oanda_api_token,
        _oanda_symbols(settings, context.instruments),
        latest_times=context.latest_times,
        window=window,
    )


def _oanda_gaps(context: JobContext, history: CandleHistory) -> Filling:
    return CandleGaps("oanda", history, context.store, context.clock, _filled(context, "oanda"))


def _binance_symbols(settings: Settings, instruments: Sequence[Instrument]) -> list[str]:
    return [symbol.upper() for symbol in settings.binance_symbols]


def _binance(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings
    existing = _symbols(each for each in context.instruments if each.source == "binance")
    disabled = {each.symbol for each in context.disabled}
    wanted = [symbol for symbol in settings.binance_symbols if symbol.upper() not in disabled]
    return BinanceSource(settings.binance_ws_url, wanted, existing)


def _binance_gaps(context: JobContext, history: TradeHistory) -> Filling:
    settings = context.settings
    return TradeGaps(
        "binance",
        settings.binance_symbols,
        history,
        context.store,
        context.bus,
        context.clock,
        max_ahead_seconds=settings.source_max_ahead_seconds,
        filled=_filled(context, "binance"),
    )


def _filled(context: JobContext, source: str) -> Callable[[int], None]:
    """Return the counter of the filled gaps of a source."""
    counts = context.measures.gaps_filled
    counts.add(source, by=0)
    return lambda number: counts.add(source, by=number)


def _symbols(instruments: Iterable[Instrument]) -> list[str]:
    return [instrument.symbol for instrument in instruments]


_ROWS: tuple[VenueParts[Any], ...] = (
    VenueParts(VENUES["synthetic"], _synthetic, _walked_symbols),
    VenueParts(VENUES["oanda"], _oanda, _oanda_symbols, oanda_history, _oanda_gaps),
    VenueParts(VENUES["binance"], _binance, _binance_symbols, binance_history, _binance_gaps),
    VenueParts(VENUES["replay"], _replay, _recorded_symbols),
    VenueParts(VENUES["scenario"], _scenario, lambda settings, instruments: []),
)

# name -> row
VENUE_PARTS: dict[str, VenueParts[Any]] = {row.venue.name: row for row in _ROWS}
