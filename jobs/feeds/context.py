"""The context in which the sources of a process are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from config.settings import Settings
from db.instruments import Instrument


@dataclass(frozen=True, slots=True)
class SourceContext:
    """Everything that a source may be built from besides its own entry in `SOURCES`.

    `latest` maps an instrument to its last known mid price, as text; an instrument without a price
    is not in it. `latest_times` maps an instrument to the time of its last known price, in contract
    form. `instruments` are the enabled ones.
    """

    settings: Settings
    instruments: Sequence[Instrument]
    latest: Mapping[str, str]
    clock: Callable[[], datetime]
    latest_times: Mapping[str, str] = field(default_factory=dict)
    disabled: Sequence[Instrument] = ()
