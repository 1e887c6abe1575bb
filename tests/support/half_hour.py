"""Half an hour of faults in half a minute: a jobs process, two exchanges, a bus and a store.

Both markets continue while nobody is connected. At the end the store has every trade of Binance and
every candle of OANDA. It has every price of OANDA except those of an outage, as OANDA has no
history of prices.
"""

from __future__ import annotations

import csv
import gzip
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import redis as redis_client

from config.settings import Settings
from db.candles import CandleRow, insert_candles
from db.intervals import INTERVALS, candle_start
from db.postgres import Store
from db.timestamps import format_time, parse_time
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.history import OandaHistory
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn
from tests.support.processes import ROOT, Running, jobs
from tests.support.store import TIME
from tests.support.store import count_trades as count
from tests.support.store import stored_trades as stored

SPEED = 60.0
HALF_HOUR = timedelta(minutes=30)
TRADES = 30_000
RECORDING = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"

Quote = tuple[str, str, str]  # time, bid, ask
Action = Callable[[], None]
Script = list[tuple[int, list[Action]]]  # minute of the half hour, the faults of that minute


def record_quotes(start: datetime, file: Path) -> list[Quote]:
    """Write the quotes of the half hour to `file` and return them, each with a time of its own.

    The times of the recording are cut to milliseconds. If two are equal, the later one is moved by
    a microsecond.
    """
    quotes: list[Quote] = []
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            moment = parse_time(row["time"])
            if start <= moment < start + HALF_HOUR:
                after = parse_time(quotes[-1][0]) + timedelta(microseconds=1) if quotes else moment
                quotes.append((format_time(max(moment, after)), row["bid"], row["ask"]))
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([("time", "bid", "ask"), *quotes])
    return quotes


def store_earlier_candles(store: Store, start: datetime) -> None:
    """Store OANDA's last candle before `start` of each interval, as if the jobs had run before."""
    rows = []
    for interval in INTERVALS:
        end = candle_start("fx", interval, start)
        begin = candle_start("fx", interval, end - timedelta(seconds=1))
        one = ("1.38700", "1.38700", "1.38700", "1.38700")
        rows.append(CandleRow("EUR_USD", interval, format_time(begin), format_time(end), one, one, one, "1", 1, True, "oanda"))
    with store.transaction() as cursor:
        insert_candles(cursor, rows)


@dataclass(slots=True)
class HalfHour:
    """The parts of the system that fail, and the market from `start` on."""

    start: datetime
    quotes: list[Quote]
    store: Store
    redis: redis_client.Redis
    binance: BinanceStandIn
    oanda: OandaStandIn
    jobs: Running

    def kill_sessions(self) -> None:
        """PostgreSQL ends every connection of the jobs."""
        with self.store.transaction() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'tickwire-jobs' AND datname = current_database()"
            )
            assert cursor.fetchall()[0][0] > 0

    def kill_clients(self) -> None:
        """Redis ends every connection."""
        assert int(self.redis.client_kill_filter(_type="normal", skipme=True)) > 0

    def kill_jobs(self) -> None:
        """The jobs process ends by SIGKILL and is started again."""
        self.jobs.kill()
        self.jobs.start()

    def play(self, script: Script) -> None:
        """Cause each fault at its minute; return at the end of both markets."""
        for minute, faults in script:
            place = self.binance.state()["length"] * minute // 30
            until(lambda place=place: self.binance.state()["position"] >= place, 60, f"minute {minute}")  # type: ignore[misc]
            for fault in faults:
                fault()
        until(lambda: self.binance.state()["ended"] and self.oanda.state()["over"], 60, "the end of the half hour")

    def lost_ids(self) -> list[int]:
        """Return the ids of the trades that not even the exchange's history has."""
        return [number for _, number in self.binance.state()["lost"]]


@contextmanager
def half_hour(start: datetime, settings: Settings, store: Store, redis: redis_client.Redis, folder: Path) -> Iterator[HalfHour]:
    """Start both markets and the jobs; at the end stop the jobs and check their log."""
    quotes = record_quotes(start, folder / "EUR_USD.csv")
    store_earlier_candles(store, start)
    with (
        BinanceStandIn(folder, trades=TRADES, per_second=TRADES / HALF_HOUR.total_seconds(), speed=SPEED) as binance,
        OandaStandIn(quotes={"EUR_USD": folder / "EUR_USD.csv"}, speed=SPEED, heartbeat=1.0, wait=False) as oanda,
        jobs(settings, folder / "jobs.log", SOURCES="oanda,binance", **binance.variables, **oanda.environ) as process,
    ):
        yield HalfHour(start, quotes, store, redis, binance, oanda, process)
        assert process.ask_to_stop() == 0
    log = process.output()
    assert oanda.token not in log
    assert oanda.account not in log
    assert "Traceback" not in log


