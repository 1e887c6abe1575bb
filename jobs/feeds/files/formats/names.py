"""Names of instruments and intervals in files and in their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from jobs.feeds.files.formats.model import Options, Origin, UnknownInstrument

_PACKED = re.compile(r"\.(gz|zip)$", re.IGNORECASE)
_NAMED = re.compile(r"(?<![A-Z0-9])([A-Z]{3})[_.]?([A-Z]{3})(?![A-Z])")
# Granularities of OANDA, periods of MetaTrader, intervals of Binance and ours.
_INTERVALS = {
    "M1": "1m", "M5": "5m", "M15": "15m", "H1": "1h", "H4": "4h", "D": "1d", "D1": "1d", "DAILY": "1d",
    "1M": "1m", "5M": "5m", "15M": "15m", "1H": "1h", "4H": "4h", "1D": "1d",
    "1_M": "1m", "5_M": "5m", "15_M": "15m", "1_HOUR": "1h", "4_HOUR": "4h", "1_D": "1d",
}  # fmt: skip
_INTERVAL = re.compile(rf"(?<![A-Z0-9.])({'|'.join(sorted(_INTERVALS, key=len, reverse=True))})(?![A-Z0-9])")


def instrument_name(text: str) -> str:
    """An instrument's name as it is written in files: `eur/usd` and `EUR-USD` are EUR_USD."""
    return text.upper().replace("/", "_").replace("-", "_")


def stem_of(name: str) -> str:
    """A file's name in capitals without the ending of an archive."""
    return instrument_name(_PACKED.sub("", name))


def instrument_of(name: str, instruments: Collection[str]) -> str | None:
    """The instrument that a file's name begins with, in any case; None if there is none.

    EUR_USD in `EUR_USD_20140505.csv.gz` and `eur-usd 2014.csv`: any character but a letter or digit
    ends the instrument.
    """
    text = instrument_name(name)
    for symbol in sorted(instruments, key=len, reverse=True):
        if text.startswith(symbol) and not text[len(symbol) : len(symbol) + 1].isalnum():
            return symbol
    return None


def joined_instrument_of(name: str, instruments: Collection[str]) -> str | None:
    """The instrument that stands anywhere in the name of another vendor's file, `_` left out.

    EUR_USD in `DAT_ASCII_EURUSD_T_202603.csv`, BTCUSDT in `BTCUSDT-1m-2026-03.zip`. Digits may
    follow it, because MetaTrader 4 appends the minutes of a bar: `EURUSD60.csv`.
    """
    if found := instrument_of(name, instruments):
        return found
    text = stem_of(name)
    for symbol in sorted(instruments, key=len, reverse=True):
        pattern = symbol.replace("_", "[_.]?") if "_" in symbol else re.escape(symbol)
        if re.search(rf"(?<![A-Z0-9]){pattern}(?![A-Z])", text):
            return symbol
    return None


def interval_in(name: str) -> str | None:
    """The interval in a file's name: `_H1`, `_M1_`, `-1m-`; None if there is none."""
    found = _INTERVAL.findall(stem_of(name))
    return _INTERVALS[found[-1]] if found else None


def chosen_instrument(name: str, instruments: Collection[str], options: Options, *, joined: bool) -> tuple[str, Origin]:
    """The instrument of all records of a file without a column for it.

    `joined` allows names without `_`. Raises `UnknownInstrument`.
    """
    if options.instrument is not None:
        if options.instrument not in instruments:
            raise UnknownInstrument(options.instrument, "--instrument")
        return options.instrument, "--instrument"
    found = joined_instrument_of(name, instruments) if joined else instrument_of(name, instruments)
    if found is None:
        raise UnknownInstrument(_unknown_name(stem_of(name)), "the file's name")
    return found, "the file's name"


def _unknown_name(text: str) -> str | None:
    """A name such as XAU_USD in a file's name, which no instrument has."""
    found = _NAMED.search(text)
    return f"{found[1]}_{found[2]}" if found else None


class ColumnNames(dict[str, str]):
    """Text of a column -> the instrument's name.

    `EURUSD` is EUR_USD if that instrument exists, and if no other is named so.
    """

    def __init__(self, instruments: Collection[str], *, joined: bool) -> None:
        super().__init__()
        self._known = frozenset(instruments)
        self._joined = {symbol.replace("_", ""): symbol for symbol in instruments} if joined else {}

    def __missing__(self, text: str) -> str:
        name = instrument_name(text.strip())
        found = name if name in self._known else self._joined.get(name.replace("_", ""), name)
        if len(self) < 10_000:
            self[text] = found
        return found
