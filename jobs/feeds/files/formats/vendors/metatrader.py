"""Exports of MetaTrader 4 and 5: bars and ticks in the time of the broker's server. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from db.decimals import is_decimal
from jobs.feeds.files.formats.columns import PRICES
from jobs.feeds.files.formats.format import Format, Head, Layout, clock, recognised, zone_for
from jobs.feeds.files.formats.model import Item, Kind, Line, NoPriceYet, Quote, Recognised
from jobs.feeds.files.formats.notations import DOTS
from jobs.feeds.files.formats.readers import Read, Shape, price, records

_VENDOR = "metatrader"
_DATE = re.compile(r"\d{4}\.\d\d\.\d\d", re.ASCII).fullmatch
_TIME = re.compile(r"\d\d:\d\d(?::\d\d)?", re.ASCII).fullmatch
_MOMENT = re.compile(r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?", re.ASCII).fullmatch


def has_brackets(head: Head) -> bool:
    """True for a header that begins with `<DATE>`."""
    return head.first.lstrip().strip('"').upper().startswith("<DATE>")


def _layout(head: Head, name: str, kind: Kind, places: dict[str, tuple[int, ...]], *, header: bool) -> Layout:
    zone = zone_for(head, name, None, broker=True)
    needed = ("time", "bid", "ask") if kind == "ticks" else ("time", *PRICES)
    # Lines of ticks end after their last field that is not empty.
    width = head.table.width if kind == "candles" else None
    times = clock(head, zone, (DOTS,), unique=kind == "candles")
    return Layout(name, _VENDOR, kind, places, needed, times, zone.name, header=header, width=width)


def _places_5(head: Head, fields: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    place = head.table.place
    moments = tuple(found for name in ("date", "time") if (found := place(name)) is not None)
    return {"time": moments, **head.table.places({field: field for field in fields})}


def _ticks_5(head: Head) -> Recognised:
    layout = _layout(head, "metatrader5-ticks", "ticks", _places_5(head, ("bid", "ask", "volume")), header=True)
    return recognised(head, layout, read=_read_ticks)


def _read_ticks(shape: Shape) -> Read:
    """The reader of ticks in which a side that did not change is empty.

    A line whose time is a fault has sides too: they are filled in before its time is read.
    """
    bid, ask = shape.places["bid"][0], shape.places["ask"][0]
    volume = shape.places["volume"][0] if "volume" in shape.places else None
    column = shape.places["instrument"][0] if shape.instrument is None else None

    def read(lines: Iterable[Line]) -> Iterator[Item]:
        last: dict[str, list[str]] = {}  # instrument -> last bid and ask

        def split(line: str) -> list[str]:
            fields = shape.split(line)
            sides = last.setdefault("" if column is None else fields[column], ["", ""])
            fields += [""] * (max(bid, ask) + 1 - len(fields))
            for side, place in enumerate((bid, ask)):
                text = price(fields[place])
                if not text:
                    fields[place] = sides[side]
                elif is_decimal(text):
                    sides[side] = text
            return fields

        return records(replace(shape, split=split), lines, record)

    def record(fields: list[str], instrument: str, moment: str) -> Quote:
        if not (fields[bid] and fields[ask]):
            raise NoPriceYet
        traded = "" if volume is None or volume >= len(fields) else price(fields[volume])
        return Quote(instrument, moment, price(fields[bid]), price(fields[ask]), None, traded or None)

    return read


def _bars_5(head: Head) -> Recognised:
    places = _places_5(head, PRICES)
    # The traded volume is 0 if the broker has none; then the number of ticks is the volume.
    volumes = tuple(found for name in ("vol", "tickvol") if (found := head.table.place(name)) is not None)
    layout = _layout(head, "metatrader5-bars", "candles", places | ({"volume": volumes} if volumes else {}), header=True)
    return recognised(head, layout)


def _is_bar_4(head: Head) -> bool:
    fields = head.fields()
    return len(fields) == 7 and bool(_DATE(fields[0]) and _TIME(fields[1]))


def _is_tick_4(head: Head) -> bool:
    fields = head.fields()
    return len(fields) >= 3 and bool(_MOMENT(fields[0]))


def _bars_4(head: Head) -> Recognised:
    places = {"time": (0, 1), **{price: (index,) for index, price in enumerate(PRICES, start=2)}, "volume": (6,)}
    return recognised(head, _layout(head, "metatrader4-bars", "candles", places, header=False))


def _ticks_4(head: Head) -> Recognised:
    return recognised(head, _layout(head, "metatrader4-ticks", "ticks", {"time": (0,), "bid": (1,), "ask": (2,)}, header=False))


FORMATS = (
    Format(
        "metatrader5-ticks", _VENDOR, "ticks", "<DATE> <TIME> <BID> <ASK>", ("time", "bid", "ask"),
        lambda head: has_brackets(head) and head.table.has("time", "bid", "ask"), _ticks_5,
    ),
    Format(
        "metatrader5-bars", _VENDOR, "candles", "<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL>", ("time", *PRICES, "volume"),
        lambda head: has_brackets(head) and head.table.has(*PRICES), _bars_5,
    ),
    Format("metatrader4-bars", _VENDOR, "candles", "", ("time", *PRICES, "volume"), _is_bar_4, _bars_4),
    Format("metatrader4-ticks", _VENDOR, "ticks", "", ("time", "bid", "ask"), _is_tick_4, _ticks_4),
)  # fmt: skip
