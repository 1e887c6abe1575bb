"""Every bad record through every path: refused with the same kind, counted, its neighbours stored.

A path that is added to `QUOTE_PATHS`, `TRADE_PATHS` or `CANDLE_PATHS` gets all records. It takes
the records, brings the good ones into the store, and returns the number of refused ones by kind.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client

from api.app import create_app
from config.settings import Settings
from config.venues import SourceSpec
from db import topics
from db.admission import NotAdmitted
from db.bus import Bus
from db.copy import time_text_sql
from db.decimals import middle
from db.instruments import all_instruments
from db.messages import Tick, Trade, trade_lines
from db.postgres import Store
from db.timestamps import format_time, utc_now
from db.trades import insert_trades
from jobs.backfill.fill import Filler
from jobs.backfill.tasks import BackfillTask, candle_tasks, trade_tasks
from jobs.feeds.base import Source
from jobs.feeds.binance.history import BinanceHistory
from jobs.feeds.binance.stream import BinanceSource
from jobs.feeds.context import SourceContext
from jobs.feeds.http_json import JsonClient
from jobs.feeds.ingest import Ingestion
from jobs.feeds.oanda.history import OandaHistory
from jobs.feeds.oanda.wire import request_headers
from jobs.figures import hour_end
from jobs.gaps.candles import CandleGaps
from jobs.gaps.trades import TradeGaps
from jobs.runtime.context import JobContext
from jobs.store.queues import PriceQueue, TradeQueue
from jobs.store.writer import BatchRule, Writer
from jobs.venues import VENUE_PARTS, build
from tests.conftest import Servers, until
from tests.standins.binance import BinanceStandIn
from tests.standins.oanda import OandaStandIn
from tests.support.store import stored_trades as stored
from tests.support.store import trade_gaps as gaps

NOW = utc_now()
BASE = (NOW - timedelta(hours=1)).replace(microsecond=0)
PAST, FUTURE = "2001-10-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"
BEFORE_FX = "1970-12-31T23:59:59.999999Z"
NOT_A_DECIMAL = "1e25"  # too many digits, also as plain ones
FIRST_ID = 1_000_000  # of the stand-in
Refused = dict[str, int]


def moment(second: int) -> str:
    return format_time(BASE + timedelta(seconds=second))


def quote(second: int, bid: str = "1.10000", ask: str = "1.10010", **changes: Any) -> Tick:
    mid = "1" if NOT_A_DECIMAL in (bid, ask) else middle(bid, ask)
    return replace(Tick("EUR_USD", bid, ask, mid, moment(second), "oanda"), **changes)


def trade(second: int, **changes: Any) -> Trade:
    return Trade("BTCUSDT", FIRST_ID + second, moment(second), f"61837.{second:02}", "0.001", "buy")._replace(**changes)


# (kind of the refusal, the record at a second)
BAD_QUOTES: list[tuple[str, Callable[[int], Tick]]] = [
    ("time_too_old", lambda second: quote(second, time=BEFORE_FX)),
    ("time_in_future", lambda second: quote(second, time=FUTURE)),
    ("bad_price", lambda second: quote(second, "1.2", "1.1")),
    ("bad_price", lambda second: quote(second, "0.00000")),
    ("not_a_decimal", lambda second: quote(second, NOT_A_DECIMAL)),
    ("not_a_decimal", lambda second: quote(second, ask=NOT_A_DECIMAL)),
    ("unknown_instrument", lambda second: quote(second, instrument="XAU_USD")),
]
BAD_TRADES: list[tuple[str, Callable[[int], Trade]]] = [
    ("time_too_old", lambda second: trade(second, time=PAST)),
    ("time_in_future", lambda second: trade(second, time=FUTURE)),
    ("bad_trade", lambda second: trade(second, price="0.00")),
    ("bad_trade", lambda second: trade(second, quantity="0.00000000")),
    ("not_a_decimal", lambda second: trade(second, quantity=NOT_A_DECIMAL)),
    ("not_a_decimal", lambda second: trade(second, price="-1")),
]
# Kind of the refusal, and the changed fields of a candle as OANDA sends them.
_FLAT = {"o": "1.1", "h": "1.1", "l": "1.1", "c": "1.1"}
BAD_CANDLES: list[tuple[str, dict[str, Any]]] = [
    ("time_too_old", {"time": "1970-06-01T00:00:00.000000000Z"}),
    ("time_in_future", {"time": "2099-06-01T00:00:00.000000000Z"}),
    ("not_ended", {"time": f"{NOW:%Y-%m-%dT%H}:00:00.000000000Z", "complete": True}),
    ("bad_candle", {"time": f"{BASE - timedelta(hours=30):%Y-%m-%dT%H}:30:00.000000000Z"}),
    ("bad_candle", {"mid": {**_FLAT, "h": "1.0"}}),
    ("bad_candle", {"bid": {**_FLAT, "l": "1.2"}}),
    ("bad_candle", {"ask": {**_FLAT, "c": "0"}}),
    ("not_a_decimal", {"mid": {**_FLAT, "o": NOT_A_DECIMAL}}),
    ("not_a_decimal", {"volume": -5}),
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records go."""

    settings: Settings
    bus: Bus
    store: Store
    redis: redis_client.Redis
    calendars: Mapping[str, str]
    folder: Path

    @contextmanager
    def writers(self) -> Iterator[tuple[PriceQueue, TradeQueue]]:
        """Both writers; at the end everything is stored."""
        prices, trades, stop = PriceQueue(self.bus), TradeQueue(self.bus, utc_now), threading.Event()
        rule = BatchRule(100, 20)
        runs = [Writer(self.bus, self.store, rule, prices).run, Writer(self.bus, self.store, rule, trades).run]
        threads = [threading.Thread(target=run, args=(stop,)) for run in runs]
        for thread in threads:
            thread.start()
        try:
            yield prices, trades
            until(lambda: self.bus.unstored(topics.PRICES) == self.bus.unstored(topics.TRADES) == 0, what="an empty backlog")
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)

    def live(self, source: Source[Any], send: Callable[[], None], number: int) -> Refused:
        """Run a source until so many records were counted; returns the refused ones."""
        ingestion = Ingestion([source], self.bus, calendars=self.calendars, max_attempts=3, clock=utc_now)
        (status,) = ingestion.statuses
        ingestion.start()
        try:
            until(lambda: status.report()["state"] == "live", what="a connection")
            with self.writers():
                send()
                until(lambda: counted(status.report()) >= number, what=lambda: str(status.report()))
            return dict(status.report()["refused"])
        finally:
            ingestion.stop(10)


