"""The sources that `SOURCES` can name, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from config.settings import Settings, SourceSpec
from db.instruments import Instrument
from jobs.sources.base import Source, SourceError
from jobs.sources.replay import ReplaySource, instrument_of
from jobs.sources.synthetic import SyntheticSource


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a source may be built from besides its own entry in `SOURCES`.

    `latest` maps an instrument to its last known mid price, as text; instruments without a price are not in it.
    """

    settings: Settings
    instruments: Sequence[Instrument]
    latest: Mapping[str, str]
    clock: Callable[[], datetime]


def build(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    """The source that one entry of `SOURCES` names. Does no I/O."""
    return SOURCES[spec.kind](spec, around)


def _synthetic(spec: SourceSpec, around: Surroundings) -> Source[Any]:
    settings = around.settings
    return SyntheticSource(
        [instrument for instrument in around.instruments if not _fed_elsewhere(instrument, around)],
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


# kind -> builder
SOURCES: dict[str, Callable[[SourceSpec, Surroundings], Source[Any]]] = {
    "synthetic": _synthetic,
    "replay": _replay,
}
