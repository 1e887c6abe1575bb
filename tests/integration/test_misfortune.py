"""A scripted hour of misfortune, sixty times as fast: a real jobs process between two exchanges, a bus and a store that all let it down.

Both markets go on whoever listens. Of Binance everything has to be there in the end; of OANDA every candle, and every price but those
that nobody could hear: it has no history of prices.
"""

from __future__ import annotations

import csv
import gzip
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest
import redis as redis_client

from config.settings import Settings
from db.candles import CandleRow, insert_candles
from db.intervals import INTERVALS, candle_start
from db.postgres import Store
from db.timestamps import format_time, parse_time
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.history import OandaHistory
from tests.conftest import until
from tests.processes import ROOT, Running, jobs
from tests.rows import TIME, count, gaps, stored
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn

SPEED = 60.0
HOUR = datetime(2014, 5, 5, 14, tzinfo=UTC)  # the busiest of the recording
TRADES = 60_000
RECORDING = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"

Quote = tuple[str, str, str]  # time, bid, ask


def recorded_hour(file: Path) -> list[Quote]:
    """Write the hour's quotes to `file` and return them. Real times have nanoseconds; where those of the recording, which were cut to
    milliseconds, fell together, the later one is a microsecond later here, so that each quote has a time of its own again."""
    quotes: list[Quote] = []
    with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            moment = parse_time(row["time"])
            if HOUR <= moment < HOUR + timedelta(hours=1):
                after = parse_time(quotes[-1][0]) + timedelta(microseconds=1) if quotes else moment
                quotes.append((format_time(max(moment, after)), row["bid"], row["ask"]))
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([("time", "bid", "ask"), *quotes])
    return quotes


def remember_the_past(store: Store) -> None:
    """One candle of OANDA's of each interval, the last before the hour: this hub has been running for long."""
    rows = []
    for interval in INTERVALS:
        end = candle_start("fx", interval, HOUR)
        start = candle_start("fx", interval, end - timedelta(seconds=1))
        one = ("1.38700", "1.38700", "1.38700", "1.38700")
        rows.append(CandleRow("EUR_USD", interval, format_time(start), format_time(end), one, one, one, "1", 1, True, "oanda"))
    with store.transaction() as cursor:
        insert_candles(cursor, rows)


@dataclass(slots=True)
class Hub:
    """Everything that can be let down."""

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
        """Redis does."""
        assert int(self.redis.client_kill_filter(_type="normal", skipme=True)) > 0

    def kill_jobs(self) -> None:
        """And then nobody asks: SIGKILL."""
        self.jobs.kill()
        self.jobs.start()

    def script(self) -> list[tuple[int, list[Callable[[], None]]]]:
        """(minute of the hour, all that happens)."""
        binance, oanda = self.binance.control, self.oanda.control
        return [
            (3, [lambda: binance("drop")]),
            (5, [lambda: oanda(do="drop")]),
            (7, [lambda: binance("skip", count=40)]),
            (9, [lambda: oanda(do="half")]),
            (11, [self.kill_sessions]),
            (13, [lambda: binance("refuse", status=429, count=2, retry_after=1), lambda: binance("drop")]),
            (15, [self.kill_clients]),
            (17, [lambda: oanda(do="refuse", status=503, times=2), lambda: oanda(do="reset")]),
            (19, [lambda: binance("shutdown")]),
            (21, [lambda: binance("half", count=3), lambda: binance("garbage")]),
            (23, [lambda: oanda(do="say", text='{"type":"PRICE","instrument":"EUR_USD","time":"yesterday"}\nnonsense\n')]),
            (24, [lambda: binance("stall", seconds=3)]),
            (28, [self.kill_jobs]),
            (34, [lambda: binance("vanish", seconds=2)]),
            (38, [lambda: oanda(do="refuse", status=429, times=1, retry_after=2), lambda: oanda(do="end")]),
            (42, [self.kill_sessions, self.kill_clients]),
            (44, [lambda: binance("repeat", count=30), lambda: binance("reorder", count=10)]),
            (46, [lambda: binance("refuse", what="handshake", status=503, count=2)]),
            (47, [lambda: binance("close"), lambda: oanda(do="drop")]),
            (50, [lambda: binance("lose", count=2, symbol="ETHUSDT")]),
            (52, [lambda: binance("refuse", status=502, count=8), lambda: binance("drop")]),
            (55, [self.kill_clients]),
            (57, [lambda: oanda(do="stall")]),  # heard as silence, fifteen seconds later
        ]

    def live_through_it(self) -> None:
        for minute, happens in self.script():
            place = self.binance.state()["length"] * minute // 60
            until(lambda place=place: self.binance.state()["position"] >= place, 60, f"minute {minute}")  # type: ignore[misc]
            for misfortune in happens:
                misfortune()
        until(lambda: self.binance.state()["ended"] and self.oanda.state()["over"], 60, "the end of the hour")