def counted(report: Mapping[str, Any]) -> int:
    return int(sum(report["refused"].values()) + (report["trades"] or report["ticks"]))


@pytest.fixture
def place(settings: Settings, bus: Bus, store: Store, raw_redis: redis_client.Redis, servers: Servers, tmp_path: Path) -> Place:
    return Place(settings, bus, store, raw_redis, servers.calendars, tmp_path)


def publish_one_by_one(publish: Callable[[Any, int], object], records: Sequence[Any]) -> Refused:
    refused: Counter[str] = Counter()
    for number, record in enumerate(records):
        try:
            publish(record, number)
        except NotAdmitted as error:
            refused[error.kind] += 1
    return dict(refused)


# quotes


def quotes_live(place: Place, quotes: Sequence[Tick]) -> Refused:
    def line(each: Tick) -> str:
        sides = {"bids": [{"price": each.bid, "liquidity": 1}], "asks": [{"price": each.ask, "liquidity": 1}]}
        body = {"type": "PRICE", "time": f"{each.time[:-1]}000Z", **sides, "tradeable": True, "instrument": each.instrument}
        return orjson.dumps(body).decode() + "\n"

    with OandaStandIn(quotes={}, heartbeat=0.05) as oanda:
        config = replace(place.settings, oanda_stream_url=oanda.url, oanda_account_id=oanda.account, oanda_api_token=oanda.token)
        with place.store.transaction() as cursor:
            context = SourceContext(config, all_instruments(cursor), {}, utc_now)
        source = build(SourceSpec("oanda"), context)
        return place.live(source, lambda: oanda.control(do="say", text="".join(map(line, quotes))), len(quotes))


def quotes_published(place: Place, quotes: Sequence[Tick]) -> Refused:
    with place.writers():
        return publish_one_by_one(lambda each, number: place.bus.publish_prices([each], f"test/{number}"), quotes)


