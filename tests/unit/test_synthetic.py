"""The random walk stays in its band and on its grid, and is the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.instruments import Instrument
from db.messages import Tick
from jobs.feeds.synthetic import LARGEST_MOVE, SyntheticSource, Walk, level
from tests.support.fake_time import FakeTime
from tests.support.instruments import make_instrument

FX = make_instrument("EUR_USD", "Euro / US Dollar", "fx", 5, "oanda")
YEN = make_instrument("USD_JPY", "US Dollar / Japanese Yen", "fx", 3, "oanda")
COIN = make_instrument("BTCUSDT", "Bitcoin / Tether", "crypto", 2, "binance")
SMALL_COIN = make_instrument("ADAUSDT", "Cardano / Tether", "crypto", 4, "binance")
SHARE = make_instrument("AAPL", "Apple", "equity", 2, "synthetic")
MARKET = [FX, YEN, COIN, SMALL_COIN, SHARE]

instruments = st.one_of(
    st.sampled_from(MARKET),
    st.builds(
        make_instrument, st.just("NEW_ONE"), st.just(""), st.sampled_from(["fx", "crypto", "equity"]), st.integers(0, 12), st.just("")
    ),
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
def test_step_keeps_band_grid_and_spread(instrument: Instrument, seed: int, start: str | None) -> None:
    feed = source(seed, {instrument.symbol: start} if start else {}, market=[instrument])
    last: Decimal | None = None
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


def test_long_walk_stays_near_its_level() -> None:
    for instrument in MARKET:
        walk = Walk(instrument, seed=3)
        series = [walk.step()[0] for _ in range(20_000)]
        middle = level(instrument) or Decimal(0)
        low, high = (Decimal(50), Decimal(1000)) if instrument is SHARE else (middle / 2, middle * 2)
        assert low * Decimal("0.98") <= min(series) < max(series) <= high * Decimal("1.02")
        assert all(abs(b - a) <= a * LARGEST_MOVE for a, b in pairwise(series))


def test_moves_are_uniform() -> None:
    walk = Walk(COIN, seed=5)
    series = [walk.step()[0] for _ in range(20_001)]
    moves = sorted(float(b / a - 1) for a, b in pairwise(series))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert moves[int(share * len(moves))] == pytest.approx(-0.02 + 0.04 * share, abs=0.001)


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


def test_first_prices_are_realistic() -> None:
    first = {tick.instrument: Decimal(tick.mid) for tick in batches(source(), 1)[0]}
    assert Decimal("0.9") < first["EUR_USD"] < Decimal("1.4")
    assert 100 < first["USD_JPY"] < 200
    assert first["BTCUSDT"] > 10_000
    shares = [Walk(SHARE, seed).step()[0] for seed in range(500)]
    assert all(100 <= share <= 500 for share in shares)
    assert min(shares) < 110
    assert max(shares) > 490


@pytest.mark.parametrize("last", ["", "nan", "-1", "0", "0.00001", "1e40", "words"])
def test_unusable_last_price_starts_the_walk_anew(last: str) -> None:
    assert Walk(FX, 1, last).step()[0] == level(FX)


def test_spread_depends_on_the_kind() -> None:
    spread = {tick.instrument: Decimal(tick.ask) - Decimal(tick.bid) for tick in batches(source(), 1)[0]}
    mid = {tick.instrument: Decimal(tick.mid) for tick in batches(source(), 1)[0]}
    assert spread["EUR_USD"] == Decimal("0.00014")
    assert spread["USD_JPY"] == Decimal("0.014")
    assert spread["BTCUSDT"] / mid["BTCUSDT"] == pytest.approx(Decimal("0.0002"), rel=Decimal("0.01"))
    assert spread["AAPL"] == Decimal("0.02")


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
