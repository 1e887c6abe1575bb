"""The hourly job on real candles: figures against pandas, and its messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from api.hub.channels import CHANNELS
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.candles import CandleRow
from db.postgres import Store
from db.timestamps import format_time
from jobs.analytics.volatility import ESTIMATORS
from jobs.figures.hourly import hourly_job
from jobs.runtime.context import JobContext
from jobs.store.queues import PriceQueue
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Writer
from tests.support.oracles import Estimate, EstimateKey, fx_volatility
from tests.support.recordings import recorded
from tests.support.store import HOUR, candle, put_candles, select

PAIRS = ("EUR_USD", "GBP_USD", "USD_JPY", "EUR_GBP", "GBP_JPY", "NZD_USD")
WEDNESDAY = datetime(2021, 9, 15, 12, tzinfo=UTC)
MONDAY = datetime(2021, 9, 20, 5, tzinfo=UTC)
SATURDAY = datetime(2021, 9, 18, 12, tzinfo=UTC)
START = datetime(2021, 9, 1, tzinfo=UTC)

MakeWork = Callable[..., JobContext]


@pytest.fixture
def make_work(settings: Settings, bus: Bus, store: Store) -> MakeWork:
    """Return a JobContext shortly after the hour."""

    def make(as_of: datetime, **changes: Any) -> JobContext:
        return JobContext(replace(settings, **changes), bus, store, lambda: as_of + timedelta(seconds=10))

    return make


def stored(store: Store, as_of: datetime) -> dict[EstimateKey, Estimate]:
    rows = select(store, "SELECT symbol, estimator, volatility, annualised, observations FROM volatility WHERE time = %s", as_of)
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}


def published(bus: Bus, channel: str) -> list[dict[str, Any]]:
    """Return the messages of the channel's stream, oldest first; all pass the hub's schema."""
    bodies = [orjson.loads(entry.body) for entry in bus.backwards(channel)][::-1]
    assert not any(CHANNELS[channel].schema.validate(body) for body in bodies)
    return bodies


def with_holes(rows: list[CandleRow], share: float) -> list[CandleRow]:
    random = np.random.default_rng(5)
    return [row for row in rows if random.random() >= share]


@pytest.mark.parametrize("share", [0.0, 0.06])
@pytest.mark.parametrize("as_of", [WEDNESDAY, MONDAY, MONDAY + 19 * HOUR, SATURDAY - 15 * HOUR])
def test_volatilities_equal_those_of_pandas(make_work: MakeWork, store: Store, as_of: datetime, share: float) -> None:
    rows = with_holes(recorded(PAIRS, START, as_of + 5 * HOUR), share)
    put_candles(store, rows)
    assert hourly_job(make_work(as_of), as_of) == len(stored(store, as_of))
    expected = fx_volatility(rows, as_of)
    ours = stored(store, as_of)
    assert ours.keys() == expected.keys()
    for key, estimate in expected.items():
        assert ours[key] == pytest.approx(estimate, rel=1e-9, abs=0), key
    assert {symbol for symbol, _ in ours} <= set(PAIRS)
    assert len(ours) > 20, "holes or not, there is something to compare"


def test_closed_market_has_no_figures(make_work: MakeWork, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, SATURDAY))
    assert hourly_job(make_work(SATURDAY), SATURDAY) == 0
    assert stored(store, SATURDAY) == {}
    assert {channel: published(bus, channel) for channel in topics.relayed()} == {channel: [] for channel in topics.relayed()}


def test_job_with_an_empty_store_succeeds(make_work: MakeWork, bus: Bus) -> None:
    assert hourly_job(make_work(WEDNESDAY), WEDNESDAY) == 0
    assert published(bus, topics.DATA_READY) == []


def test_flat_prices_have_zero_volatility_and_few_hours_none(make_work: MakeWork, store: Store) -> None:
    hours = [WEDNESDAY - number * HOUR for number in range(1, 40)]
    flat = [candle("EUR_USD", start, ("1.1", "1.1", "1.1", "1.1")) for start in hours]
    put_candles(store, flat + [candle("GBP_USD", start, ("1.3", "1.4", "1.2", "1.35")) for start in hours[:19]])
    assert hourly_job(make_work(WEDNESDAY), WEDNESDAY) == len(ESTIMATORS) + 1
    assert {(symbol, value) for (symbol, _), (value, _, _) in stored(store, WEDNESDAY).items()} == {("EUR_USD", 0.0)}


def test_contradictory_prices_make_no_figure(make_work: MakeWork, store: Store, bus: Bus) -> None:
    """No NaN is stored or published for any input."""
    hours = [WEDNESDAY - number * HOUR for number in range(1, 40)]
    odd = [("1.1", "1.0", "1.2", "1.1"), ("0", "0", "0", "0"), ("1.1", "1.1", "1.1", "-1")]
    put_candles(store, [candle("EUR_USD", start, odd[number % 3]) for number, start in enumerate(hours)])
    hourly_job(make_work(WEDNESDAY), WEDNESDAY)
    assert select(store, "SELECT * FROM volatility WHERE 'NaN' IN (volatility, annualised) OR volatility < 0") == []
    for channel in topics.relayed():
        assert "NaN" not in str(published(bus, channel))


def test_subscriber_receives_prices_alerts_and_data_ready(make_work: MakeWork, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, WEDNESDAY))
    work = make_work(WEDNESDAY, volatility_threshold=0.003, volatility_critical=0.006)
    hourly_job(work, WEDNESDAY)
    ready = [(body["data_type"], body["instruments"], body["as_of"]) for body in published(bus, topics.DATA_READY)]
    assert ready == [(kind, sorted(PAIRS), format_time(WEDNESDAY)) for kind in ("hourly_candles", "volatility")]
    daily = {symbol: figures[0] for (symbol, name), figures in stored(store, WEDNESDAY).items() if name == "alert"}
    expected = {
        symbol: (value, 0.006 if value > 0.006 else 0.003, "critical" if value > 0.006 else "warning")
        for symbol, value in daily.items()
        if value > 0.003
    }
    alerts = {
        body["instrument"]: (body["volatility"], body["threshold"], body["severity"]) for body in published(bus, topics.VOLATILITY_ALERTS)
    }
    assert alerts == expected != {}
    prices = {body["instrument"]: body["price"] for body in published(bus, topics.PRICES)}
    last = {row.symbol: row for row in recorded(PAIRS, WEDNESDAY - HOUR, WEDNESDAY)}
    for symbol, row in last.items():
        assert row.bid is not None
        assert row.ask is not None
        assert prices[symbol] == {"bid": row.bid[3], "ask": row.ask[3], "mid": row.mid[3], "time": format_time(WEDNESDAY)}


def test_repeated_run_publishes_only_data_ready_again(make_work: MakeWork, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, WEDNESDAY))
    work = make_work(WEDNESDAY, volatility_threshold=0.003)
    hourly_job(work, WEDNESDAY)
    write(work)
    before = stored(store, WEDNESDAY), published(bus, topics.VOLATILITY_ALERTS), published(bus, topics.PRICES)
    hourly_job(work, WEDNESDAY)
    assert (stored(store, WEDNESDAY), published(bus, topics.VOLATILITY_ALERTS), published(bus, topics.PRICES)) == before
    assert len(published(bus, topics.DATA_READY)) == 4


def test_earlier_time_than_the_last_judged_makes_no_alert(make_work: MakeWork, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, WEDNESDAY))
    hourly_job(make_work(WEDNESDAY), WEDNESDAY)
    write(make_work(WEDNESDAY))
    earlier = WEDNESDAY - HOUR
    hourly_job(make_work(WEDNESDAY, volatility_threshold=0.0001, volatility_critical=0.0002), earlier)
    assert stored(store, earlier)
    assert published(bus, topics.VOLATILITY_ALERTS) == []


def test_instrument_with_own_thresholds_uses_them(make_work: MakeWork, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, WEDNESDAY))
    own = {"GBP_JPY": (0.0001, 0.5), "EUR_USD": (0.4, 0.5)}
    hourly_job(make_work(WEDNESDAY, volatility_threshold=0.001, volatility_critical=0.002, volatility_thresholds=own), WEDNESDAY)
    alerts = {body["instrument"]: (body["severity"], body["threshold"]) for body in published(bus, topics.VOLATILITY_ALERTS)}
    assert alerts.pop("GBP_JPY") == ("warning", 0.0001)
    assert set(alerts.values()) == {("critical", 0.002)}
    assert alerts.keys() == set(PAIRS) - {"GBP_JPY", "EUR_USD"}


@pytest.mark.parametrize(
    ("time", "mid", "news"),
    [
        (WEDNESDAY - 3 * HOUR, "1.5", True),  # an hour without published prices
        (WEDNESDAY - 3 * HOUR, "1.1", True),
        (WEDNESDAY - timedelta(seconds=1), "1.5", True),  # another price within the hour: the feed missed the last prices
        (WEDNESDAY - timedelta(seconds=1), "1.10", False),  # the price of the candle's close
        (WEDNESDAY, "1.5", False),
        (WEDNESDAY + timedelta(seconds=1), "1.5", False),  # an older price is never published
    ],
)
def test_closing_price_is_published_if_it_is_new(make_work: MakeWork, store: Store, bus: Bus, time: datetime, mid: str, news: bool) -> None:
    put_candles(store, [candle("EUR_USD", WEDNESDAY - HOUR, ("1", "2", "1", "1.1"), source="oanda")])
    bus.cache_price("EUR_USD", bid=mid, ask=mid, mid=mid, time=time)
    write(make_work(WEDNESDAY))
    hourly_job(make_work(WEDNESDAY), WEDNESDAY)
    assert len(published(bus, topics.PRICES)) == 1 + news


def test_later_run_publishes_the_missing_closing_prices(make_work: MakeWork, store: Store, bus: Bus) -> None:
    for symbol in ("EUR_USD", "GBP_USD"):
        put_candles(store, [candle(symbol, WEDNESDAY - HOUR, ("1", "2", "1", "1.1"))])
        hourly_job(make_work(WEDNESDAY), WEDNESDAY)
        write(make_work(WEDNESDAY))
    assert [body["instrument"] for body in published(bus, topics.PRICES)] == ["EUR_USD", "GBP_USD"]


def test_closing_prices_make_no_candles(make_work: MakeWork, store: Store, bus: Bus) -> None:
    """Otherwise the close before a weekend would become a candle of the next hour, and so on."""
    put_candles(store, [candle("EUR_USD", WEDNESDAY - HOUR, ("1", "2", "1", "1.1"))])
    work = make_work(WEDNESDAY)
    hourly_job(work, WEDNESDAY)
    write(work)
    assert select(store, "SELECT source, occurrence FROM prices") == [("hourly_job", 0)]
    assert select(store, "SELECT DISTINCT start_time FROM candles WHERE interval IN ('1m', '1h')") == [(WEDNESDAY - HOUR,)]
    assert hourly_job(make_work(WEDNESDAY + HOUR), WEDNESDAY + HOUR) == 0


def write(work: JobContext) -> None:
    """Store the entries of the bus and build their candles."""
    queue = PriceQueue(work.bus)
    work.bus.open_group(queue.channel)
    Writer(work.bus, work.store, BatchRule(), queue).write_batch(queue.read(queue.most, 0))
    RollUp(work.store, work.bus, work.clock).run_once(work.stop)