def quotes_cached(place: Place, quotes: Sequence[Tick]) -> Refused:
    def cache(each: Tick, number: int) -> None:
        place.bus.cache_price(each.instrument, bid=each.bid, ask=each.ask, mid=each.mid, time=each.time, source=each.source)

    with place.writers():
        return publish_one_by_one(cache, quotes)


def quotes_posted(place: Place, quotes: Sequence[Tick]) -> Refused:
    """All in one batch, as a client sends them."""
    client = create_app(place.settings, place.bus, place.store, utc_now, "1").test_client()
    prices = [{name: getattr(each, name) for name in ("instrument", "bid", "ask", "mid", "time")} for each in quotes]
    with place.writers():
        answer = client.post("/prices", json={"prices": prices}).json
        assert answer is not None
        assert answer["accepted"] + len(answer["rejected"]) == len(quotes)
        return Counter(each["code"] for each in answer["rejected"])


def append(place: Place, channel: str, fields: dict[Any, Any], count: int) -> None:
    """Append an entry and count it in one step: the writer corrects counts that do not fit."""
    with place.redis.pipeline(transaction=True) as pipe:
        pipe.xadd(topics.stream_key(channel), fields)
        pipe.hincrby(topics.count_key(channel), "published", count)
        pipe.execute()


def quotes_on_the_stream(place: Place, quotes: Sequence[Tick]) -> Refused:
    """Entries that did not pass a publisher, as versions without the check left them."""
    with place.writers() as (queue, _):
        for number, each in enumerate(quotes, 1):
            price = {"bid": each.bid, "ask": each.ask, "mid": each.mid, "time": each.time}
            body = orjson.dumps({"instrument": each.instrument, "price": price, "timestamp": format_time(utc_now())})
            fields: dict[Any, Any] = {
                "topic": each.instrument,
                "seq": number,
                "epoch": "x",
                "source": each.source,
                "volume": "",
                "body": body,
            }
            append(place, topics.PRICES, fields, 1)
    return queue.refused.counts


QUOTE_PATHS: dict[str, Callable[[Place, Sequence[Tick]], Refused]] = {
    "live": quotes_live,
    "publish_prices": quotes_published,
    "cache_price": quotes_cached,
    "POST /prices": quotes_posted,
    "writer": quotes_on_the_stream,
}


@pytest.mark.parametrize("path", QUOTE_PATHS)
def test_bad_quote_is_refused_and_its_neighbours_are_stored(path: str, place: Place) -> None:
    bad = [make(2 * number + 1) for number, (_, make) in enumerate(BAD_QUOTES)]
    good = [quote(2 * number) for number in range(len(bad) + 1)]
    mixed = [each for pair in zip(good, bad, strict=False) for each in pair] + good[-1:]
    assert QUOTE_PATHS[path](place, mixed) == Counter(kind for kind, _ in BAD_QUOTES)
    rows = stored_quotes(place.store)
    assert rows == [(each.instrument, each.time, each.bid, each.ask, each.mid) for each in good]
    if path != "writer":  # whose entries no publisher has made
        published = [(entry.seq, orjson.loads(entry.body)) for entry in place.bus.backwards(topics.PRICES)][::-1]
        prices = [(body["instrument"], *(body["price"][name] for name in ("time", "bid", "ask", "mid"))) for _, body in published]
        assert prices == rows
        assert [seq for seq, _ in published] == list(range(1, len(good) + 1))


def stored_quotes(store: Store) -> list[tuple[str, ...]]:
    with store.transaction() as cursor:
        cursor.execute(f"SELECT instrument, {time_text_sql('time')}, bid, ask, mid FROM prices ORDER BY time")  # noqa: S608
        return list(cursor.fetchall())


def test_batch_with_a_bad_quote_is_not_published(place: Place) -> None:
    for kind, make in BAD_QUOTES:
        with pytest.raises(NotAdmitted) as caught:
            place.bus.publish_prices([quote(1), make(2)])
        assert caught.value.kind == kind
    assert list(place.bus.backwards(topics.PRICES)) == []
    assert place.bus.publish_prices([quote(1)])[0].seq == 1


# trades