def prices(store: Store) -> list[Quote]:
    with store.transaction() as cursor:
        cursor.execute(f"SELECT {TIME.format('time')}, bid, ask FROM prices WHERE source = 'oanda' AND instrument = 'EUR_USD' ORDER BY 1")  # noqa: S608
        return list(cursor.fetchall())


Told = tuple[str, str, int, tuple[str, ...], tuple[str, ...]]  # interval, start, volume, bid and ask prices


def oanda_candles(store: Store) -> list[Told]:
    start = TIME.format("start_time")
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT interval, {start}, volume::bigint, bid_open, bid_high, bid_low, bid_close, ask_open, ask_high, ask_low, ask_close"  # noqa: S608
            " FROM candles WHERE symbol = 'EUR_USD' AND source = 'oanda' AND end_time > %s ORDER BY 1, 2",
            (HOUR,),
        )
        return [(row[0], row[1], row[2], tuple(row[3:7]), tuple(row[7:])) for row in cursor.fetchall()]


def candles_of(quotes: list[Quote]) -> list[Told]:
    """The candles of these quotes, computed from them alone."""
    found: dict[tuple[str, str], list[Quote]] = defaultdict(list)
    for quote in quotes:
        for interval in INTERVALS:
            found[interval, format_time(candle_start("fx", interval, parse_time(quote[0])))].append(quote)
    return sorted((*key, len(held), _ohlc([bid for _, bid, _ in held]), _ohlc([ask for _, _, ask in held])) for key, held in found.items())


def _ohlc(values: list[str]) -> tuple[str, ...]:
    return values[0], max(values, key=Decimal), min(values, key=Decimal), values[-1]


def volumes(store: Store, interval: str) -> dict[str, Decimal]:
    """What our own candles, made of trades, hold in all."""
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, sum(volume) FROM candles WHERE source = 'trades' AND interval = %s GROUP BY 1", (interval,))
        return {symbol: Decimal(volume) for symbol, volume in cursor.fetchall()}


@pytest.mark.timeout(300)
def test_an_hour_of_misfortune_leaves_the_store_whole(
    settings: Settings, store: Store, raw_redis: redis_client.Redis, tmp_path: Path
) -> None:
    quotes = recorded_hour(tmp_path / "EUR_USD.csv")
    remember_the_past(store)
    with (
        BinanceStandIn(tmp_path, trades=TRADES, per_second=TRADES / 3600, speed=SPEED) as binance,
        OandaStandIn(quotes={"EUR_USD": tmp_path / "EUR_USD.csv"}, speed=SPEED, heartbeat=1.0, wait=False) as oanda,
        jobs(settings, tmp_path / "jobs.log", SOURCES="oanda,binance", **binance.variables, **oanda.environ) as process,
    ):
        hub = Hub(store, raw_redis, binance, oanda, process)
        hub.live_through_it()

        expected = binance.expected()
        until(lambda: count(store) >= len(expected), 60, "every trade")
        assert stored(store) == expected
        lost = [number for _, number in binance.state()["lost"]]
        assert [row[:4] for row in gaps(store, "open", "unfillable")] == [("ETHUSDT", lost[0], lost[1], 2)]

        whole = candles_of(quotes)
        until(lambda: len(oanda_candles(store)) >= len(whole), 60, "OANDA's candles, after the silence was noticed")
        until(lambda: oanda_candles(store) == whole, 10, "candles that are equal to the recording")
        rest = JsonClient(oanda.url, headers={"Authorization": f"Bearer {oanda.token}"})
        told = OandaHistory(rest).candles("EUR_USD", "1m", HOUR, HOUR + timedelta(hours=1), threading.Event())
        assert sum(len(page.candles) for page in told) == sum(1 for each in whole if each[0] == "1m")

        heard = prices(store)
        assert len(heard) == len(set(heard))
        assert set(heard) <= set(quotes)
        # What is missing was said while nobody could hear it: one run for each time that OANDA was not connected, eight in all, and
        # nothing that was sent, but for what was on its way when one end was killed.
        missing = [held for held, _ in groupby(quote in set(heard) for quote in quotes) if not held]
        assert 1 <= len(missing) <= 9
        sent = oanda.state()
        assert sent["sent"] - 500 <= len(heard) <= sent["sent"] + sent["snapshots"]

        totals = {symbol: sum(Decimal(each.quantity) for each in expected if each.symbol == symbol) for symbol in binance.symbols}
        for interval in INTERVALS:
            until(lambda interval=interval: volumes(store, interval) == totals, 30, f"our own candles of {interval}")  # type: ignore[misc]
        assert process.ask_to_stop() == 0
    log = process.output()
    assert oanda.token not in log
    assert oanda.account not in log
    assert "Traceback" not in log
