"""Instruments of tests, with the calendar and the currency that their kind usually has."""

from __future__ import annotations

from db.instruments import Instrument

_CALENDARS = {
    **dict.fromkeys(("fx", "metal", "commodity", "bond"), "fx"),
    **dict.fromkeys(("equity", "index"), "equity"),
    **dict.fromkeys(("crypto", "other"), "crypto"),
}


def make_instrument(symbol: str, name: str, kind: str, precision: int, source: str) -> Instrument:
    """The instrument of these values."""
    currency = symbol.partition("_")[2] or ("USDT" if symbol.endswith("USDT") else "USD")
    return Instrument(symbol, name, kind, precision, source, currency, _CALENDARS[kind])
