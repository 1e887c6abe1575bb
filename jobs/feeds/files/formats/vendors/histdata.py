"""Generic ASCII files of HistData: bid and ask ticks, bars of the bid; always UTC-05:00. Pure."""

from __future__ import annotations

import re

from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format, Head, Layout, clock, recognised, zone_for
from jobs.feeds.files.formats.model import Recognised
from jobs.feeds.files.formats.notations import COMPACT
from jobs.feeds.files.formats.zones import zone_of

_VENDOR = "histdata"
_ZONE = zone_of("UTC-05:00")  # eastern standard time without daylight saving
_TICK = re.compile(r"\d{8} \d{9}", re.ASCII).fullmatch
_BAR = re.compile(r"\d{8} \d{6}", re.ASCII).fullmatch


def _is_tick(head: Head) -> bool:
    fields = head.fields()
    return head.table.delimiter == "," and len(fields) in (3, 4) and bool(_TICK(fields[0]))


def _is_bar(head: Head) -> bool:
    fields = head.fields()
    return len(fields) in (5, 6) and bool(_BAR(fields[0]))


def _ticks(head: Head) -> Recognised:
    zone = zone_for(head, "histdata-ticks", _ZONE)
    places = {"time": (0,), "bid": (1,), "ask": (2,)}
    times = clock(head, zone, (COMPACT,), unique=False)
    return recognised(head, Layout("histdata-ticks", _VENDOR, "ticks", places, ("bid", "ask"), times, zone.name, header=False))


def _bars(head: Head) -> Recognised:
    zone = zone_for(head, "histdata-m1", _ZONE)
    # The volume of these files is always 0: they have none.
    places = {"time": (0,), **{price: (index,) for index, price in enumerate(PRICES, start=1)}, "volume": (5,)}
    times = clock(head, zone, (COMPACT,), unique=True)
    layout = Layout("histdata-m1", _VENDOR, "candles", places, PRICES, times, zone.name, header=False)
    return recognised(head, layout, interval="1m")


FORMATS = (
    Format("histdata-ticks", _VENDOR, "ticks", "", ("time", "bid", "ask"), _is_tick, _ticks),
    Format("histdata-m1", _VENDOR, "candles", "", ("time", *PRICES, "volume"), _is_bar, _bars),
)
