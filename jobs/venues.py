"""The sources that `SOURCES` can name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from config.settings import Settings, SourceSpec
from db.instruments import Instrument
from jobs.feeds.base import Source, SourceError
from jobs.feeds.binance.stream import BinanceSource
from jobs.feeds.oanda.stream import OandaSource
from jobs.feeds.replay import ReplaySource, instrument_of
from jobs.feeds.synthetic import SyntheticSource


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source may be built from besides its own entry in `SOURCES`.

    `latest` maps an instrument to its last known mid price, as text; instruments without a price are not in it. `latest_times` maps
    it to the time of its last known price, in contract form.
    """

    settings: Settings
    instruments: Sequence[Instrument]
    latest: Mapping[str, str]
    clock: Callable[[], datetime]
    latest_times: Mapping[str, str] = field(default_factory=dict)


def build(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    """The source that one entry of `SOURCES` names. Does no I/O."""
    return SOURCES[spec.kind](spec, around)


def walked(around: Surroundings) -> list[Instrument]:
    """The instruments that the synthetic source feeds: those that no other source of this process does; none where it is not among them."""
    if not any(spec.kind == "synthetic" for spec in around.settings.sources):
        return []
    return [instrument for instrument in around.instruments if not _fed_elsewhere(instrument, around)]


def _synthetic(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    settings = around.settings
    return SyntheticSource(
        walked(around),
        interval=settings.ingestion_interval_seconds,
        seed=settings.synthetic_seed,
        latest=around.latest,
        clock=around.clock,
    )


def _fed_elsewhere(instrument: Instrument, around: Surroundings) -> bool:
    """Whether another source of this process is there for it: a walk mixed into real prices would be worth nothing."""
    for spec in around.settings.sources:
        if spec.kind not in ("synthetic", "replay") and spec.kind == instrument.source:
            return True
        if spec.file is not None and _named(spec, around) == instrument.symbol:
            return True
    return False


def _named(spec: SourceSpec, around: Surroundings) -> str | None:
    """The instrument in a recording's file name. One named only in a column is not known before the file is read."""
    try:
        return None if spec.file is None else instrument_of(spec.file, [instrument.symbol for instrument in around.instruments])
    except SourceError:
        return None


def _replay(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    return ReplaySource(spec, [instrument.symbol for instrument in around.instruments])


def _oanda(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    settings = around.settings
    return OandaSource(
        settings.oanda_stream_url,
        settings.oanda_account_id or "",
        settings.oanda_api_token,
        [instrument.symbol for instrument in around.instruments if instrument.kind == "fx" and instrument.source == "oanda"],
        latest_times=around.latest_times,
    )


def _binance(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    settings = around.settings
    fed = [instrument.symbol for instrument in around.instruments if instrument.source == "binance"]
    return BinanceSource(settings.binance_ws_url, settings.binance_symbols, fed)


# kind -> builder
SOURCES: dict[str, Callable[[SourceSpec, Surroundings], Source[Any]]] = {
    "synthetic": _synthetic,
    "replay": _replay,
    "oanda": _oanda,
    "binance": _binance,
}
