"""The synthetic source keeps grid, spread and move of a price, and its series follow the seed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.instruments import KINDS, Instrument
from db.messages import Tick
from jobs.feeds.market.prices import LARGEST_MOVE
from jobs.feeds.synthetic import SyntheticSource
from tests.support.fake_time import FakeTime
from tests.support.instruments import make_instrument

FX = make_instrument("EUR_USD", "Euro / US Dollar", "fx", 5, "oanda")
YEN = make_instrument("USD_JPY", "US Dollar / Japanese Yen", "fx", 3, "oanda")
COIN = make_instrument("BTCUSDT", "Bitcoin / Tether", "crypto", 2, "binance")
SMALL_COIN = make_instrument("ADAUSDT", "Cardano / Tether", "crypto", 4, "binance")
SHARE = make_instrument("AAPL", "Apple", "equity", 2, "synthetic")
MARKET = [FX, YEN, COIN, SMALL_COIN, SHARE]
CROSS = make_instrument("EUR_GBP", "Euro / British Pound", "fx", 5, "oanda")
GOLD = make_instrument("XAU_USD", "Gold / US Dollar", "metal", 2, "synthetic")
INDEX = make_instrument("SPX", "Index", "index", 2, "synthetic")
OIL = make_instrument("OIL_USD", "Oil / US Dollar", "commodity", 3, "synthetic")

instruments = st.one_of(
    st.sampled_from(MARKET),
    st.builds(make_instrument, st.just("NEW_ONE"), st.just(""), st.sampled_from(KINDS), st.integers(0, 12), st.just("")),
)
prices = st.decimals(min_value=Decimal("1e-12"), max_value=10**7, allow_nan=False, allow_infinity=False).map(lambda price: f"{price:f}")


def source(
    seed: int | None = 1, latest: Mapping[str, str] | None = None, time: FakeTime | None = None, market: list[Instrument] | None = None
) -> SyntheticSource:
    time = time or FakeTime()
    return SyntheticSource(market or MARKET, interval=3, seed=seed, latest=latest or {}, clock=time.utc, monotonic=time.monotonic)


def batches(feed: SyntheticSource, count: int, stop: FakeTime | None = None) -> list[list[Tick]]:
    return [feed.parse(step) for step in islice(feed.fetch(stop or FakeTime()), count)]


@settings(deadline=None)
@given(instruments, st.integers(), st.one_of(st.none(), prices))
def test_step_keeps_move_grid_and_spread(instrument: Instrument, seed: int, start: str | None) -> None:
    feed = source(seed, {instrument.symbol: start} if start else {}, market=[instrument])
    # 2 % of 50 units is a unit: a smaller price between two units moves to the nearer one.
    last = Decimal(start) if start and Decimal(start) * 10**instrument.precision >= 50 else None
    for [tick] in batches(feed, 60):
        bid, mid, ask = Decimal(tick.bid), Decimal(tick.mid), Decimal(tick.ask)
        assert 0 < bid < mid < ask
        for text in (tick.bid, tick.mid, tick.ask):
            assert len(text.partition(".")[2]) == instrument.precision
        assert tick.volume is not None
        assert 1_000 <= int(tick.volume) <= 100_000
        if last is not None:
            assert abs(mid - last) <= last * LARGEST_MOVE
        last = mid


@given(st.integers(), st.dictionaries(st.sampled_from([each.symbol for each in MARKET]), prices))
def test_same_seed_gives_the_same_series(seed: int, latest: dict[str, str]) -> None:
    first, second = (batches(source(seed, latest), 5) for _ in range(2))
    assert first == second


def test_series_is_independent_of_clock_and_other_instruments() -> None:
    late = FakeTime()
    late.now = 1e6
    together = [next(tick for tick in batch if tick.instrument == "AAPL") for batch in batches(source(9), 20)]
    alone = [batch[0] for batch in batches(source(9, time=late, market=[SHARE]), 20, late)]
    assert [(tick.mid, tick.volume) for tick in together] == [(tick.mid, tick.volume) for tick in alone]
    assert together[0].time != alone[0].time


def test_series_of_other_seeds_or_no_seed_differ() -> None:
    runs = [[tick.mid for batch in batches(source(seed), 5) for tick in batch] for seed in (1, 2, None, None)]
    assert len({tuple(run) for run in runs}) == 4


def test_restart_continues_from_the_last_price_with_other_moves() -> None:
    before = [batch[0] for batch in batches(source(4, market=[COIN]), 10)]
    after = [batch[0] for batch in batches(source(4, {"BTCUSDT": before[-1].mid}, market=[COIN]), 10)]
    assert abs(Decimal(after[0].mid) / Decimal(before[-1].mid) - 1) <= LARGEST_MOVE
    assert [tick.volume for tick in after] != [tick.volume for tick in before]


def test_spread_depends_on_kind_and_currencies() -> None:
    ticks = batches(source(market=[*MARKET, CROSS, GOLD, INDEX, OIL]), 1)[0]
    spread = {tick.instrument: Decimal(tick.ask) - Decimal(tick.bid) for tick in ticks}
    mid = {tick.instrument: Decimal(tick.mid) for tick in ticks}
    assert spread["EUR_USD"] == Decimal("0.00014")
    assert spread["USD_JPY"] == Decimal("0.014")
    assert spread["EUR_GBP"] == Decimal("0.00025")
    points = {"BTCUSDT": 2, "XAU_USD": Decimal("1.5"), "SPX": 1, "OIL_USD": 3}
    for symbol, basis_points in points.items():
        assert spread[symbol] / mid[symbol] * 10_000 == pytest.approx(basis_points, rel=Decimal("0.03")), symbol
    assert spread["AAPL"] == max(Decimal("0.02"), (mid["AAPL"] / 10_000).quantize(Decimal("0.01")))


def test_source_yields_all_instruments_every_interval() -> None:
    time = FakeTime(until=10)
    feed = source(time=time)
    steps = list(feed.fetch(time))
    assert [step.time.second for step in steps] == [0, 3, 6, 9]
    assert [tick.instrument for tick in feed.parse(steps[0])] == [each.symbol for each in MARKET]
    assert feed.parse(steps[1])[0].time == "2025-11-18T00:00:03.000000Z"


def test_source_sends_no_burst_after_a_delay() -> None:
    time = FakeTime()
    steps = source(time=time).fetch(time)
    start = next(steps).time
    time.now += 60
    assert [(next(steps).time - start).total_seconds() for _ in range(3)] == [60, 63, 66]


def test_instruments_change_while_the_source_runs() -> None:
    time = FakeTime()
    feed, alone = source(5, time=time), source(5, time=FakeTime())
    steps = feed.fetch(time)
    before = [feed.parse(next(steps)) for _ in range(5)][-1]
    feed.set_instruments([FX, GOLD, SHARE])
    after = [feed.parse(next(steps)) for _ in range(5)]
    assert [tick.instrument for tick in after[0]] == ["EUR_USD", "XAU_USD", "AAPL"]
    assert after[0][1].mid == "2400.00"
    expected = batches(alone, 10)[5:]
    assert [(batch[0].mid, batch[2].mid) for batch in after] == [(batch[0].mid, batch[4].mid) for batch in expected]
    feed.set_instruments([*MARKET, GOLD], {"XAU_USD": "1.00"})
    again = {tick.instrument: Decimal(tick.mid) for tick in feed.parse(next(steps))}
    coin = next(Decimal(tick.mid) for tick in before if tick.instrument == "BTCUSDT")
    assert abs(again["BTCUSDT"] / coin - 1) <= LARGEST_MOVE
    assert abs(again["XAU_USD"] / 2400 - 1) <= LARGEST_MOVE, "it continues from its own last price"


def test_added_instrument_continues_from_its_latest_price() -> None:
    feed = source(5, {"XAU_USD": "1900.00"})
    feed.set_instruments([*MARKET, GOLD, INDEX], {"SPX": "5000"})
    first = {tick.instrument: Decimal(tick.mid) for tick in batches(feed, 1)[0]}
    assert abs(first["XAU_USD"] / 1900 - 1) < Decimal("0.002")
    assert abs(first["SPX"] / 5000 - 1) < Decimal("0.002")


def test_set_without_instruments_yields_empty_steps() -> None:
    feed = source(5)
    feed.set_instruments([])
    assert batches(feed, 2) == [[], []]
