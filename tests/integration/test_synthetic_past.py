"""The synthetic past of an empty store: made once, whole, and continued by the same market."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from config.pacing import Stopped
from config.settings import Settings, parse_source
from db.candles import CandleRow, latest_closes
from db.instruments import Instrument, all_instruments
from db.partitions import make_months
from db.postgres import Cursor, Store
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time, parse_time
from jobs.feeds.context import SourceContext
from jobs.feeds.market.model import Market
from jobs.feeds.market.prices import LARGEST_MOVE
from jobs.feeds.synthetic import listing
from jobs.feeds.synthetic_past import DAYS, STEPS, Then, hours_before, make_past, make_past_of_added, past, past_of_added
from jobs.venues import walked
from tests.conftest import until
from tests.support.instruments import make_instrument
from tests.support.processes import jobs

NOW = datetime(2025, 11, 18, 12, 34, 56, 789123, tzinfo=UTC)
HOURS = hours_before(NOW)
EURO = make_instrument("EUR_USD", "Euro / US Dollar", "fx", 5, "oanda")
SHARE = make_instrument("AAPL", "Apple", "equity", 2, "synthetic")
WHOLE = 31 * DAYS * 24


@pytest.fixture
def instruments(store: Store) -> list[Instrument]:
    with store.transaction() as cursor:
        return all_instruments(cursor)


def rows(store: Store, statement: str, *parameters: object) -> list[Any]:
    with store.transaction() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def candles(store: Store) -> int:
    return int(rows(store, "SELECT count(*) FROM candles")[0][0])


def make(store: Store, instruments: list[Instrument], now: datetime = NOW, then: Then | None = None) -> int:
    return make_past(store, instruments, 7, now, threading.Event(), then=then)


def test_hours_are_full_and_consecutive() -> None:
    assert len(HOURS) == 1440
    assert HOURS[-1] == ("2025-11-18T11:00:00.000000Z", "2025-11-18T12:00:00.000000Z")
    assert all(end == start for (_, end), (start, _) in pairwise(HOURS))
    assert hours_before(datetime(2025, 11, 18, 12, tzinfo=UTC)) == HOURS


def test_candles_equal_the_market_of_each_hour() -> None:
    market = Market([listing(EURO), listing(SHARE)], 7)
    start = parse_time(HOURS[0][0])
    euro, share = market.advance([start + timedelta(minutes=5 * step) for step in range(len(HOURS) * STEPS)], 300.0)
    rows, others = past([EURO, SHARE], 7, HOURS)
    for number, (row, hour) in enumerate(zip(rows, HOURS, strict=True)):
        prices = [Decimal(units).scaleb(-5) for units in euro.mids[number * STEPS : (number + 1) * STEPS]]
        assert tuple(map(Decimal, row.mid)) == (prices[0], max(prices), min(prices), prices[-1])
        assert (row.start_time, row.end_time, row.interval) == (*hour, "1h")
        assert int(row.volume) == sum(euro.volumes[number * STEPS : (number + 1) * STEPS])
        assert row.bid is not None
        assert row.ask is not None
        for bid, mid, ask in zip(row.bid, row.mid, row.ask, strict=True):
            assert 0 < Decimal(bid) < Decimal(mid) < Decimal(ask)
            assert len(mid.partition(".")[2]) == 5
        assert (row.complete, row.source, row.trades) == (True, "synthetic", STEPS)
    assert Decimal(others[-1].mid[3]) == Decimal(share.mids[-1]).scaleb(-2)
    assert {(row.bid, row.ask) for row in others} == {(None, None)}


def closes(rows: list[CandleRow]) -> list[Decimal]:
    return [Decimal(row.mid[3]) for row in rows]


def test_past_depends_on_seed_and_opening_hours() -> None:
    coin = make_instrument("BTCUSDT", "Bitcoin", "crypto", 2, "binance")
    [first], [same] = past([coin], 7, HOURS), past([coin], 7, HOURS)
    assert same == first
    [later] = past([coin], 7, hours_before(NOW + timedelta(days=3)))
    assert [row.mid for row in later] == [row.mid for row in first], "this market is always open"
    assert [row.start_time for row in later] != [row.start_time for row in first]
    beside = list(past([EURO, SHARE, coin], 7, HOURS))
    assert beside[2] == first
    for other in (past([coin], 8, HOURS), past([coin], None, HOURS), past([coin], 7, HOURS, 2.0)):
        assert next(other) != first
    moves = [abs(b / a - 1) for a, b in pairwise(closes(beside[0]))]
    weekend = [move for move, (start, _) in zip(moves, HOURS[1:], strict=True) if parse_time(start).weekday() == 5]
    assert 0 < sum(weekend) / len(weekend) < sum(moves) / len(moves) / 4


def test_past_of_added_instruments_ends_at_their_start_levels() -> None:
    gold = make_instrument("XAU_USD", "Gold", "metal", 2, "synthetic")
    copper = replace(make_instrument("XCU_USD", "Copper", "metal", 4, "synthetic"), start_level=Decimal("4.5"))
    cross = make_instrument("GBP_CAD", "Pound / Dollar", "fx", 5, "synthetic")
    pound, dollar = (make_instrument(symbol, "", "fx", 5, "oanda") for symbol in ("GBP_USD", "USD_CAD"))
    latest = {"GBP_USD": "1.31000", "USD_CAD": "1.40000", "XAU_USD": "1.00"}
    found = [closes(rows) for rows in past_of_added([gold, copper, cross], [pound, dollar], latest, 7, HOURS)]
    assert [len(each) for each in found] == [1440] * 3
    assert found[0][-1] == Decimal("2400.00")
    assert found[1][-1] == Decimal("4.5000")
    assert found[2][-1] == pytest.approx(Decimal("1.31") * Decimal("1.40"), abs=Decimal("0.00003"))
    for each in found:
        assert max(abs(b / a - 1) for a, b in pairwise(each)) < Decimal("0.05")
        assert len(set(each)) > 500


def test_past_has_every_hour_of_every_instrument_once(store: Store, instruments: list[Instrument]) -> None:
    assert len(instruments) == 31
    assert make(store, instruments) == WHOLE
    found = rows(
        store,
        "SELECT symbol, count(*), min(start_time), max(end_time), bool_and(complete AND end_time - start_time = interval '1 hour' "
        "AND low <= least(open, close) AND high >= greatest(open, close)), min(interval), min(source), max(source) "
        "FROM candles GROUP BY symbol",
    )
    end = datetime(2025, 11, 18, 12, tzinfo=UTC)
    expected = (1440, end - timedelta(days=60), end, True, "1h", "synthetic", "synthetic")
    assert {row[0]: row[1:] for row in found} == {instrument.symbol: expected for instrument in instruments}
    assert make(store, instruments, NOW + timedelta(days=1)) == 0
    assert candles(store) == WHOLE


def test_two_concurrent_starts_make_one_past(database_url: str, instruments: list[Instrument]) -> None:
    made: list[int] = []
    stores = [Store(database_url, timeout_ms=60_000) for _ in range(2)]
    threads = [threading.Thread(target=lambda one=store: made.append(make(one, instruments[:6]))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(made) == [0, 6 * 1440]
    assert candles(stores[0]) == 6 * 1440
    for store in stores:
        store.close()


def test_stop_while_making_the_past_leaves_nothing(store: Store, instruments: list[Instrument]) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        make_past(store, instruments, 7, NOW, stop)
    assert candles(store) == 0
    assert make(store, instruments[:2]) == 2 * 1440


def test_store_with_one_price_gets_no_past(store: Store, instruments: list[Instrument]) -> None:
    moment = format_time(NOW)
    with store.transaction() as cursor:
        insert_prices(cursor, [PriceRow("EUR_USD", moment, moment, "1.1", "1.2", "1.15", None, "test", "e", 1)])
    assert make(store, instruments) == 0
    others = [instrument for instrument in instruments if instrument.symbol in ("AAPL", "TSLA")]
    assert make(store, others) == 2 * 1440, "what others have is no hindrance"
    assert make(store, []) == 0


def test_added_instrument_gets_its_past_beside_others(store: Store, instruments: list[Instrument]) -> None:
    gold = make_instrument("XAU_USD", "Gold", "metal", 2, "synthetic")
    few = [each for each in instruments if each.symbol in ("EUR_USD", "AAPL")]
    make(store, few)
    rows_before = rows(store, "SELECT symbol, start_time, close FROM candles ORDER BY 1, 2")
    with store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO instruments (symbol, name, kind, precision, source, currency, calendar, changed)"
            " VALUES ('XAU_USD', 'Gold', 'metal', 2, 'synthetic', 'USD', 'fx', 1)"
        )
    made: list[str] = []

    def note(cursor: Cursor, chosen: Sequence[Instrument]) -> None:
        made.extend(each.symbol for each in chosen)

    def add() -> int:
        return make_past_of_added(store, [few[0], gold], [*few, gold], 7, NOW, threading.Event(), then=note)

    assert (add(), add(), made) == (1440, 0, ["XAU_USD"])
    assert rows(store, "SELECT symbol, start_time, close FROM candles WHERE symbol <> 'XAU_USD' ORDER BY 1, 2") == rows_before
    with store.transaction() as cursor:
        assert latest_closes(cursor)["XAU_USD"] == "2400.00"
    assert rows(store, "SELECT count(*) FROM candles WHERE symbol = 'XAU_USD' AND bid_low < low AND ask_high > high") == [(1440,)]


@pytest.mark.parametrize(
    ("sources", "kinds"),
    [
        ("synthetic", {"fx", "crypto", "equity"}),
        ("synthetic,oanda", {"crypto", "equity"}),
        ("oanda,binance,synthetic", {"equity"}),
        ("oanda", set()),
        ("", set()),
    ],
)
def test_only_instruments_of_the_synthetic_source_get_a_past(settings: Settings, store: Store, sources: str, kinds: set[str]) -> None:
    specs = tuple(parse_source(text) for text in sources.split(",") if text)
    with store.transaction() as cursor:
        known = all_instruments(cursor)
    context = SourceContext(replace(settings, sources=specs), known, {}, lambda: NOW)
    assert {instrument.kind for instrument in walked(context)} == kinds


@contextmanager
def in_the_way(store: Store, symbol: str, start: datetime) -> Iterator[None]:
    """Hold an uncommitted candle: an insert of the same one waits until the block ends."""
    with store.transaction() as cursor:
        make_months(cursor, "candles", [f"{start:%Y-%m}"])
    with store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, complete, source) "
            "VALUES (%s, '1h', %s, %s, 1, 1, 1, 1, 1, true, 'synthetic')",
            (symbol, start, start + timedelta(hours=1)),
        )
        yield
        cursor.connection.rollback()


@pytest.mark.slow
def test_killed_first_start_makes_its_past_at_the_next_start(
    settings: Settings, store: Store, instruments: list[Instrument], tmp_path: Path
) -> None:
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=1)
    waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tickwire-jobs' AND wait_event_type = 'Lock'"
    days = (
        "SELECT count(*) FROM (SELECT count(*) AS number FROM candles WHERE interval = '1d' AND complete"
        " AND source = 'synthetic' GROUP BY symbol) AS days WHERE number >= %s"
    )
    process = jobs(settings, tmp_path / "log", SOURCES="synthetic", SYNTHETIC_SEED="7", INGESTION_INTERVAL_SECONDS="0.5")
    with in_the_way(store, instruments[-1].symbol, last), process:
        until(lambda: rows(store, waits), 60, "the candle that waits for ours")
        assert candles(store) == 0
        process.kill(signal.SIGKILL)
    assert candles(store) == 0
    with process:
        until(lambda: rows(store, "SELECT count(DISTINCT instrument) FROM prices")[0][0] == 31, 60, "prices of all")
        until(lambda: rows(store, days, DAYS - 1) == [(31,)], 60, "the days of the past, rolled up")
        until(lambda: rows(store, "SELECT 1 FROM job_runs WHERE job = 'hourly_job' AND outcome = 'succeeded'"), 60, "the first run")
    assert rows(store, "SELECT count(*) FROM alerts") == [(0,)], "the rules have read the past"
    known = {instrument.symbol: instrument for instrument in instruments}
    hours = "SELECT symbol, count(*) FROM candles WHERE interval = '1h' AND source = 'synthetic' GROUP BY symbol"
    assert dict(rows(store, hours)) == dict.fromkeys(known, 1440)
    newest = "ORDER BY symbol, start_time DESC"
    closes = dict(
        rows(store, f"SELECT DISTINCT ON (symbol) symbol, close FROM candles WHERE source = 'synthetic' AND interval = '1h' {newest}")  # noqa: S608
    )
    firsts = rows(store, "SELECT DISTINCT ON (instrument) instrument, mid FROM prices ORDER BY instrument, time, seq")
    market = Market(map(listing, instruments), 7, latest=closes)
    expected = {path.listing.symbol: path.mids[0] for path in market.advance([NOW], 0.5)}
    for symbol, mid in firsts:
        assert abs(Decimal(mid) / Decimal(closes[symbol]) - 1) <= LARGEST_MOVE
        if known[symbol].calendar == "crypto":  # open now and at `NOW`
            assert Decimal(mid).scaleb(known[symbol].precision) == expected[symbol]


def test_latest_close_is_that_of_any_interval(store: Store, instruments: list[Instrument]) -> None:
    with store.transaction() as cursor:
        assert latest_closes(cursor) == {}
    make(store, [EURO, SHARE])
    with store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, complete, source) "
            "VALUES ('EUR_USD', '1m', '2025-11-18T12:00Z', '2025-11-18T12:01Z', 1, 1, 1, 1.2345, 1, true, 'ticks')"
        )
        latest = latest_closes(cursor)
    assert latest == {"EUR_USD": "1.2345", "AAPL": list(past([EURO, SHARE], 7, HOURS))[1][-1].mid[3]}
