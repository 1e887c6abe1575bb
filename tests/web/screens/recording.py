"""Write the recording of the screenshots: `python -m tests.web.screens.recording`.

It ends at `MOMENT`. The last 26 hours are dense. The month before has three quotes an hour, because
correlation needs 48 common hours. EUR_USD is the recording of data/recordings, moved in time by
whole seconds. The other levels of FX are those of its day, and those of cryptocurrencies are those
of the recorded order book. Pairs without the dollar follow from the pairs with it, so that no
triangle of pairs is open.

The random numbers are those of `random.Random` with a fixed seed: the file has the same bytes at
each run, if zlib is the same.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from zoneinfo import ZoneInfo

ROOT = Path(__file__).parents[3]
FILE = Path(__file__).parents[1] / "data" / "screens.csv.gz"
REAL = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"
MOMENT = datetime(2025, 11, 18, 15, 30, tzinfo=UTC)  # the frozen time, a Tuesday
DENSE = timedelta(hours=26)
PAST = timedelta(days=31)
MINUTE = timedelta(minutes=1)
_REAL_END = datetime(2014, 5, 6, tzinfo=UTC)
_SEED = 17
_NEW_YORK = ZoneInfo("America/New_York")
_SHARED = 0.5  # share of the variance that the instruments of a kind have in common
# per minute in which the market is open
_SIGMA = {
    "fx": 0.08 / math.sqrt(252 * 24 * 60),
    "crypto": 0.60 / math.sqrt(365 * 24 * 60),
    "equity": 0.25 / math.sqrt(252 * 390),
}
_SPREAD = {"fx": 0.00010, "crypto": 0.00001, "equity": 0.00006}  # of the price


@dataclass(frozen=True, slots=True)
class Walk:
    """An instrument or a currency against the dollar: kind, level at the end, digits of a price."""

    kind: str
    level: float
    digits: int = 5


# currency -> dollars per unit
_CURRENCIES = {
    "GBP": 1.6868, "JPY": 1 / 102.15, "CHF": 1 / 0.8775, "AUD": 0.9278, "CAD": 1 / 1.0955, "NZD": 0.8695,
}  # fmt: skip
_PAIRS = (
    "EUR_USD", "GBP_USD", "USD_JPY", "USD_CHF", "AUD_USD", "USD_CAD", "NZD_USD", "EUR_GBP", "EUR_JPY", "EUR_CHF", "EUR_AUD", "EUR_CAD",
    "GBP_JPY", "GBP_CHF", "GBP_AUD", "AUD_JPY", "AUD_NZD", "CAD_JPY", "CHF_JPY", "NZD_JPY",
)  # fmt: skip
_OTHERS = {
    "BTCUSDT": Walk("crypto", 61_837.64, 2), "ETHUSDT": Walk("crypto", 2_682.4, 2), "SOLUSDT": Walk("crypto", 158.2, 2),
    "BNBUSDT": Walk("crypto", 515.7, 2), "ADAUSDT": Walk("crypto", 0.3462, 4), "XRPUSDT": Walk("crypto", 0.6105, 4),
    "AAPL": Walk("equity", 268.40, 2), "GOOGL": Walk("equity", 284.60, 2), "MSFT": Walk("equity", 508.30, 2),
    "TSLA": Walk("equity", 404.20, 2), "AMZN": Walk("equity", 233.10, 2),
}  # fmt: skip
_OFTEN = {"GBP_USD", "USD_JPY", "BTCUSDT", "ETHUSDT", "AAPL"}  # two quotes a minute


def is_open(kind: str, moment: datetime) -> bool:
    """Return True if the market of this kind trades, without regard to holidays."""
    local = moment.astimezone(_NEW_YORK)
    day, minute = local.isoweekday(), local.hour * 60 + local.minute
    if kind == "fx":
        return not (day == 6 or (day == 5 and minute >= 17 * 60) or (day == 7 and minute < 17 * 60))
    return kind == "crypto" or (day <= 5 and 9 * 60 + 30 <= minute < 16 * 60)


def minutes() -> list[datetime]:
    """Every minute from the beginning of the recording to its end."""
    begin = MOMENT - PAST
    return [begin + MINUTE * number for number in range(int(PAST / MINUTE))]


def real_quotes() -> list[tuple[datetime, str, str]]:
    """The recording of EUR_USD, moved so that its day ends at `MOMENT`."""
    with gzip.open(REAL, "rt", newline="") as file:
        rows = [(datetime.fromisoformat(time), bid, ask) for time, bid, ask in list(csv.reader(file))[1:]]
    return [(time + (MOMENT - _REAL_END), bid, ask) for time, bid, ask in rows]


class Levels:
    """The level of each currency and each other instrument, for every minute."""

    def __init__(self, moments: list[datetime], real: list[tuple[datetime, str, str]]) -> None:
        chance = random.Random(_SEED)
        self.trades = {kind: [is_open(kind, moment) for moment in moments] for kind in _SIGMA}
        self._common = {kind: [chance.gauss(0, 1) for _ in moments] for kind in _SIGMA}
        walks = {name: Walk("fx", level) for name, level in _CURRENCIES.items()} | _OTHERS
        self._paths = {name: self._path(walk, len(moments), chance) for name, walk in walks.items()}
        self._paths["USD"] = [1.0] * len(moments)
        self._paths["EUR"] = self._euro(moments, real, chance)

    def _path(self, walk: Walk, length: int, chance: random.Random) -> list[float]:
        shared, own, sigma = math.sqrt(_SHARED), math.sqrt(1 - _SHARED), _SIGMA[walk.kind]
        value, path = 0.0, []
        for trades, common in zip(self.trades[walk.kind][:length], self._common[walk.kind], strict=False):
            step = sigma * (shared * common + own * chance.gauss(0, 1))
            value += step if trades else 0.0
            path.append(value)
        return [walk.level * math.exp(each - value) for each in path]

    def _euro(self, moments: list[datetime], real: list[tuple[datetime, str, str]], chance: random.Random) -> list[float]:
        """A walk that ends at the first recorded quote, then the recording."""
        times = [time for time, _, _ in real]
        before = bisect_right(moments, times[0])
        walk = self._path(Walk("fx", _middle(real[0])), before, chance)
        return walk + [_middle(real[bisect_right(times, moment) - 1]) for moment in moments[before:]]

    def of(self, symbol: str, number: int) -> float:
        """The level of an instrument in a minute."""
        if symbol in _OTHERS:
            return self._paths[symbol][number]
        base, quote = symbol.split("_")
        return self._paths[base][number] / self._paths[quote][number]


def _middle(quote: tuple[datetime, str, str]) -> float:
    return (float(quote[1]) + float(quote[2])) / 2


def _digits(symbol: str) -> int:
    return _OTHERS[symbol].digits if symbol in _OTHERS else 3 if symbol.endswith("JPY") else 5


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Every line: time, bid, ask, instrument; sorted by time and instrument."""
    moments, real = minutes(), real_quotes()
    levels, chance = Levels(moments, real), random.Random(_SEED + 1)
    first_real = real[0][0]
    found: list[tuple[datetime, str, str, str]] = [(time, "EUR_USD", bid, ask) for time, bid, ask in real]
    for symbol in (*_PAIRS, *_OTHERS):
        kind = _OTHERS[symbol].kind if symbol in _OTHERS else "fx"
        for number, moment in enumerate(moments):
            if levels.trades[kind][number] and not (symbol == "EUR_USD" and moment >= first_real - MINUTE):
                for second in _seconds(symbol, moment, chance):
                    found.append((moment + timedelta(seconds=second), symbol, *_quote(levels.of(symbol, number), symbol, kind, chance)))
    for time, symbol, bid, ask in sorted(found, key=itemgetter(0, 1)):
        yield _text(time), bid, ask, symbol


