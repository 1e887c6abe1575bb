"""Records through every path, in random overlap, order and repetition: each is stored once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st

from config.settings import SourceSpec
from db import topics
from db.bus import Bus
from db.messages import Tick, Trade
from db.postgres import Store
from db.prices import CLOSING, CLOSING_OCCURRENCE
from db.rollup import is_mine, roll_up
from db.timestamps import format_time, parse_time, utc_now
from jobs.backfill.tasks import trade_tasks
from jobs.feeds.base import Source
from jobs.feeds.binance.history import BinanceHistory
from jobs.feeds.files.playback import play
from jobs.feeds.files.replay import ReplaySource
from jobs.feeds.http_json import JsonClient
from jobs.feeds.ingest import Ingest
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import Status
from jobs.gaps.trades import TradeGaps
from jobs.store.queues import PriceQueue, StoreQueue, TradeQueue
from jobs.store.writer import BatchRule, Writer
from tests.conftest import Servers
from tests.integration.test_every_path import fill
from tests.integration.test_file_paths import Loading
from tests.standins.binance import BinanceStandIn
from tests.support.examples import with_shared_fixtures
from tests.support.store import select, trade_gaps

START = datetime(2025, 11, 18, 12, tzinfo=UTC)
LATER = datetime(2025, 11, 20, tzinfo=UTC)
STOP = threading.Event()  # never set
TABLES = "raw_trades, prices, candles, candle_marks, gaps, trade_series, trade_watermarks, backfills"
few = with_shared_fixtures(max_examples=15)


@dataclass(slots=True)
class Place:
    """Store, bus and a folder for files, all empty."""

    store: Store
    bus: Bus
    redis: redis_client.Redis
    folder: Path
    loading: Loading = field(init=False)
    files: int = 0

    def __post_init__(self) -> None:
        self.loading = Loading(self.store)
        self.empty()

    def empty(self) -> None:
        """Empty store and bus; the bus begins a new epoch."""
        select(self.store, f"TRUNCATE {TABLES}; SELECT 1")
        self.lose_bus()

    def lose_bus(self) -> None:
        """Let Redis lose everything, which ends the epoch."""
        self.redis.flushdb()
        self.bus.set_instruments(self.loading.calendars)

    def write(self, queue: StoreQueue[Any], *, killed: bool) -> None:
        """Store everything on the bus; `killed`: the first writer dies before it acknowledges."""
        writer = Writer(self.bus, self.store, BatchRule(), queue)
        self.bus.open_group(queue.channel)
        if killed and (entries := queue.read(7, 0)):
            with self.store.transaction() as cursor:
                queue.store(cursor, entries)
        writer.recover()
        while writer.write_batch(queue.read(queue.most, 0)):
            pass
        assert not queue.refused.counts

    def file(self, name: str, lines: Sequence[str]) -> Path:
        """A new file, whose name begins with a number of its own."""
        self.files += 1
        path = self.folder / f"{name}_{self.files}.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    def load(self, path: Path) -> None:
        self.loading.load(path)
        assert not self.loading.notes.failed, self.loading.notes.sentences()

    def build_candles(self) -> None:
        with self.store.transaction() as cursor:
            assert is_mine(cursor)
            roll_up(cursor, 20_000, LATER, [])

    def volumes(self) -> dict[str, Any]:
        """Start of a minute -> volume of its candle, after the roll-up."""
        self.build_candles()
        days = select(self.store, "SELECT coalesce(sum(volume::float8), 0) FROM candles WHERE interval = '1d'")
        minutes = select(
            self.store, "SELECT to_char(start_time AT TIME ZONE 'UTC', 'HH24:MI'), volume::float8 FROM candles WHERE interval = '1m'"
        )
        assert days[0][0] == pytest.approx(sum(volume for _, volume in minutes))
        return {minute: pytest.approx(volume) for minute, volume in minutes}


@pytest.fixture
def place(store: Store, bus: Bus, raw_redis: redis_client.Redis, tmp_path: Path) -> Place:
    return Place(store, bus, raw_redis, tmp_path)


# Trades

TRADES = 48
TRADE_PATHS = ("live", "file", "history", "gaps", "tail", "candles")


@pytest.fixture(scope="module")
def exchange(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinanceStandIn]:
    folder = tmp_path_factory.mktemp("exchange")
    with BinanceStandIn(folder, trades=TRADES, symbols=("BTCUSDT",), per_second=0.2, start=START, waits=True) as exchange:
        exchange.control("jump")
        yield exchange


def raw_message(trade: Trade) -> str:
    """A line of a raw file, with the time in microseconds and further digits."""
    moment = int((parse_time(trade.time) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) + 321
    data = {
        "e": "trade", "s": trade.symbol, "t": trade.trade_id, "p": f"{trade.price}00", "q": trade.quantity, "T": moment,
        "m": trade.side == "sell", "b": 88, "a": 50,
    }  # fmt: skip
    return f"{moment}000 {json.dumps({'stream': 'btcusdt@trade', 'data': data})}"


def feed_trades(place: Place, history: BinanceHistory, path: str, trades: Sequence[Trade], *, killed: bool) -> None:
    if path == "live":
        place.bus.publish_trades(trades, f"test/{place.files}")
        place.files += 1
        place.write(TradeQueue(place.bus, utc_now), killed=killed)
    elif path == "file":
        place.load(place.file("trades", list(map(raw_message, trades))))
    elif path == "history":
        end = parse_time(trades[-1].time) + timedelta(milliseconds=1)
        fill(place, trade_tasks("binance", history, ["BTCUSDT"], parse_time(trades[0].time), end))  # type: ignore[arg-type]
    elif path == "candles":
        place.build_candles()
    else:
        gaps = TradeGaps("binance", ["BTCUSDT"], history, place.store, place.bus, utc_now, store_wait=0)
        while gaps.round(path == "tail", STOP):
            pass


@few
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from(TRADE_PATHS), st.integers(0, TRADES - 1), st.integers(1, 20), st.booleans()), min_size=1, max_size=8
    )
)
def test_trades_of_every_path_are_stored_once(place: Place, exchange: BinanceStandIn, pieces: list[tuple[str, int, int, bool]]) -> None:
    place.empty()
    trades = exchange.expected()
    history = BinanceHistory(JsonClient(exchange.rest_url))
    wanted: set[int] = set()
    for path, first, length, killed in [*pieces, ("gaps", 0, 1, False)]:
        piece = range(first, min(first + length, TRADES))
        feed_trades(place, history, path, trades[piece.start : piece.stop], killed=killed)
        if path in {"live", "file", "history"}:
            wanted |= set(piece)
        elif path in {"gaps", "tail"} and wanted:
            wanted |= set(range(min(wanted), TRADES if path == "tail" else max(wanted) + 1))
    content = [(trades[number].trade_id, *map(Decimal, trades[number][3:5]), trades[number].side) for number in sorted(wanted)]
    rows = select(place.store, "SELECT trade_id, price, quantity, side FROM raw_trades WHERE series = 1 ORDER BY 1")
    assert [(number, Decimal(price), Decimal(quantity), side) for number, price, quantity, side in rows] == content
    assert select(place.store, "SELECT count(*) FROM raw_trades") == [(len(wanted),)]
    assert trade_gaps(place.store, "open", "unfillable") == []
    assert select(place.store, "SELECT count(*) FROM gaps WHERE kind = 'series'") == [(0,)]
    volumes: Counter[str] = Counter()
    for number in wanted:
        volumes[trades[number].time[11:16]] += float(trades[number].quantity)  # type: ignore[assignment]
    assert place.volumes() == dict(volumes)


# Quotes

# Bids of each time: some quotes of one time are equal.
GROUPS = [["1.10"], ["1.10", "1.10"], ["1.10", "1.20"], ["1.10", "1.20", "1.10"], ["1.20", "1.20", "1.20"]] * 3
QUOTE_PATHS = ("live", "replay", "file", "closing", "bus lost", "candles")
Content = tuple[str, Decimal, int]  # time, bid, occurrence


def time_of(group: int) -> str:
    return format_time(START + timedelta(seconds=20 * group))


def quotes(first: int, length: int, cut: int) -> list[tuple[int, str]]:
    """(group, bid) of the groups, without the last `cut` quotes; at least one."""
    found = [(group, bid) for group in range(first, min(first + length, len(GROUPS))) for bid in GROUPS[group]]
    kept = max(1, len(found) - min(cut, len(GROUPS[found[-1][0]]) - 1))
    return found[:kept]


class Arrivals(Source[list[Tick]]):
    """A live source that has sent these ticks, several at once."""

    name = "oanda"

    def __init__(self, ticks: Sequence[Tick], size: int) -> None:
        self._ticks = iter(ticks)
        self._size = size

    def fetch(self, stop: threading.Event) -> Generator[list[Tick], None, None]:
        while batch := list(islice(self._ticks, self._size)):
            yield batch

    def parse(self, raw: list[Tick]) -> list[Tick]:
        return raw


class BusOfPrices:
    """The bus without the reports of sources."""

    def __init__(self, bus: Bus) -> None:
        self.publish_prices = bus.publish_prices
        self.publish_trades = bus.publish_trades


def feed_quotes(place: Place, path: str, found: Sequence[tuple[int, str]], *, size: int) -> None:
    if path == "live":
        ticks = [Tick("EUR_USD", bid, "1.3", str((Decimal(bid) + Decimal("1.3")) / 2), time_of(group), "oanda") for group, bid in found]
        status = Status("oanda", utc_now, threading.Event())
        admission = SourceAdmission(status, place.loading.calendars, utc_now)
        Ingest(Arrivals(ticks, size), BusOfPrices(place.bus), status, admission, max_attempts=1).run(STOP)
    elif path == "closing":
        group, bid = found[0]
        mid = str((Decimal(bid) + Decimal("1.3")) / 2)
        place.bus.publish_prices([Tick("EUR_USD", bid, "1.3", mid, time_of(group), CLOSING, occurrence=CLOSING_OCCURRENCE)])
    elif path == "bus lost":
        place.lose_bus()
    elif path == "candles":
        place.build_candles()
    else:
        zone = "+00:00" if size % 2 else "Z"  # notation and digits are no part of an identity
        lines = ["time,bid,ask", *(f"{time_of(group)[:-1]}{zone},{bid}0,1.30" for group, bid in found)]
        file = place.file("EUR_USD", lines)
        if path == "file":
            place.load(file)
        else:
            source = ReplaySource(SourceSpec("replay", file, None), place.loading.calendars, clock=utc_now)
            play(source, place.bus, place.loading.calendars, taken=lambda ticks: None, clock=utc_now, stop=STOP)


def numbered(found: Sequence[tuple[int, str]]) -> set[Content]:
    counts: Counter[tuple[int, str]] = Counter()
    contents = set()
    for each in found:
        counts[each] += 1
        contents.add((time_of(each[0]), Decimal(each[1]), counts[each]))
    return contents


def positions_on_the_bus(bus: Bus) -> dict[Content, tuple[str, int]]:
    """The last epoch and seq of each quote that the bus has published in the present epoch."""
    found: dict[Content, tuple[str, int]] = {}
    for entry in bus.backwards(topics.PRICES):
        price = orjson.loads(entry.body)["price"]
        found.setdefault((price["time"], Decimal(price["bid"]), entry.occurrence), (entry.epoch, entry.seq))
    return found


@few
@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from(QUOTE_PATHS), st.integers(0, len(GROUPS) - 1), st.integers(1, 8), st.integers(0, 2), st.integers(1, 6),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_quotes_of_every_path_are_stored_once(place: Place, pieces: list[tuple[str, int, int, int, int, bool]]) -> None:
    """The quotes of a live source or a replay may end within a time; those of a file do not."""
    place.empty()
    wanted: set[Content] = set()
    for path, first, length, cut, size, killed in pieces:
        found = quotes(first, length, 0 if path == "file" else cut)
        feed_quotes(place, path, found, size=size)
        place.write(PriceQueue(place.bus), killed=killed)
        if path in {"live", "replay", "file"}:
            wanted |= numbered(found)
        elif path == "closing":
            wanted.add((time_of(found[0][0]), Decimal(found[0][1]), CLOSING_OCCURRENCE))
    rows = select(
        place.store,
        """SELECT to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), bid, occurrence, epoch, seq FROM prices""",
    )
    stored = {(time, Decimal(bid), occurrence): (epoch, seq) for time, bid, occurrence, epoch, seq in rows}
    assert len(rows) == len(wanted)
    assert set(stored) == wanted
    published = positions_on_the_bus(place.bus)
    assert {content: stored[content] for content in published} == published
    assert place.volumes() == dict(Counter(time[11:16] for time, _, occurrence in wanted if occurrence != CLOSING_OCCURRENCE))
