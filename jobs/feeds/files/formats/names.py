"""Names of instruments and intervals in files and in their names. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from jobs.feeds.files.formats.model import Options, Origin, UnknownInstrument

_PACKED = re.compile(r"\.(gz|zip)$", re.IGNORECASE)
_CURRENCIES = "USD|EUR|GBP|JPY|CHF|AUD|CAD|NZD|SEK|NOK|DKK|PLN|HUF|CZK|TRY|ZAR|MXN|BRL|ILS|SGD|HKD|CNH|CNY|INR|THB|KRW"
_PAIR = re.compile(rf"(?<![A-Z0-9])([A-Z]{{3}})[_.]?({_CURRENCIES})(?![A-Z])")
# Granularities of OANDA, periods of MetaTrader, intervals of Binance and ours. `1M` is a month.
_INTERVALS = {
    "M1": "1m", "M5": "5m", "M15": "15m", "H1": "1h", "H4": "4h", "D": "1d", "D1": "1d", "DAILY": "1d",
    "1m": "1m", "5m": "5m", "15m": "15m", "1h": "1h", "4h": "4h", "1d": "1d",
    "1H": "1h", "4H": "4h", "1D": "1d", "m1": "1m", "m5": "5m", "m15": "15m", "h1": "1h", "h4": "4h", "d1": "1d",
}  # fmt: skip
_INTERVAL = re.compile(rf"(?<=[ (-])({'|'.join(sorted(_INTERVALS, key=len, reverse=True))})(?![A-Za-z0-9])")


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
    found = _INTERVAL.findall(name.replace("_", " "))
    return _INTERVALS[found[-1]] if found else None


def chosen_instrument(name: str, instruments: Collection[str], options: Options, *, joined: bool) -> tuple[str, Origin]:
    """The instrument of all records of a file without a column for it.

    `joined` allows names without `_`. Raises `UnknownInstrument`.
    """
    if options.instrument is not None:
        return options.instrument, "--instrument"
    found = joined_instrument_of(name, instruments) if joined else instrument_of(name, instruments)
    if found is None:
        unknown = _unknown_name(stem_of(name))
        raise UnknownInstrument(unknown, "the file's name", likely_kind(unknown or ""))
    return found, "the file's name"


def _unknown_name(text: str) -> str | None:
    """A name that no instrument has: of a pair such as XAU_USD, else the file's first word."""
    if pair := _PAIR.search(text):
        return f"{pair[1]}_{pair[2]}"
    word = re.match(r"[A-Z0-9]{1,16}(?![A-Z0-9])", text)
    return word[0] if word else None


def likely_kind(name: str) -> str:
    """The kind that an instrument of this name probably has, for a proposal."""
    if name.startswith(("XAU", "XAG", "XPT", "XPD")):
        return "metal"
    if re.fullmatch(rf"(?:{_CURRENCIES})_(?:{_CURRENCIES})", name):
        return "fx"
    return "crypto" if name.endswith(("USDT", "USDC")) else "KIND"


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