def check_trades(half: HalfHour) -> None:
    """The store has every trade, and our own candles contain the volume of each."""
    expected = half.binance.expected()
    until(lambda: count(half.store) >= len(expected), 60, "every trade")
    assert stored(half.store) == expected
    totals = {symbol: sum(Decimal(each.quantity) for each in expected if each.symbol == symbol) for symbol in half.binance.symbols}
    for interval in INTERVALS:
        until(lambda interval=interval: volumes(half.store, interval) == totals, 30, f"our own candles of {interval}")  # type: ignore[misc]


def check_candles(half: HalfHour) -> None:
    """The store has every candle of OANDA, equal to the recording; so has OANDA's history."""
    whole = candles_of(half.quotes)
    until(lambda: len(oanda_candles(half)) >= len(whole), 60, "OANDA's candles, after the silence was noticed")
    until(lambda: oanda_candles(half) == whole, 20, "candles that are equal to the recording")
    rest = JsonClient(half.oanda.url, headers={"Authorization": f"Bearer {half.oanda.token}"})
    pages = OandaHistory(rest).candles("EUR_USD", "1m", half.start, half.start + HALF_HOUR, threading.Event())
    assert sum(len(page.candles) for page in pages) == sum(1 for each in whole if each[0] == "1m")


def check_prices(half: HalfHour, outages: int) -> None:
    """The store has every price once, except those of at most `outages` lost connections.

    Prices that were on their way when one end was killed may be missing too.
    """
    found = prices(half.store)
    assert len(found) == len(set(found))
    assert set(found) <= set(half.quotes)
    missing = [held for held, _ in groupby(quote in set(found) for quote in half.quotes) if not held]
    assert 1 <= len(missing) <= outages + 1
    sent = half.oanda.state()
    assert sent["sent"] - 500 <= len(found) <= sent["sent"] + sent["snapshots"]


def prices(store: Store) -> list[Quote]:
    """Return the stored quotes of OANDA in the order of their times."""
    with store.transaction() as cursor:
        cursor.execute(f"SELECT {TIME.format('time')}, bid, ask FROM prices WHERE source = 'oanda' AND instrument = 'EUR_USD' ORDER BY 1")  # noqa: S608
        return list(cursor.fetchall())


Candle = tuple[str, str, int, tuple[str, ...], tuple[str, ...]]  # interval, start, volume, bid and ask prices


def oanda_candles(half: HalfHour) -> list[Candle]:
    """Return the stored candles of OANDA that end after the start."""
    start = TIME.format("start_time")
    with half.store.transaction() as cursor:
        cursor.execute(
            f"SELECT interval, {start}, volume::bigint, bid_open, bid_high, bid_low, bid_close, ask_open, ask_high, ask_low, ask_close"  # noqa: S608
            " FROM candles WHERE symbol = 'EUR_USD' AND source = 'oanda' AND end_time > %s ORDER BY 1, 2",
            (half.start,),
        )
        return [(row[0], row[1], row[2], tuple(row[3:7]), tuple(row[7:])) for row in cursor.fetchall()]


def candles_of(quotes: list[Quote]) -> list[Candle]:
    """Compute the candles of these quotes."""
    found: dict[tuple[str, str], list[Quote]] = defaultdict(list)
    for quote in quotes:
        for interval in INTERVALS:
            found[interval, format_time(candle_start("fx", interval, parse_time(quote[0])))].append(quote)
    return sorted((*key, len(held), _ohlc([bid for _, bid, _ in held]), _ohlc([ask for _, _, ask in held])) for key, held in found.items())


def _ohlc(values: list[str]) -> tuple[str, ...]:
    return values[0], max(values, key=Decimal), min(values, key=Decimal), values[-1]


def volumes(store: Store, interval: str) -> dict[str, Decimal]:
    """Return symbol -> sum of the volumes of our own candles, which are made of trades."""
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, sum(volume) FROM candles WHERE source = 'trades' AND interval = %s GROUP BY 1", (interval,))
        return {symbol: Decimal(volume) for symbol, volume in cursor.fetchall()}