def trades_live(place: Place, trades: Sequence[Trade]) -> Refused:
    with BinanceStandIn(place.folder, trades=1, symbols=("BTCUSDT",), speed=1, waits=True) as exchange:
        source = BinanceSource(exchange.ws_url, ["BTCUSDT"], ["BTCUSDT"])

        def send() -> None:
            for each in trades:
                data = {"e": "trade", "E": 1, "s": each.symbol, "t": each.trade_id, "p": each.price, "q": each.quantity}
                data |= {"T": microseconds(each.time), "m": each.side == "sell", "M": True}
                exchange.control("garbage", text=orjson.dumps({"stream": "btcusdt@trade", "data": data}).decode())

        threading.Timer(0.5, exchange.control, ("garbage",), {"text": '{"stream":"x@depth","data":{}}'}).start()
        refused = place.live(source, send, len(trades) + 1)
    assert refused.pop("unreadable") == 1  # the message that made the source live
    return refused


def microseconds(moment: str) -> int:
    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def trades_published(place: Place, trades: Sequence[Trade]) -> Refused:
    with place.writers():
        return publish_one_by_one(lambda each, number: place.bus.publish_trades([each], f"test/{number}"), trades)


def trades_on_the_stream(place: Place, trades: Sequence[Trade]) -> Refused:
    """An entry that did not pass a publisher, as versions without the check left it."""
    with place.writers() as (_, queue):
        fields: dict[Any, Any] = {"trades": len(trades), "lines": trade_lines(trades)}
        append(place, topics.TRADES, fields, len(trades))
    return queue.refused.counts


@contextmanager
def exchange_with(place: Place, trades: Sequence[Trade]) -> Iterator[BinanceHistory]:
    """The history of an exchange with these trades, each at the id of its place."""
    with BinanceStandIn(place.folder, trades=len(trades), symbols=("BTCUSDT",), per_second=1, start=BASE, waits=True) as exchange:
        exchange.control("jump")
        for number, each in enumerate(trades):
            changes = {"price": each.price, "qty": each.quantity, "time": microseconds(each.time), "isBuyerMaker": each.side == "sell"}
            exchange.control("bad_item", symbol="BTCUSDT", id=FIRST_ID + number, changes=changes)
        yield BinanceHistory(JsonClient(exchange.rest_url))


def fill(place: Place, tasks: Sequence[BackfillTask]) -> None:
    filler = Filler(place.store, utc_now, threading.Event(), limits={}, warn=lambda text: None, on_conflicts=lambda title, conflicts: None)
    for task in tasks:
        filler.fill(task)


def trades_backfilled(place: Place, trades: Sequence[Trade]) -> Refused:
    with exchange_with(place, trades) as history:
        fill(place, trade_tasks("binance", history, ["BTCUSDT"], BASE, BASE + timedelta(minutes=30)))
        assert_unusable(place, trades)
        return history.refused.counts


def trades_of_a_gap(place: Place, trades: Sequence[Trade]) -> Refused:
    with place.store.transaction() as cursor:
        insert_trades(cursor, trade_lines([trades[0], trades[-1]]))
    with exchange_with(place, trades) as history:
        filling = TradeGaps("binance", ["BTCUSDT"], history, place.store, place.bus, utc_now, store_wait=0)
        while filling.round(False, threading.Event()):
            pass
        assert_unusable(place, trades)
        counts = history.refused.counts
        filling.round(False, threading.Event())
        assert history.refused.counts == counts  # no bad trade is requested again
        return counts


def assert_unusable(place: Place, trades: Sequence[Trade]) -> None:
    """Every bad trade is an unfillable gap that names the kind."""
    left = {(row[1], row[2]): (row[4], row[5]) for row in gaps(place.store, "unfillable", "open")}
    kinds = [kind for kind, _ in BAD_TRADES]
    assert left == {
        (FIRST_ID + 2 * number + 1,) * 2: ("unfillable", f"the exchange's record cannot be used: {kind}")
        for number, kind in enumerate(kinds)
    }


TRADE_PATHS: dict[str, Callable[[Place, Sequence[Trade]], Refused]] = {
    "live": trades_live,
    "publish_trades": trades_published,
    "writer": trades_on_the_stream,
    "backfill": trades_backfilled,
    "gap": trades_of_a_gap,
}


@pytest.mark.parametrize("path", TRADE_PATHS)
def test_bad_trade_is_refused_and_its_neighbours_are_stored(path: str, place: Place) -> None:
    bad = [make(2 * number + 1) for number, (_, make) in enumerate(BAD_TRADES)]
    good = [trade(2 * number) for number in range(len(bad) + 1)]
    mixed = [each for pair in zip(good, bad, strict=False) for each in pair] + good[-1:]
    assert TRADE_PATHS[path](place, mixed) == Counter(kind for kind, _ in BAD_TRADES)
    assert stored(place.store) == good


