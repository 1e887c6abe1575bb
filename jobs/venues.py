"""The sources that `SOURCES` can name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from config.settings import SourceSpec
from db.instruments import Instrument
from jobs.feeds.base import Source, SourceError
from jobs.feeds.binance.stream import BinanceSource
from jobs.feeds.context import SourceContext
from jobs.feeds.oanda.stream import OandaSource
from jobs.feeds.recordings import instrument_of
from jobs.feeds.replay import ReplaySource
from jobs.feeds.synthetic import SyntheticSource


def build(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    """The source that one entry of `SOURCES` names. Does no I/O."""
    return SOURCES[spec.kind](spec, context)


def walked(context: SourceContext) -> list[Instrument]:
    """The instruments that the synthetic source feeds: those that no other source of this process does; none where it is not among them."""
    if not any(spec.kind == "synthetic" for spec in context.settings.sources):
        return []
    return [instrument for instrument in context.instruments if not _fed_elsewhere(instrument, context)]


def _synthetic(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings
    return SyntheticSource(
        walked(context),
        interval=settings.ingestion_interval_seconds,
        seed=settings.synthetic_seed,
        latest=context.latest,
        clock=context.clock,
    )


def _fed_elsewhere(instrument: Instrument, context: SourceContext) -> bool:
    """Whether another source of this process is there for it: a walk mixed into real prices would be worth nothing."""
    for spec in context.settings.sources:
        if spec.kind not in ("synthetic", "replay") and spec.kind == instrument.source:
            return True
        if spec.file is not None and _named(spec, context) == instrument.symbol:
            return True
    return False


def _named(spec: SourceSpec, context: SourceContext) -> str | None:
    """The instrument in a recording's file name. One named only in a column is not known before the file is read."""
    try:
        return None if spec.file is None else instrument_of(spec.file, [instrument.symbol for instrument in context.instruments])
    except SourceError:
        return None


def _replay(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    return ReplaySource(spec, [instrument.symbol for instrument in context.instruments])


def _oanda(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings
    return OandaSource(
        settings.oanda_stream_url,
        settings.oanda_account_id or "",
        settings.oanda_api_token,
        [instrument.symbol for instrument in context.instruments if instrument.kind == "fx" and instrument.source == "oanda"],
        latest_times=context.latest_times,
    )


def _binance(spec: SourceSpec, context: SourceContext) -> Source[Any]:
    settings = context.settings
    fed = [instrument.symbol for instrument in context.instruments if instrument.source == "binance"]
    return BinanceSource(settings.binance_ws_url, settings.binance_symbols, fed)


# kind -> builder
SOURCES: dict[str, Callable[[SourceSpec, SourceContext], Source[Any]]] = {
    "synthetic": _synthetic,
    "replay": _replay,
    "oanda": _oanda,
    "binance": _binance,
}
