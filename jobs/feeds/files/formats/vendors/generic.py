"""Files of no particular vendor: ticks or candles with a header, or with `--columns`. Pure."""

from __future__ import annotations

from jobs.feeds.files.formats.columns import PRICES, without_header
from jobs.feeds.files.formats.format import Format, Head, Layout, clock, recognised, zone_for
from jobs.feeds.files.formats.model import Kind, Recognised
from jobs.feeds.files.formats.vendors.dukascopy import is_node_bars
from jobs.feeds.files.formats.vendors.metatrader import has_brackets
from jobs.feeds.files.formats.zones import UTC_ZONE

_TIMES = ("time", "timestamp", "datetime", "date_time", "date/time", "date")
_ONE_PRICE = ("mid", "price", "last")
_INSTRUMENTS = ("instrument", "symbol", "pair", "ticker")
_VOLUMES = ("volume", "vol")


def _is_of_others(head: Head) -> bool:
    """True for headers of MetaTrader and of trades of Binance."""
    return has_brackets(head) or head.table.has("is_buyer_maker")


def _moment(head: Head) -> tuple[int, ...]:
    """The columns of the time: `Date` and `Time` together, or one of `_TIMES`."""
    date, time = head.table.place("date"), head.table.place("time")
    if date is not None and time is not None:
        return date, time
    return next(((place,) for name in _TIMES if (place := head.table.place(name)) is not None), ())


def _has_ticks(head: Head) -> bool:
    table = head.table
    prices = table.has("bid", "ask") or (any(map(table.has, _ONE_PRICE)) and not table.has(*PRICES))
    # `time,bid,ask` is our own format, unless the date is in a column of its own.
    ours = table.has("time", "bid", "ask") and not table.has("date")
    return bool(_moment(head)) and prices and not ours and not _is_of_others(head)


def _has_candles(head: Head) -> bool:
    return bool(_moment(head)) and head.table.has(*PRICES) and not is_node_bars(head) and not _is_of_others(head)


def _places(head: Head, kind: Kind) -> dict[str, tuple[int, ...]]:
    place = head.table.place
    names = {"instrument": _INSTRUMENTS, "volume": _VOLUMES}
    if kind == "candles":
        names |= {price: (price,) for price in PRICES} | {"trades": ("trades",)}
    elif head.table.has("bid", "ask"):
        names |= {"bid": ("bid",), "ask": ("ask",), "mid": ("mid",)}
    else:
        names |= {"mid": _ONE_PRICE}
    found = {field: next(((at,) for name in each if (at := place(name)) is not None), ()) for field, each in names.items()}
    return {field: places for field, places in {"time": _moment(head), **found}.items() if places}


def _recognised(head: Head, name: str, kind: Kind) -> Recognised:
    columns = head.options.columns
    header = not columns or not without_header(columns.values())
    zone = zone_for(head, name, UTC_ZONE)
    places = _places(head, kind) if header else {}
    layout = Layout(
        name,
        name,
        kind,
        places,
        _needed(kind, {*places, *columns}),
        clock(head, zone, unique=kind == "candles"),
        zone.name,
        header=header,
        width=head.table.width if header else None,
    )
    return recognised(head, layout)


def _needed(kind: Kind, fields: set[str]) -> tuple[str, ...]:
    if kind == "ticks":
        return ("time", "mid") if "mid" in fields and not {"bid", "ask"} & fields else ("time", "bid", "ask")
    sides = [side for side in ("", "bid_", "ask_") if any(f"{side}{price}" in fields for price in PRICES)]
    if sides in (["bid_"], ["ask_"]):
        sides = ["bid_", "ask_"]
    return ("time", *(f"{side}{price}" for side in sides or [""] for price in PRICES))


FORMATS = (
    Format("ticks", "ticks", "ticks", "time,bid,ask", ("time", "bid", "ask"), _has_ticks, lambda head: _recognised(head, "ticks", "ticks")),
    Format(
        "ohlc",
        "ohlc",
        "candles",
        "time,open,high,low,close",
        ("time", *PRICES),
        _has_candles,
        lambda head: _recognised(head, "ohlc", "candles"),
    ),
)