@pytest.mark.parametrize("bad", [{"symbol": "NOBODY"}, {"trade_id": -1}, {"trade_id": 2**63}, {"side": "hold"}])
@pytest.mark.parametrize("path", ["publish_trades", "writer"])
def test_trade_that_no_exchange_sends_is_refused(path: str, bad: dict[str, Any], place: Place) -> None:
    records = [trade(0), trade(1, **bad), trade(2)]
    refused = TRADE_PATHS[path](place, records)
    assert sum(refused.values()) == 1
    assert refused.keys() <= {"bad_trade", "unknown_instrument", "unreadable"}
    assert stored(place.store) == [records[0], records[2]]


# candles


FIRST_HOUR = BASE.replace(minute=0, second=0) - timedelta(hours=26)


@contextmanager
def broker_with(place: Place, changes: Sequence[dict[str, Any]]) -> Iterator[OandaHistory]:
    """The history of a broker with a candle for each of these, one an hour.

    Its clock and that of the reader stand still: the hour that has not ended, and the day of FX,
    would end during the run.
    """
    file = place.folder / "EUR_USD_H1.csv"
    header = "time,volume," + ",".join(f"{side}_{part}" for side in ("mid", "bid", "ask") for part in "ohlc")
    hours = [FIRST_HOUR + number * timedelta(hours=1) for number in range(len(changes))]
    file.write_text(f"{header}\n" + "".join(f"{hour:%Y-%m-%dT%H:%M:%SZ},7{',1.1' * 12}\n" for hour in hours))
    with OandaStandIn(candles={("EUR_USD", "H1"): file}) as oanda:
        oanda.control(do="now", time=format_time(NOW))
        for hour, changed in zip(hours, changes, strict=True):
            if changed:
                oanda.control(do="bad_candle", time=format_time(hour), changes=changed)
        history = OandaHistory(JsonClient(oanda.url, headers=request_headers(oanda.token)), clock=lambda: NOW)
        yield history


def candles_backfilled(place: Place, changes: Sequence[dict[str, Any]]) -> Refused:
    with broker_with(place, changes) as history:
        end = FIRST_HOUR + len(changes) * timedelta(hours=1)
        fill(place, candle_tasks("oanda", history, ["EUR_USD"], ["1h"], FIRST_HOUR, end))
        return history.refused.counts


def candles_of_a_gap(place: Place, changes: Sequence[dict[str, Any]]) -> Refused:
    with broker_with(place, changes) as history:
        CandleGaps("oanda", history, place.store, lambda: NOW).round(True, threading.Event())
        return history.refused.counts


def candles_at_the_hour_s_end(place: Place, changes: Sequence[dict[str, Any]]) -> Refused:
    with broker_with(place, changes) as history:
        row = replace(VENUE_PARTS["oanda"], history=lambda settings, clock: history)
        context = JobContext(place.settings, place.bus, place.store, utc_now)
        assert hour_end._fetch(row, context, FIRST_HOUR + len(changes) * timedelta(hours=1)) is None
        return history.refused.counts


CANDLE_PATHS: dict[str, Callable[[Place, Sequence[dict[str, Any]]], Refused]] = {
    "backfill": candles_backfilled,
    "gap": candles_of_a_gap,
    "hour end": candles_at_the_hour_s_end,
}


@pytest.mark.parametrize("path", CANDLE_PATHS)
def test_bad_candle_is_refused_and_its_neighbours_are_stored(path: str, place: Place) -> None:
    changes: list[dict[str, Any]] = [{}]
    for _, changed in BAD_CANDLES:
        changes += [changed, {}]
    assert CANDLE_PATHS[path](place, changes) == Counter(kind for kind, _ in BAD_CANDLES)
    with place.store.transaction() as cursor:
        cursor.execute("SELECT start_time FROM candles WHERE interval = '1h' AND symbol = 'EUR_USD' ORDER BY start_time")
        starts = [start for (start,) in cursor.fetchall()]
    assert starts == [FIRST_HOUR + 2 * number * timedelta(hours=1) for number in range(len(BAD_CANDLES) + 1)]
