"""The estimators of volatility on real candles, on values by hand, and on any prices.

The oracles on real candles are pandas and statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jobs.analytics import rolling, volatility
from jobs.analytics.candles import Candles
from jobs.analytics.returns import Floats, log_returns
from jobs.analytics.volatility import ESTIMATORS, OhlcArrays, alert_volatility, annualised, estimate
from tests.support.recordings import Hours, load

Frame = pd.DataFrame
NAMES = list(ESTIMATORS)


@cache
def recorded() -> Hours:
    """2,000 real hours with a few missing candles of each pair."""
    hours = load().part(slice(1, 2001))
    return hours.without(np.random.default_rng(7).random(hours.opens.shape) < 0.03)


def computed(name: str, hours: Hours, window: int, minimum: int | None = None) -> Floats:
    return ESTIMATORS[name](Candles.of(*hours.prices).windows(window, minimum)).volatility


def assert_close(ours: Floats, theirs: Floats, tolerance: float = 1e-9) -> None:
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=0)


# --- oracles in usual pandas, a column per instrument


def log(prices: Frame) -> Frame:
    return Frame(np.log(prices.to_numpy()))


def root(squares: Frame) -> Frame:
    return Frame(np.sqrt(squares.to_numpy()))


def pandas_close_to_close(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    return log(c / c.shift()).rolling(window, min_periods=minimum).std()


def pandas_parkinson(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    return root((log(h / lo) ** 2).rolling(window, min_periods=minimum).mean() / (4 * math.log(2)))


def pandas_garman_klass(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    squares = 0.5 * log(h / lo) ** 2 - (2 * math.log(2) - 1) * log(c / o) ** 2
    return root(squares.rolling(window, min_periods=minimum).mean())


def pandas_rogers_satchell(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    squares = log(h / c) * log(h / o) + log(lo / c) * log(lo / o)
    return root(squares.rolling(window, min_periods=minimum).mean())


def pandas_yang_zhang(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    jump = log(o / c.shift())
    known = jump.notna()
    body = log(c / o).where(known)
    ranges = (log(h / c) * log(h / o) + log(lo / c) * log(lo / o)).where(known)
    n = known.astype(float).rolling(window).sum()
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    jumps, bodies, satchell = (part.rolling(window, min_periods=minimum) for part in (jump, body, ranges))
    return root(jumps.var() + k * bodies.var() + (1 - k) * satchell.mean())


def statsmodels_ewma(o: Frame, h: Frame, lo: Frame, c: Frame, window: int, minimum: int) -> Frame:
    from statsmodels.stats.weightstats import DescrStatsW

    weights = 0.94 ** np.arange(window - 1, -1, -1.0)

    def one(squares: Floats) -> float:
        known = ~np.isnan(squares)
        return math.sqrt(DescrStatsW(squares[known], weights=weights[-len(squares) :][known]).mean) if known.sum() >= minimum else math.nan

    return (log(c / c.shift()) ** 2).rolling(window, min_periods=1).apply(one, raw=True)


ORACLES: dict[str, Callable[[Frame, Frame, Frame, Frame, int, int], Frame]] = {
    "close_to_close": pandas_close_to_close,
    "parkinson": pandas_parkinson,
    "garman_klass": pandas_garman_klass,
    "rogers_satchell": pandas_rogers_satchell,
    "yang_zhang": pandas_yang_zhang,
    "ewma": statsmodels_ewma,
}


@pytest.mark.parametrize(("window", "minimum"), [(24, 20), (17, 17), (120, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_estimator_equals_its_oracle_on_real_candles(name: str, window: int, minimum: int) -> None:
    hours = recorded() if name != "ewma" else recorded().part(slice(0, 500))
    opens, highs, lows, closes = (Frame(prices.T) for prices in hours.prices)
    expected = ORACLES[name](opens, highs, lows, closes, window, minimum).to_numpy(copy=True).T
    expected[:, : window - 1] = np.nan
    ours = computed(name, hours, window, minimum)
    assert np.isfinite(ours[:, window:]).any()
    assert_close(ours, expected)


def test_complete_candles_have_equal_values_on_the_fast_path() -> None:
    complete = load().part(slice(1000, 1599))
    one_hole = complete.without(np.arange(599) == np.array([[300]] + [[-1]] * 9))
    for name in NAMES:
        whole, holed = computed(name, complete, 24), computed(name, one_hole, 24)
        np.testing.assert_allclose(whole[1:], holed[1:], rtol=1e-13)
        assert (whole[0, 320:330] == whole[0, 320:330]).all()
        assert (whole[0, 301:320] != holed[0, 301:320]).any()


def test_ewma_over_a_long_window_equals_the_recursion_of_riskmetrics() -> None:
    closes = load().closes[:1, 1:1500]
    squares = pd.Series(log_returns(closes)[0, 1:] ** 2)
    recursion = math.sqrt(squares.ewm(alpha=0.06, adjust=False).mean().iloc[-1])
    ours = ESTIMATORS["ewma"](Candles.of(closes, closes, closes, closes).windows(1400)).volatility[0, -1]
    assert ours == pytest.approx(recursion, rel=1e-9)


# --- by hand: two candles (open, high, low, close) after one that ends at 100; each value is
# computed from the paper's formula to 20 digits

BY_HAND = np.array([[100.0, 101.0, 98.0, 100.0], [101.0, 110.0, 95.0, 104.0], [103.0, 108.0, 102.0, 107.0]])
EXPECTED = {
    "close_to_close": 0.00762457532556394475,
    "parkinson": 0.06682125682149257803,
    "garman_klass": 0.07578960183985445606,
    "rogers_satchell": 0.07496345880500246394,
    "yang_zhang": 0.07331203839631533254,
    "ewma": 0.03409118038385873415,
}


@pytest.mark.parametrize("name", NAMES)
def test_estimator_equals_values_by_hand(name: str) -> None:
    candles = Candles.of(*(BY_HAND[None, :, column].copy() for column in range(4)))
    assert ESTIMATORS[name](candles.windows(2, 2)).volatility[0, 2] == pytest.approx(EXPECTED[name], rel=1e-12)


# --- defined results


def flat(count: int, price: float = 1.2345) -> OhlcArrays:
    prices = np.full((1, count), price)
    return prices, prices.copy(), prices.copy(), prices.copy()


@pytest.mark.parametrize("name", NAMES)
def test_flat_series_has_zero_volatility(name: str) -> None:
    result = ESTIMATORS[name](Candles.of(*flat(40)).windows(24)).volatility[0]
    assert np.isnan(result[:23]).all()
    assert (result[23:] == 0.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_flat_series_after_a_shock_returns_to_exactly_zero(name: str) -> None:
    o, h, lo, c = flat(100)
    h[0, 30], lo[0, 30] = 1e9, 1e-9
    o[0, 31:] = h[0, 31:] = lo[0, 31:] = c[0, 31:] = 77.7
    result = ESTIMATORS[name](Candles.of(o, h, lo, c).windows(24)).volatility[0]
    assert (result[31:54] > 0).all()
    assert (result[55:] == 0.0).all()


@pytest.mark.parametrize("name", ["close_to_close", "yang_zhang"])
def test_steady_trend_has_zero_volatility_about_its_mean(name: str) -> None:
    closes = np.exp(0.01 * np.arange(200.0))[None]
    opens = closes * math.exp(-0.01)
    result = ESTIMATORS[name](Candles.of(opens, closes, opens, closes).windows(24)).volatility[0]
    assert (result[23:] < 1e-13).all()


@pytest.mark.parametrize("name", NAMES)
def test_series_shorter_than_the_window_is_not_available(name: str) -> None:
    hours = load().part(slice(1, 24))
    result = ESTIMATORS[name](Candles.of(*hours.prices).windows(24))
    assert np.isnan(result.volatility).all()
    assert (result.observations == 0).all()
    nothing = np.empty((3, 0))
    assert ESTIMATORS[name](Candles.of(nothing, nothing, nothing, nothing).windows(24)).volatility.shape == (3, 0)
    nobody = np.empty((0, 50))
    assert ESTIMATORS[name](Candles.of(nobody, nobody, nobody, nobody).windows(24)).volatility.shape == (0, 50)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_observations_are_not_available(name: str) -> None:
    hours = load().part(slice(1, 61))
    missing = np.zeros(hours.opens.shape, np.bool_)
    missing[0, 30:34] = missing[1, 30:36] = True  # leaves 20 and 18 of 24 candles; 19 and 17 returns
    result = {name: ESTIMATORS[name](Candles.of(*hours.without(missing).prices).windows(24)) for name in NAMES}[name]
    candles, returns = (20, 18), (19, 17)
    expected = candles if name in volatility.OF_RANGES else returns
    assert tuple(result.observations[:2, 45]) == expected
    assert list(np.isnan(result.volatility[:3, 45])) == [number < 20 for number in expected] + [False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bad",
    [(1.1, 1.0, 1.2, 1.1), (1.3, 1.2, 1.0, 1.1), (0.9, 1.2, 1.0, 1.1), (1.1, 1.2, 1.0, 1.3), (1.1, 1.2, 1.0, 0.9), (1.1, 1.2, 0.0, 1.1),
     (-1.1, 1.2, -1.2, 1.1), (1.1, math.inf, 1.0, 1.1), (1.1, math.nan, 1.0, 1.1), (math.nan, 1.2, 1.0, 1.1)],
    ids=["high<low", "open>high", "open<low", "close>high", "close<low", "zero", "negative", "infinite", "no high", "no open"],
)  # fmt: skip
def test_impossible_candle_counts_as_missing(name: str, bad: tuple[float, ...]) -> None:
    hours = load().part(slice(1, 80))
    spoilt = [prices.copy() for prices in hours.prices]
    for prices, price in zip(spoilt, bad, strict=True):
        prices[2, 40] = price
    missing = np.zeros(hours.opens.shape, np.bool_)
    missing[2, 40] = True
    ours = ESTIMATORS[name](Candles.of(spoilt[0], spoilt[1], spoilt[2], spoilt[3]).windows(24))
    without = ESTIMATORS[name](Candles.of(*hours.without(missing).prices).windows(24))
    np.testing.assert_array_equal(ours.volatility, without.volatility)
    np.testing.assert_array_equal(ours.observations, without.observations)


def test_return_across_a_hole_is_missing() -> None:
    closes = np.array([[1.0, 2.0, np.nan, 8.0, 8.0, -1.0, 8.0, np.inf, 8.0, 16.0]])
    expected = [np.nan, math.log(2), np.nan, np.nan, 0.0, np.nan, np.nan, np.nan, np.nan, math.log(2)]
    np.testing.assert_allclose(log_returns(closes)[0], expected)


def test_break_omits_the_step_into_a_candle_but_not_its_range() -> None:
    hours = load().part(slice(1, 200))
    apart = np.zeros(199, np.bool_)
    apart[100] = True
    plain, broken = estimate(hours.prices, 24), estimate(hours.prices, 24, breaks=apart)
    for name in NAMES:
        same = name in volatility.OF_RANGES
        assert (plain[name].volatility[:, 110] == broken[name].volatility[:, 110]).all() == same
        assert (broken[name].observations[:, 110] == (24 if same else 23)).all()
        np.testing.assert_allclose(plain[name].volatility[:, 130:], broken[name].volatility[:, 130:], rtol=1e-12)
    assert np.isnan(log_returns(hours.closes, apart)[:, 100]).all()


@pytest.mark.parametrize(("window", "minimum"), [(1, None), (24, 25), (24, 1), (0, 0)])
def test_invalid_window_is_refused(window: int, minimum: int | None) -> None:
    with pytest.raises(ValueError, match="minimum"):
        Candles.of(*flat(40)).windows(window, minimum)


def test_arrays_of_different_shapes_are_refused() -> None:
    o, h, lo, c = flat(40)
    with pytest.raises(ValueError, match="one shape"):
        Candles.of(o, h, lo, c[:, 1:])
    with pytest.raises(ValueError, match="one shape"):
        Candles.of(o[0], h[0], lo[0], c[0])


def test_estimate_of_all_equals_the_estimators_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volatility, "_BLOCK", 4100)  # two instruments at a time
    hours = recorded()
    together = estimate(hours.prices, 24, 15)
    windows = Candles.of(*hours.prices).windows(24, 15)
    for name, alone in ((name, ESTIMATORS[name](windows)) for name in NAMES):
        assert_close(together[name].volatility, alone.volatility, 1e-13)
        np.testing.assert_array_equal(together[name].observations, alone.observations)
    assert list(estimate(hours.prices, 24, names=("ewma", "parkinson"))) == ["ewma", "parkinson"]


def test_annualised_volatility_uses_periods_per_instrument() -> None:
    hourly = np.array([[0.001, np.nan], [0.002, 0.003]])
    np.testing.assert_allclose(annualised(hourly, 8760.0), hourly * math.sqrt(8760))
    np.testing.assert_allclose(annualised(hourly, np.array([[100.0], [400.0]])), [[0.01, np.nan], [0.04, 0.06]])


# --- the volatility of alerts


def test_alert_volatility_is_that_of_the_last_day() -> None:
    closes = load().closes[:, 1:500]
    returns = np.log(closes[:, 1:] / closes[:, :-1])[:, -24:]
    np.testing.assert_allclose(alert_volatility(closes), returns.std(axis=1, ddof=1) * math.sqrt(24), rtol=1e-9)
    np.testing.assert_array_equal(alert_volatility(closes), alert_volatility(closes[:, -25:]))


def test_alert_volatility_of_few_returns_is_not_available() -> None:
    closes = load().closes[:3, 1:26].copy()
    closes[0, 10:12], closes[1, 10:14] = np.nan, -1.0
    assert list(np.isnan(alert_volatility(closes))) == [False, True, False]  # 21, 19 and 24 returns
    assert not np.isnan(alert_volatility(closes[2:, :21])).any()
    assert np.isnan(alert_volatility(closes[2:, :20])).all()
    assert np.isnan(alert_volatility(closes[2:, :0])).all()
    assert alert_volatility(np.full((1, 25), 3.0))[0] == 0.0
    with pytest.raises(ValueError, match="two"):
        alert_volatility(closes, 1)


def test_alert_volatility_may_omit_a_weekend() -> None:
    closes = np.full((1, 25), 2.0)
    closes[0, 12:] = 3.0
    apart = np.arange(25) == 12
    assert alert_volatility(closes)[0] > 0
    assert alert_volatility(closes, breaks=apart)[0] == 0.0


# --- any prices


@st.composite
def candles(draw: st.DrawFn) -> OhlcArrays:
    """Three instruments, 30 candles with holes and moves of very different sizes."""
    shape = (3, 30)
    steps = draw(arrays.arrays(np.float64, (4, *shape), elements=st.floats(-1, 1)))
    size = 10.0 ** draw(arrays.arrays(np.int64, (3, 1), elements=st.integers(-7, 0)))
    closes = np.exp(np.cumsum(steps[0] * size, axis=1)) * 10.0 ** draw(st.integers(-4, 5))
    opens = closes * np.exp(steps[1] * size)
    highs, lows = np.maximum(opens, closes) * np.exp(np.abs(steps[2]) * size), np.minimum(opens, closes) * np.exp(-np.abs(steps[3]) * size)
    holes = draw(arrays.arrays(np.bool_, shape, elements=st.sampled_from([False] * 9 + [True])))
    return opens, highs, lows, np.where(holes, np.nan, closes)


def direct(name: str, prices: tuple[Floats, ...], row: int, last: int, window: int) -> float:
    """Return the formula of one window in plain arithmetic with exact sums."""
    o, h, lo, c = ([float(value) for value in part[row, : last + 1]] for part in prices)
    there = [n for n in range(last - window + 1, last + 1) if not math.isnan(c[n])]
    steps = [n for n in there if n and not math.isnan(c[n - 1])]

    def variance(values: list[float]) -> float:
        mean = math.fsum(values) / len(values)
        return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)

    satchell = {n: math.log(h[n] / o[n]) * math.log(h[n] / c[n]) + math.log(lo[n] / o[n]) * math.log(lo[n] / c[n]) for n in there}
    returns = [math.log(c[n] / c[n - 1]) for n in steps]
    if name == "close_to_close":
        return math.sqrt(variance(returns))
    if name == "parkinson":
        return math.sqrt(math.fsum(math.log(h[n] / lo[n]) ** 2 for n in there) / len(there) / (4 * math.log(2)))
    if name == "garman_klass":
        terms = (math.log(h[n] / lo[n]) ** 2 / 2 - (2 * math.log(2) - 1) * math.log(c[n] / o[n]) ** 2 for n in there)
        return math.sqrt(max(0.0, math.fsum(terms)) / len(there))
    if name == "rogers_satchell":
        return math.sqrt(max(0.0, math.fsum(satchell.values())) / len(there))
    if name == "ewma":
        weights = [0.94 ** (last - n) for n in steps]
        return math.sqrt(math.fsum(w * r * r for w, r in zip(weights, returns, strict=True)) / math.fsum(weights))
    n = len(steps)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    jumps, bodies = [math.log(o[n] / c[n - 1]) for n in steps], [math.log(c[n] / o[n]) for n in steps]
    return math.sqrt(variance(jumps) + k * variance(bodies) + (1 - k) * max(0.0, math.fsum(satchell[n] for n in steps)) / n)


@settings(max_examples=60, deadline=None)
@given(candles(), st.integers(2, 12))
def test_estimator_loses_no_digit_for_any_prices(prices: OhlcArrays, window: int) -> None:
    results = estimate(prices, window, 2)
    for name, (values, counts) in results.items():
        for row, last in ((row, last) for row in range(3) for last in range(30)):
            if last < window - 1 or counts[row, last] < 2:
                assert math.isnan(values[row, last])
            else:
                expected = direct(name, prices, row, last, window) ** 2
                within = slice(max(0, last - window), last + 1)
                span = math.log(prices[1][row, within].max() / prices[2][row, within].min())
                # The logarithm of a ratio is correct to 2e-16: an error of that size, times the
                # largest move of the window, is unavoidable.
                assert values[row, last] ** 2 == pytest.approx(expected, rel=1e-9, abs=2e-15 * span**2 + 1e-15 * span + 1e-30)


@settings(max_examples=40, deadline=None)
@given(candles(), st.integers(-20, 20), st.permutations(range(3)))
def test_unit_of_price_and_order_of_instruments_change_no_value(prices: OhlcArrays, power: int, order: list[int]) -> None:
    plain = estimate(prices, 8, 3)
    opens, highs, lows, closes = (part * 2.0**power for part in prices)  # other factors would round the prices
    scaled = estimate((opens, highs, lows, closes), 8, 3)
    for name in NAMES:
        np.testing.assert_array_equal(scaled[name].volatility, plain[name].volatility)
        opens, highs, lows, closes = (part[order] for part in prices)
        moved = estimate((opens, highs, lows, closes), 8, 3, names=(name,))[name].volatility
        np.testing.assert_allclose(moved, plain[name].volatility[order], rtol=1e-13)


@settings(max_examples=40, deadline=None)
@given(candles(), st.integers(0, 29))
def test_hole_of_one_instrument_changes_no_other(prices: OhlcArrays, hole: int) -> None:
    before = estimate(prices, 8, 3)
    opens, highs, lows, closes = prices
    highs = highs.copy()
    highs[0, hole] = np.nan
    after = estimate((opens, highs, lows, closes), 8, 3)
    for name in NAMES:
        np.testing.assert_allclose(after[name].volatility[1:], before[name].volatility[1:], rtol=1e-13)


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.float64, (2, 40), elements=st.floats(-1e6, 1e6)), arrays.arrays(np.bool_, (2, 40)), st.integers(1, 40))
def test_rolling_sums_of_squares_are_exact_to_twelve_digits(values: Floats, present: np.ndarray, window: int) -> None:
    filled = np.where(present, values, 0.0)
    counts = rolling.rolling_count(present, window)
    result = rolling.rolling_squares(filled, present, 1.0 / np.maximum(counts, 1), window)
    for row, last in ((row, last) for row in range(2) for last in range(window - 1, 40)):
        some = [float(value) for value in values[row, last - window + 1 : last + 1][present[row, last - window + 1 : last + 1]]]
        mean = math.fsum(some) / max(1, len(some))
        expected = math.fsum((value - mean) ** 2 for value in some)
        assert counts[row, last] == len(some)
        assert result[row, last] == pytest.approx(expected, rel=1e-11, abs=1e-20 * max((value**2 for value in some), default=0.0) + 1e-300)
