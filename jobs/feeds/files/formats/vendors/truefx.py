"""Ticks of TrueFX: instrument, time in UTC, bid, ask. Pure."""

from __future__ import annotations

import re

from jobs.feeds.files.formats.format import Format, Head, Layout, clock, recognised, zone_for
from jobs.feeds.files.formats.model import Recognised
from jobs.feeds.files.formats.notations import COMPACT
from jobs.feeds.files.formats.zones import UTC_ZONE

_NAME = _VENDOR = "truefx"
_LINE = re.compile(r"[A-Z]{3}/[A-Z]{3},\d{8} \d\d:\d\d:\d\d(?:\.\d{1,9})?,[^,]+,[^,]+", re.ASCII)
_FIELDS = ("instrument", "time", "bid", "ask")


def _ticks(head: Head) -> Recognised:
    zone = zone_for(head, _NAME, UTC_ZONE)
    places = {field: (index,) for index, field in enumerate(_FIELDS)}
    times = clock(head, zone, (COMPACT,), unique=False)
    return recognised(head, Layout(_NAME, _VENDOR, "ticks", places, _FIELDS, times, zone.name, header=False, width=len(_FIELDS)))


FORMATS = (Format(_NAME, _VENDOR, "ticks", "", _FIELDS, lambda head: _LINE.fullmatch(head.first) is not None, _ticks),)
