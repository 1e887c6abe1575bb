"""The Binance source and history against a local exchange with faults.

The received messages are on the bus once, the missed ones in the history.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

from config.pacing import Stopped
from db import topics
from db.bus import Bus
from db.messages import Trade
from db.timestamps import format_time, parse_time
from jobs.feeds import status as source_status
from jobs.feeds.base import SourceError
from jobs.feeds.binance.history import BinanceHistory, Weight
from jobs.feeds.binance.stream import BinanceSource
from jobs.feeds.http_json import JsonClient
from jobs.feeds.ingest import Ingestion
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.standins.binance_market import generated
from tests.support.bus import source_changes
from tests.support.fake_time import FakeTime
from tests.support.instruments import make_instrument

STOP = threading.Event()  # that nobody sets


class Feed:
    """The source running as the jobs process runs it, and what it brought to the bus."""

    def __init__(self, bus: Bus, raw_redis: redis_client.Redis, source: BinanceSource, clock: Callable[[], datetime]) -> None:
        self.source = source
        self.link_changes = 0
        self._bus = bus
        self._redis = raw_redis
        self._ingestion = Ingestion(
            [source], bus, calendars=dict.fromkeys(source._symbols, "crypto"), max_attempts=10, clock=clock, link_changed=self._link_changed
        )

    def _link_changed(self, name: str) -> None:
        assert name == "binance"
        self.link_changes += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        self._ingestion.start()
        try:
            yield
        finally:
            assert self._ingestion.stop(60)

    def trades(self) -> list[Trade]:
        """Every trade on the bus, as often as it is there."""
        items: Any = self._redis.xrange(topics.stream_key(topics.TRADES))
        rows = [line.split("\t") for _, fields in items for line in fields[b"lines"].decode().splitlines()]
        return [Trade(symbol, int(number), moment, price, quantity, side) for symbol, number, moment, price, quantity, side in rows]

    def states(self) -> list[str]:
        return [change["state"] for change in source_changes(self._bus)]

    def state(self) -> str:
        return str(self.report()["state"])

    def report(self) -> dict[str, Any]:
        return self._ingestion.statuses[0].report()

    def detail(self, state: str) -> str:
        """What the source last said on entering `state`."""
        found = until(lambda: [change["detail"] for change in source_changes(self._bus) if change["state"] == state])
        assert isinstance(found, list)
        return str(found[-1])


@pytest.fixture
def feed(bus: Bus, raw_redis: redis_client.Redis, clock: Callable[[], datetime], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Feed]:
    """A feed of a stand-in, not running yet."""
    monkeypatch.setattr(source_status, "CHECK_SECONDS", 0.1)

    def make(exchange: BinanceStandIn, stale_after: float = 10.0, **options: Any) -> Feed:
        source = BinanceSource(exchange.ws_url, exchange.symbols, exchange.symbols, **options)
        source.stale_after = stale_after
        return Feed(bus, raw_redis, source, clock)

    return make


def at_least(feed: Feed, count: int) -> Callable[[], bool]:
    return lambda: len(feed.trades()) >= count


def history_of(exchange: BinanceStandIn) -> BinanceHistory:
    return BinanceHistory(JsonClient(exchange.rest_url))


def happened(exchange: BinanceStandIn) -> list[Trade]:
    """Every trade up to now."""
    counts = exchange.state()["trades"]
    return [trade for symbol, trades in by_symbol(exchange.expected()).items() for trade in trades[: counts[symbol]]]


def by_symbol(trades: list[Trade]) -> dict[str, list[Trade]]:
    return {symbol: [trade for trade in trades if trade.symbol == symbol] for symbol in sorted({trade.symbol for trade in trades})}


def missing_from(got: list[Trade], expected: list[Trade], exchange: BinanceStandIn) -> list[Trade]:
    """The missed trades, fetched from the history hole by hole, as a gap filler does."""
    seen, history = set(got), history_of(exchange)
    found: list[Trade] = []
    for (absent, symbol), run in itertools.groupby(expected, key=lambda trade: (trade not in seen, trade.symbol)):
        hole = [trade.trade_id for trade in run]
        if absent:
            found += [trade for page in history.trades(symbol, hole[0], STOP, last_id=hole[-1]) for trade in page.trades]
    return found


def assert_once_and_whole(got: list[Trade], expected: list[Trade], exchange: BinanceStandIn) -> None:
    assert len(set(got)) == len(got)
    assert sorted(got + missing_from(got, expected, exchange)) == expected


# the stream when all is well


def test_every_trade_is_published_once_and_moves_the_price(tmp_path: Path, bus: Bus, feed: Callable[..., Feed]) -> None:
    with BinanceStandIn(tmp_path, trades=20_000, speed=None) as exchange:
        brought = feed(exchange)
        with brought.running():
            until(lambda: brought.report()["trades"] == 20_000, 60, "20,000 trades")
            assert exchange.state()["streams"] == ["btcusdt@bookTicker/btcusdt@trade/ethusdt@bookTicker/ethusdt@trade"]
        expected = exchange.expected()
        assert sorted(brought.trades()) == expected
        assert brought.states() == ["live"]
        assert brought.link_changes == 1
    newest = {trade.symbol: trade for trade in expected}
    for symbol, body in bus.latest_prices(exchange.symbols).items():
        price = json.loads(body)["price"]
        assert (price["mid"], price["time"]) == (newest[symbol].price, newest[symbol].time)
        assert float(price["bid"]) < float(price["ask"])
    assert set(bus.latest_prices()) == set(exchange.symbols)


def test_recording_at_its_own_pace_arrives_whole(tmp_path: Path, bus: Bus, feed: Callable[..., Feed]) -> None:
    """Sparse messages are the usual case of a real exchange; microseconds are an option of it."""
    with BinanceStandIn(tmp_path, speed=20, microseconds=True, ping_interval=0.1) as exchange:
        brought = feed(exchange)
        with brought.running():
            until(at_least(brought, 300))
            # The server's pings are answered: else it would end the connection within the minute.
            until(lambda: exchange.state()["answered_pings"] == 1)
        expected = by_symbol(exchange.expected())
        for symbol, got in by_symbol(brought.trades()).items():
            assert got == expected[symbol][: len(got)]
            assert any(not trade.time.endswith("000Z") for trade in got)
    assert not brought.source.garbage


def test_book_is_kept_between_batches(tmp_path: Path) -> None:
    entries = generated(["BTCUSDT", "ETHUSDT"], trades=800, per_second=400, start_ms=1_763_424_000_000).entries
    told = [json.loads(entry.body)["data"] for entry in entries if entry.deal is None]
    known: Mapping[str, tuple[str, str]] = {}
    with BinanceStandIn(tmp_path, trades=800, per_second=400) as exchange:
        source = BinanceSource(exchange.ws_url, exchange.symbols, exchange.symbols)
        batches = trades = 0
        for raw in source.fetch(STOP):
            assert raw.books.keys() >= known.keys()
            known, batches, trades = raw.books, batches + 1, trades + len(raw.messages)
            if trades == 800:
                break
    assert batches > 2
    assert known == {each["s"]: (each["b"], each["a"]) for each in told}


def test_changed_instruments_are_requested_on_a_new_connection(tmp_path: Path, feed: Callable[..., Feed]) -> None:
    bitcoin, ether = (make_instrument(symbol, symbol, "crypto", 2, "binance") for symbol in ("BTCUSDT", "ETHUSDT"))
    with BinanceStandIn(tmp_path, trades=20_000, per_second=200) as exchange:
        brought = feed(exchange)
        with brought.running():
            until(at_least(brought, 20))
            brought.source.set_instruments([bitcoin])
            until(lambda: brought.source._requested == {"BTCUSDT"})
            before = len(by_symbol(brought.trades()).get("ETHUSDT", []))
            until(at_least(brought, len(brought.trades()) + 50))
            assert len(by_symbol(brought.trades()).get("ETHUSDT", [])) - before < 25  # sent before the change
            brought.source.set_instruments([])
            until(lambda: exchange.state()["connections"] == 0)
            brought.source.set_instruments([bitcoin, ether])
            there = len(by_symbol(brought.trades())["ETHUSDT"])
            until(lambda: len(by_symbol(brought.trades())["ETHUSDT"]) > there)
        assert brought.state() == "live"


def test_stop_during_silence_ends_the_source(tmp_path: Path, feed: Callable[..., Feed]) -> None:
    with BinanceStandIn(tmp_path, waits=True) as exchange:
        brought = feed(exchange)
        with brought.running():
            until(lambda: exchange.state()["connections"] == 1)
            asked = time.monotonic()
        assert time.monotonic() - asked < 20  # less than `silence`
        until(lambda: exchange.state()["connections"] == 0)


# links that break


@pytest.mark.parametrize(
    ("misfortune", "reason"),
    [
        ({"do": "drop"}, "close frame"),
        ({"do": "close"}, "1001"),
        ({"do": "shutdown", "seconds": 60}, "serverShutdown"),
        ({"do": "shutdown", "seconds": 60, "wrapped": False}, "serverShutdown"),
        ({"do": "vanish", "seconds": 0.3}, ""),
    ],
    ids=["reset", "closed as after 24 hours", "serverShutdown", "serverShutdown, raw", "away"],
)
def test_closed_connection_is_replaced(tmp_path: Path, feed: Callable[..., Feed], misfortune: dict[str, Any], reason: str) -> None:
    with BinanceStandIn(tmp_path, trades=20_000, per_second=1000) as exchange:
        brought = feed(exchange)
        with brought.running():
            until(at_least(brought, 300))
            exchange.control(**misfortune)
            until(lambda: brought.link_changes >= 3, what="a second life")
            until(at_least(brought, len(brought.trades()) + 100))
            exchange.control("pause")
            expected = happened(exchange)
            until(lambda: {trades[-1] for trades in by_symbol(expected).values()} <= set(brought.trades()))
            until(lambda: brought.states()[-1] == "live")
        states, got = brought.states(), brought.trades()
        assert states[:2] == ["live", "backing_off"]
        assert states[-2:] == ["connecting", "live"]
        assert reason in brought.detail("backing_off")
        assert len(got) < len(expected)  # the outage was real
        assert_once_and_whole(got, expected, exchange)


@pytest.mark.parametrize("misfortune", ["stall", "freeze"])
def test_silent_connection_is_stale_and_then_replaced(tmp_path: Path, feed: Callable[..., Feed], misfortune: str) -> None:
    with BinanceStandIn(tmp_path, trades=20_000, per_second=1000) as exchange:
        brought = feed(exchange, silence=1.5, stale_after=0.4)
        with brought.running():
            until(at_least(brought, 300))
            exchange.control(misfortune)
            until(lambda: brought.link_changes >= 3, what="a second life")
            until(lambda: brought.states()[-1] == "live")
        # A busy machine may make the stream stale for a moment, before and after that.
        states = brought.states()
        place = states.index("backing_off")
        assert states[place - 1 : place + 3] == ["stale", "backing_off", "connecting", "live"]
        assert states[0] == "live"
        assert set(states[:place]) == {"live", "stale"}
        assert "silent for 1.5 s" in brought.detail("backing_off")


def test_connection_is_renewed_before_the_exchange_ends_it(tmp_path: Path, feed: Callable[..., Feed]) -> None:
    with BinanceStandIn(tmp_path, trades=20_000, per_second=1000) as exchange:
        brought = feed(exchange, lifetime=0.3)
        with brought.running():
            until(lambda: brought.link_changes >= 3)
        assert "renewed" in brought.detail("backing_off")
        assert exchange.state()["handshakes"] >= 2


@pytest.mark.parametrize(("status", "retry_after"), [(503, None), (429, 1.2), (418, 1.0)])
def test_refused_handshake_is_retried(tmp_path: Path, feed: Callable[..., Feed], status: int, retry_after: float | None) -> None:
    with BinanceStandIn(tmp_path, trades=200, speed=None) as exchange:
        exchange.control("refuse", what="handshake", status=status, retry_after=retry_after)
        brought = feed(exchange)
        begun = time.monotonic()
        with brought.running():
            until(at_least(brought, 200))
            until(lambda: brought.states()[-1] == "live")
        assert time.monotonic() - begun >= (retry_after or 0.0)
        assert brought.states() == ["backing_off", "connecting", "live"]
        assert f"HTTP {status}" in brought.detail("backing_off")
        assert exchange.state()["handshakes"] == 2


def test_finally_refused_handshake_is_a_fatal_error(tmp_path: Path, feed: Callable[..., Feed]) -> None:
    with BinanceStandIn(tmp_path, trades=200, speed=None) as exchange:
        exchange.control("refuse", what="handshake", status=401, count=1)
        brought = feed(exchange)
        with brought.running():
            until(lambda: brought.state() == "down")
        assert "HTTP 401" in brought.detail("down")
        assert exchange.state()["handshakes"] == 1


# messages that are wrong


@pytest.fixture
def held(tmp_path: Path) -> Iterator[BinanceStandIn]:
    """An exchange that waits for `go`, with 3,000 trades of two symbols to come."""
    with BinanceStandIn(tmp_path, trades=3000, speed=None, waits=True) as exchange:
        yield exchange


def through(exchange: BinanceStandIn, brought: Feed, expected: int, *misfortunes: dict[str, Any]) -> Counter[Trade]:
    """What arrives of everything that happens, once these have been told to the exchange."""
    with brought.running():
        until(lambda: exchange.state()["connections"] == 1)
        for misfortune in misfortunes:
            exchange.control(**misfortune)
        exchange.control("go")
        until(at_least(brought, expected))
        until(brought.states)  # published after the source has it
    assert brought.states() == ["live"]  # no message is a reason to leave
    return Counter(brought.trades())


def test_garbage_is_skipped_and_counted(held: BinanceStandIn, feed: Callable[..., Feed]) -> None:
    brought = feed(held)
    got = through(held, brought, 3000, {"do": "garbage"}, {"do": "garbage", "text": "[]"})
    assert got == Counter(held.expected())
    assert brought.source.garbage["not JSON"] == 3
    assert brought.source.garbage.pop("useless book ticker", 0) <= 1  # nobody looks at it where a newer one came with it
    assert sum(brought.source.garbage.values()) == 9
    refused = brought._ingestion.statuses[0].report()["refused"]
    assert (refused["not_a_decimal"], refused["unknown_instrument"]) == (2, 1)  # which can be read


def test_incomplete_message_costs_only_that_message(held: BinanceStandIn, feed: Callable[..., Feed]) -> None:
    brought = feed(held)
    got = through(held, brought, 2996, {"do": "half", "count": 2})
    assert sorted(got) == [trade for trade in held.expected() if trade.trade_id >= 1_000_002]
    assert brought.source.garbage == {"not JSON": 4}
    assert_once_and_whole(list(got), held.expected(), held)


def test_repeated_trades_are_published_as_often_as_sent(held: BinanceStandIn, feed: Callable[..., Feed]) -> None:
    got = through(held, feed(held), 3020, {"do": "repeat", "count": 20, "symbol": "ETHUSDT"})
    assert set(got) == set(held.expected())
    assert [trade.trade_id for trade in sorted(got) if got[trade] == 2] == list(range(1_000_000, 1_000_020))
    assert {trade.symbol for trade in got if got[trade] == 2} == {"ETHUSDT"}


def test_reordered_trades_all_arrive(held: BinanceStandIn, feed: Callable[..., Feed]) -> None:
    brought = feed(held)
    assert through(held, brought, 3000, {"do": "reorder", "count": 50, "symbol": "BTCUSDT"}) == Counter(held.expected())
    ids = [trade.trade_id for trade in brought.trades() if trade.symbol == "BTCUSDT"]
    assert ids[:50] == list(range(1_000_049, 999_999, -1))


def test_skipped_trades_are_in_the_history_and_lost_ones_are_not(held: BinanceStandIn, feed: Callable[..., Feed]) -> None:
    held.control("lose", count=5, symbol="BTCUSDT")
    got = through(held, feed(held), 2975, {"do": "skip", "count": 20, "symbol": "ETHUSDT"})
    assert len(got) == 2975
    assert len(held.expected()) == 2995
    assert_once_and_whole(list(got), held.expected(), held)
    around = [trade.trade_id for page in history_of(held).trades("BTCUSDT", 1_000_000, STOP, last_id=1_000_009) for trade in page.trades]
    assert around == list(range(1_000_005, 1_000_010))
    assert list(history_of(held).trades("BTCUSDT", 1_000_000, STOP, last_id=1_000_004)) == []


# history


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinanceStandIn]:
    """The recording, all of it past."""
    with BinanceStandIn(tmp_path_factory.mktemp("archive"), waits=True) as exchange:
        exchange.control("jump")
        yield exchange


def recorded(exchange: BinanceStandIn, symbol: str) -> list[Trade]:
    return [trade for trade in exchange.expected() if trade.symbol == symbol]


def asked(exchange: BinanceStandIn) -> int:
    return int(exchange.state()["requests"].get("/api/v3/historicalTrades", 0))


def test_whole_history_comes_in_pages(archive: BinanceStandIn) -> None:
    expected, before = recorded(archive, "BTCUSDT"), asked(archive)
    pages = list(history_of(archive).trades("BTCUSDT", 0, STOP))
    assert [trade for page in pages for trade in page.trades] == expected
    assert [len(page.trades) for page in pages] == [1000] * 9 + [757]
    assert asked(archive) - before == 11  # the last one proves the end


@pytest.mark.parametrize(("first", "count"), [(0, 1), (5, 999), (5, 1000), (5, 1001), (1234, 2500), (6105, 1)])
def test_part_of_the_history_ends_at_its_last_id(archive: BinanceStandIn, first: int, count: int) -> None:
    expected, before = recorded(archive, "ETHUSDT")[first : first + count], asked(archive)
    pages = list(history_of(archive).trades("ETHUSDT", expected[0].trade_id, STOP, last_id=expected[-1].trade_id))
    assert [trade for page in pages for trade in page.trades] == expected
    assert asked(archive) - before == -(-count // 1000)


def test_history_beyond_the_newest_trade_is_empty(archive: BinanceStandIn) -> None:
    newest = recorded(archive, "ETHUSDT")[-1].trade_id
    assert list(history_of(archive).trades("ETHUSDT", newest + 1, STOP)) == []
    assert list(history_of(archive).trades("ETHUSDT", newest + 1, STOP, last_id=newest)) == []
    assert [
        trade.trade_id for page in history_of(archive).trades("ETHUSDT", newest, STOP, last_id=newest + 50) for trade in page.trades
    ] == [newest]


@pytest.mark.parametrize("refusal", [{"status": 429, "retry_after": 1}, {"status": 418, "retry_after": 1}, {"status": 502}])
def test_refusal_between_pages_is_waited_out(archive: BinanceStandIn, refusal: dict[str, Any]) -> None:
    got: list[Trade] = []
    begun = time.monotonic()
    for page in history_of(archive).trades("ETHUSDT", 0, STOP):
        got += page.trades
        if len(got) == 3000:
            archive.control("refuse", **refusal)
    assert got == recorded(archive, "ETHUSDT")
    assert time.monotonic() - begun >= refusal.get("retry_after", 0)


def test_reset_between_pages_is_waited_out(archive: BinanceStandIn) -> None:
    pages = history_of(archive).trades("ETHUSDT", 0, STOP)
    got = list(next(pages).trades)
    archive.control("vanish", seconds=0.3)
    assert got + [trade for page in pages for trade in page.trades] == recorded(archive, "ETHUSDT")


def test_history_of_an_unknown_symbol_is_a_fatal_error(archive: BinanceStandIn) -> None:
    with pytest.raises(SourceError, match=r"^HTTP 400: Bad Request$") as caught:
        next(history_of(archive).trades("NOSUCH", 0, STOP))
    assert caught.value.server_text == "Invalid symbol."
    assert caught.value.fatal


def test_repeated_page_of_trades_is_an_error(archive: BinanceStandIn) -> None:
    pages = history_of(archive).trades("ETHUSDT", 0, STOP)
    next(pages)
    archive.control("repeat_pages", count=1)
    with pytest.raises(SourceError, match="again and again") as caught:
        next(pages)
    assert not caught.value.fatal


def test_history_reads_times_in_microseconds(archive: BinanceStandIn) -> None:
    archive.control("microseconds", on=True)
    try:
        first = next(history_of(archive).trades("ETHUSDT", 0, STOP)).trades
        assert first == [trade for trade in archive.expected(microseconds=True) if trade.symbol == "ETHUSDT"][:1000]
    finally:
        archive.control("microseconds", on=False)


def test_first_id_at_a_time_is_that_of_the_next_trade(archive: BinanceStandIn) -> None:
    history, trades = history_of(archive), recorded(archive, "BTCUSDT")
    times = [parse_time(trade.time) for trade in trades]
    moments = [times[0] - timedelta(days=1), times[0], times[500] + timedelta(microseconds=1), times[4000] - timedelta(microseconds=999)]
    for moment in [*moments, times[-1]]:
        expected = next(trade.trade_id for trade in trades if trade.time >= format_time(moment))
        assert history.first_id_at("BTCUSDT", moment, STOP) == expected
    assert history.first_id_at("BTCUSDT", times[-1] + timedelta(microseconds=1), STOP) is None


def test_history_after_stop_makes_no_request(archive: BinanceStandIn) -> None:
    stop, before = threading.Event(), asked(archive)
    stop.set()
    with pytest.raises(Stopped):
        next(history_of(archive).trades("BTCUSDT", 0, stop))
    assert asked(archive) == before


def test_history_stays_within_the_request_allowance(tmp_path: Path) -> None:
    clock = FakeTime()
    with BinanceStandIn(tmp_path, trades=12_000, symbols=("BTCUSDT",), waits=True, weight_window=3600) as exchange:
        exchange.control("jump")
        weight = Weight(most=200, monotonic=clock.monotonic)
        history = BinanceHistory(JsonClient(exchange.rest_url, on_headers=weight.note_headers), weight)
        pages = list(history.trades("BTCUSDT", 0, clock))
        assert sum(len(page.trades) for page in pages) == 12_000
    # Nine requests are 225 of the 200; from then on a minute passes before each.
    assert clock.waits == [60] * 4
