"""Files of Dukascopy: exports of its web page and of JForex, and those of dukascopy-node. Pure."""

from __future__ import annotations

import re

from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format, Head, Layout, clock, recognised, zone_for
from jobs.feeds.files.formats.model import BadOptionValue, Kind, Recognised
from jobs.feeds.files.formats.notations import DOTS, DOTS_DAY_FIRST
from jobs.feeds.files.formats.zones import UTC_ZONE, Zone, zone_of

_VENDOR = "dukascopy"
_HEADER_OF_TIME = re.compile(r'"?\s*(?:(?P<gmt>gmt time)|(?P<local>local time)|time \((?P<zone>[^)]+)\))\s*"?', re.IGNORECASE)
_OFFSET = re.compile(r"(?:GMT|UTC)[+-]\d+", re.ASCII)
_NODE_TICKS = ("timestamp", "askprice", "bidprice")
_NODE_BARS = ("timestamp", *PRICES)


def _first_column(head: Head) -> re.Match[str] | None:
    return _HEADER_OF_TIME.fullmatch(head.first.split(head.table.delimiter)[0])


def is_node_bars(head: Head) -> bool:
    """True for the header of candles of dukascopy-node."""
    return head.table.names in (_NODE_BARS, (*_NODE_BARS, "volume"))


def _is_node_ticks(head: Head) -> bool:
    return head.table.names[:3] == _NODE_TICKS


def _zone(head: Head, name: str) -> Zone:
    """The zone in the header. Raises `ZoneMissing` for local times without an offset."""
    header = _first_column(head)
    if header is None or header["gmt"]:
        return zone_for(head, name, UTC_ZONE)
    if header["zone"]:
        try:
            return zone_for(head, name, zone_of(header["zone"].strip()))
        except BadOptionValue:
            return zone_for(head, name, None)
    moment = head.fields(1)[:1]
    return zone_for(head, name, UTC_ZONE if moment and _OFFSET.search(moment[0]) else None)


def _layout(head: Head, kind: Kind, places: dict[str, tuple[int, ...]]) -> Layout:
    name = "dukascopy-ticks" if kind == "ticks" else "dukascopy-bars"
    needed = ("time", "bid", "ask") if kind == "ticks" else ("time", *PRICES)
    zone = _zone(head, name)
    notations = () if _first_column(head) is None else (DOTS_DAY_FIRST, DOTS)  # Unix times or texts without that column
    times = clock(head, zone, notations, unique=kind == "candles")
    return Layout(name, _VENDOR, kind, places, needed, times, zone.name, width=head.table.width)


def _ticks(head: Head) -> Recognised:
    names = {"ask": "askprice", "bid": "bidprice"} if _is_node_ticks(head) else {"ask": "ask", "bid": "bid"}
    places = head.table.places(names)
    return recognised(head, _layout(head, "ticks", {"time": (0,), **places}))


def _bars(head: Head) -> Recognised:
    places = head.table.places({field: field for field in (*PRICES, "volume")})
    return recognised(head, _layout(head, "candles", {"time": (0,), **places}))


FORMATS = (
    Format(
        "dukascopy-ticks", _VENDOR, "ticks", "Gmt time,Ask,Bid", ("time", "bid", "ask"),
        lambda head: _is_node_ticks(head) or (_first_column(head) is not None and head.table.has("ask", "bid")), _ticks,
    ),
    Format(
        "dukascopy-bars", _VENDOR, "candles", "Gmt time,Open,High,Low,Close,Volume", ("time", *PRICES, "volume"),
        lambda head: is_node_bars(head) or (_first_column(head) is not None and head.table.has(*PRICES)), _bars,
    ),
)  # fmt: skip
