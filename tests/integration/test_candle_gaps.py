"""Candles of a broker that were missed, fetched from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.postgres import Store
from db.timestamps import format_time
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import JsonClient
from jobs.feeds.oanda.history import OandaHistory
from jobs.gaps.candles import CandleGaps, complete_so_far
from jobs.gaps.filler import GapFiller
from jobs.runtime.source_events import SourceEvents
from tests.conftest import until
from tests.standins.oanda import OandaStandIn
from tests.support.processes import ROOT
from tests.support.store import TIME

STOP = threading.Event()  # never set
H1 = ROOT / "data" / "recordings" / "EUR_USD_H1.csv.gz"


def candles(store: Store, symbol: str = "EUR_USD", interval: str = "1h") -> list[tuple[str, ...]]:
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT {TIME.format('start_time')}, open, high, low, close, bid_open, ask_close, volume FROM candles"  # noqa: S608
            " WHERE symbol = %s AND interval = %s AND source = 'oanda' ORDER BY start_time",
            (symbol, interval),
        )
        return list(cursor.fetchall())


def candle_gaps(store: Store) -> list[tuple[Any, ...]]:
    with store.transaction() as cursor:
        cursor.execute(
            f"SELECT symbol, interval, {TIME.format('start_time')}, missing, state, reason FROM gaps"  # noqa: S608
            " WHERE kind = 'candles' AND source = 'oanda' ORDER BY symbol, interval, start_time"
        )
        return list(cursor.fetchall())


class Broker:
    """A broker with hours of EUR_USD, whose clock is the test's, and ours too."""

    def __init__(self, store: Store, server: OandaStandIn, *, tries: int = 1) -> None:
        self.server = server
        self.now = datetime(2021, 9, 1, 12, 30, tzinfo=UTC)
        headers = {"Authorization": f"Bearer {server.token}"}
        self.history = OandaHistory(JsonClient(server.url, headers=headers, max_attempts=tries))
        self.filled: list[int] = []
        self.gaps = CandleGaps("oanda", self.history, store, lambda: self.now, self.filled.append)
        self.pass_time(timedelta(0))

    def pass_time(self, time: timedelta) -> None:
        self.now += time
        self.server.control(do="now", time=format_time(self.now))

    def recorded(self, start: datetime) -> list[tuple[str, ...]]:
        """What the store should have from `start` to now."""
        pages = self.history.candles("EUR_USD", "1h", start, self.now, STOP)
        return [
            (row.start_time, *row.mid, (row.bid or ("",))[0], (row.ask or ("",))[-1], row.volume)
            for page in complete_so_far(pages)
            for row in page.candles
        ]


@pytest.fixture
def broker(store: Store) -> Iterator[Broker]:
    with OandaStandIn(candles={("EUR_USD", "H1"): H1}) as server:
        yield Broker(store, server)


def sixty_days_before(moment: datetime) -> datetime:
    return (moment - timedelta(days=60)).replace(minute=0)


def test_candles_missed_in_an_outage_are_filled_after_the_reconnection(store: Store, broker: Broker) -> None:
    bell, stop = SourceEvents().event("oanda"), threading.Event()
    filler = threading.Thread(target=GapFiller("oanda", broker.gaps, bell, period=600).run, args=(stop,))
    filler.start()
    start = sixty_days_before(broker.now)
    first = broker.recorded(start)
    until(lambda: len(candles(store)) == len(first), what="the candles of the start")
    broker.pass_time(timedelta(hours=7, minutes=40))  # away
    whole = broker.recorded(start)
    assert len(whole) == len(first) + 8
    bell.set()
    until(lambda: len(candles(store)) == len(whole), what="the candles of the outage")
    stop.set()
    filler.join(60)
    assert candles(store) == whole
    assert candles(store, interval="4h")
    assert candles(store, interval="1d")
    assert candle_gaps(store) == []


def test_candles_are_fetched_after_full_hours_only(store: Store, broker: Broker) -> None:
    broker.gaps.round(True, STOP)
    before, asked = len(candles(store)), broker.server.state()["candles_requests"]
    broker.gaps.round(False, STOP)
    broker.pass_time(timedelta(minutes=30, seconds=10))  # the hour is over, but the broker may not have its candle yet
    broker.gaps.round(False, STOP)
    assert broker.server.state()["candles_requests"] == asked
    broker.pass_time(timedelta(seconds=20))
    broker.gaps.round(False, STOP)
    assert len(candles(store)) == before + 1


def test_unavailable_candles_are_reported_and_filled_later(store: Store, broker: Broker) -> None:
    broker.gaps.round(True, STOP)
    last = candles(store)[-1][0]
    broker.pass_time(timedelta(hours=3))
    broker.server.control(do="refuse", status=503, times=2, path="candles")
    for _ in range(2):
        with pytest.raises(SourceError, match="HTTP 503"):
            broker.gaps.round(True, STOP)
    found = {(row[0], row[1]): row[2:] for row in candle_gaps(store)}
    assert len(found) == len(candle_gaps(store)) == 119  # 20 instruments, 6 intervals; the day of EUR_USD is not over
    assert found["EUR_USD", "1h"][0] > last
    assert found["EUR_USD", "1h"][1:3] == (3, "open")
    assert "HTTP 503" in found["EUR_USD", "1h"][3]
    broker.gaps.round(False, STOP)  # due still
    assert candles(store) == broker.recorded(sixty_days_before(datetime(2021, 9, 1, 12, 30, tzinfo=UTC)))
    assert {row[4] for row in candle_gaps(store)} == {"filled"}
    assert sum(broker.filled) == len(candle_gaps(store))


def test_weekend_has_no_missing_candle(store: Store, broker: Broker) -> None:
    broker.now = datetime(2021, 9, 3, 22, 30, tzinfo=UTC)
    broker.pass_time(timedelta(0))
    broker.gaps.round(True, STOP)
    known = {("EUR_USD", "1h"), ("EUR_USD", "4h"), ("EUR_USD", "1d")}  # of all others nothing is stored from before the weekend
    broker.pass_time(timedelta(hours=40))
    broker.server.control(do="refuse", status=503, path="candles")
    with pytest.raises(SourceError):
        broker.gaps.round(True, STOP)
    assert known.isdisjoint((row[0], row[1]) for row in candle_gaps(store))


def test_refused_instrument_does_not_block_the_others(store: Store, broker: Broker) -> None:
    broker.server.control(do="refuse", status=400, times=6, path="candles")  # the first instrument, AUD_JPY
    broker.gaps.round(True, STOP)
    assert candles(store)
    assert {row[0] for row in candle_gaps(store)} == {"AUD_JPY"}
    assert {row[4] for row in candle_gaps(store)} == {"open"}