def _seconds(symbol: str, moment: datetime, chance: random.Random) -> list[int]:
    """The seconds of a minute at which a quote comes."""
    if moment < MOMENT - DENSE:
        return [chance.randrange(60)] if moment.minute % 20 == _place(symbol) % 20 else []
    return sorted(chance.sample(range(60), 2 if symbol in _OFTEN else 1))


def _place(symbol: str) -> int:
    """The minute in which a symbol has its quotes of the past; Python's hash() differs."""
    return sum(symbol.encode())


def _quote(level: float, symbol: str, kind: str, chance: random.Random) -> tuple[str, str]:
    """Bid and ask around the level, which moves by a part of a minute's step."""
    level *= math.exp(0.4 * _SIGMA[kind] * chance.gauss(0, 1))
    digits = _digits(symbol)
    half = max(level * _SPREAD[kind] * chance.uniform(0.7, 1.3) / 2, 10**-digits / 2)
    bid = round(level - half, digits)
    ask = max(round(level + half, digits), bid + 10**-digits)
    return f"{bid:.{digits}f}", f"{ask:.{digits}f}"


def _text(time: datetime) -> str:
    text = time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def packed() -> bytes:
    """The bytes of the file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("time", "bid", "ask", "instrument"))
    writer.writerows(rows())
    return gzip.compress(text.getvalue().encode(), 9, mtime=0)


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(packed())
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
