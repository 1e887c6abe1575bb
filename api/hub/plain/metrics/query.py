"""The options in the URL of `/ws/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api.hub.fanout import RATES, granted
from api.hub.plain.query import read_options, refuse_option
from api.hub.plain.service import Options
from db.bus.observability.snapshots import SECTIONS

MAX_RATE = 10.0  # Hz
_MAX_DIGITS = 16
_NAMES = ("channels", "max_rate", "heartbeat")


@dataclass(frozen=True, slots=True)
class MetricsOptions(Options):
    """The choices of a client. `sections` None is the default of all."""

    sections: tuple[str, ...] | None = None
    max_rate: float | None = None  # a granted one


def read_query(query: str) -> MetricsOptions:
    """Return the options of a query string. Raises `Refusal` (`invalid_payload`)."""
    given = read_options(query, _NAMES)
    return MetricsOptions(_sections(given), _max_rate(given), text_heartbeat=_heartbeat(given))


def _sections(given: Mapping[str, str]) -> tuple[str, ...] | None:
    if (text := given.get("channels")) is None:
        return None
    names = text.split(",")
    if not set(names) <= set(SECTIONS):
        refuse_option("channels", f"A comma list of {', '.join(SECTIONS)}.")
    return tuple(name for name in SECTIONS if name in names)


def _max_rate(given: Mapping[str, str]) -> float | None:
    if (text := given.get("max_rate")) is None:
        return None
    try:
        rate = float(text) if text.isascii() and len(text) <= _MAX_DIGITS and not text.strip("0123456789.") else None
    except ValueError:
        rate = None
    if rate is None or not RATES[0] <= rate <= MAX_RATE:
        refuse_option("max_rate", f"A number from {RATES[0]:g} to {MAX_RATE:g}.")
    return granted(rate)


def _heartbeat(given: Mapping[str, str]) -> bool:
    if (text := given.get("heartbeat")) not in (None, "text"):
        refuse_option("heartbeat", "Only `text`.")
    return text is not None
