"""Our own files: CSV with a header, also as `/ticks` and `/candles` export it, and NDJSON. Pure."""

from __future__ import annotations

from jobs.feeds.files.formats.clock import IsoTimes
from jobs.feeds.files.formats.columns import PRICES, splitter
from jobs.feeds.files.formats.format import Format, Head
from jobs.feeds.files.formats.model import Kind, Origin, Recognised
from jobs.feeds.files.formats.names import ColumnNames, chosen_instrument, interval_in
from jobs.feeds.files.formats.readers import Shape, candles, quotes

_NAME = _VENDOR = "tickwire"
_SIDES = ("", "bid_", "ask_")


def _shape(head: Head, fields: dict[str, str]) -> tuple[Shape, str | None, Origin]:
    """`fields` maps fields to the names of columns that may be there."""
    table = head.table
    places = {field: (place,) for field, name in fields.items() if (place := table.place(name)) is not None}
    names = ColumnNames(head.instruments, joined=False)
    if "instrument" in places:
        return Shape(splitter(table.delimiter), places, IsoTimes, True, table.width, None, names, head.options.instrument), None, "a column"
    instrument, origin = chosen_instrument(head.name, head.instruments, head.options, joined=False)
    return Shape(splitter(table.delimiter), places, IsoTimes, True, table.width, instrument, names), instrument, origin


def _ticks(head: Head) -> Recognised:
    shape, instrument, origin = _shape(head, {name: name for name in ("time", "instrument", "bid", "ask", "mid", "volume")})
    return _recognised("ticks", None, instrument, origin, shape)


def _candles(head: Head) -> Recognised:
    prices = [f"{side}{price}" for side in _SIDES for price in PRICES]
    fields = {name: name for name in ("instrument", *prices, "volume", "trades")} | {"time": "start_time"}
    shape, instrument, origin = _shape(head, fields)
    return _recognised("candles", head.options.interval or interval_in(head.name), instrument, origin, shape)


def _recognised(kind: Kind, interval: str | None, instrument: str | None, origin: Origin, shape: Shape) -> Recognised:
    read = quotes(shape) if kind == "ticks" else candles(shape)
    return Recognised(_NAME, _VENDOR, kind, interval, "UTC", instrument, origin, "trades" in shape.places, read)


FORMATS = (
    Format(_NAME, _VENDOR, "ticks", "time,bid,ask", lambda head: head.table.has("time", "bid", "ask"), _ticks),
    Format(_NAME, _VENDOR, "candles", "start_time,open,high,low,close", lambda head: head.table.has("start_time", "open"), _candles),
)
