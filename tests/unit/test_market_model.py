"""The synthetic market has the volatilities, correlations and tails of a market.

Each property is of 20 seeds with 60 days of steps of 5 minutes, as the past of a first start.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from db.calendars import trading_hours
from jobs.analytics.volatility import alert_volatility
from jobs.feeds.market.factors import Calm, student_t4
from jobs.feeds.market.levels import Listing, sides
from jobs.feeds.market.model import Market
from jobs.figures.alert_rules import AlertRule, Episode, judge

Floats = NDArray[np.float64]

SEEDS = range(1, 21)
DAYS, STEPS = 60, 12
WINDOW = 25  # hours of an alert
END = datetime(2026, 3, 6, 12, tzinfo=UTC)
START = END - timedelta(days=DAYS)
MOMENTS = [START + timedelta(minutes=5 * step) for step in range(DAYS * 24 * STEPS)]
# Hours of trading a year: of FX 5 days of 24 hours a week, of equities 252 days of 6.5 hours.
YEAR = {"fx": 120 * 365 / 7, "equity": 6.5 * 252, "crypto": 24.0 * 365}

PAIRS = (
    *("EUR_USD", "GBP_USD", "USD_JPY", "USD_CHF", "AUD_USD", "USD_CAD", "NZD_USD", "EUR_GBP", "EUR_JPY", "EUR_CHF"),
    *("EUR_AUD", "EUR_CAD", "GBP_JPY", "GBP_CHF", "GBP_AUD", "AUD_JPY", "AUD_NZD", "CAD_JPY", "CHF_JPY", "NZD_JPY"),
)
COINS = {"BTCUSDT": 2, "ETHUSDT": 2, "SOLUSDT": 2, "BNBUSDT": 2, "ADAUSDT": 4, "XRPUSDT": 4}
SHARES = ["AAPL", "GOOGL", "MSFT", "TSLA", "AMZN"]
FIRST = [
    *(Listing(pair, "fx", 3 if "JPY" in pair else 5, pair[4:], "fx") for pair in PAIRS),
    *(Listing(coin, "crypto", precision, "USDT", "crypto") for coin, precision in COINS.items()),
    *(Listing(share, "equity", 2, "USD", "equity") for share in SHARES),
]
GOLD = Listing("XAU_USD", "metal", 2, "USD", "fx")
ADDED = [
    GOLD,
    Listing("XAG_USD", "metal", 3, "USD", "fx"),
    Listing("SPX", "index", 2, "USD", "equity"),
    Listing("OIL_USD", "commodity", 3, "USD", "fx", Decimal(75)),
    Listing("BUND_EUR", "bond", 2, "EUR", "fx"),
    Listing("CARBON", "other", 2, "USD", "crypto", Decimal("64.5"), 0.4),
]
LISTINGS = FIRST + ADDED
SYMBOLS = [each.symbol for each in LISTINGS]
# σ of a pair is that of the sum of two independent currencies.
CURRENCY = {"USD": 0.05, "EUR": 0.05, "CHF": 0.05, "CAD": 0.05, "GBP": 0.06, "AUD": 0.07, "NZD": 0.07, "JPY": 0.07}
SIGMA = {
    **{pair: float(np.hypot(CURRENCY[pair[:3]], CURRENCY[pair[4:]])) for pair in PAIRS},
    **dict.fromkeys(COINS, 0.6), **dict.fromkeys(SHARES, 0.3),
    "XAU_USD": 0.15, "XAG_USD": 0.15, "SPX": 0.18, "OIL_USD": 0.25, "BUND_EUR": 0.06, "CARBON": 0.4,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """60 days of one seed. `closes` are (instruments, hours), the other figures those of 5-minute
    steps.
    """

    first: Floats
    closes: Floats
    largest_move: float
    volumes: tuple[int, int]
    worst_triangle: float  # in units of the bound
    euro_moves: Floats  # while the market is open


def simulate(seed: int, listings: list[Listing] = LISTINGS) -> dict[str, list[int]]:
    """The first 300 steps."""
    return {path.listing.symbol: list(path.mids) for path in Market(listings, seed).advance(MOMENTS[:300], 300.0)}


def run(seed: int) -> Run:
    paths = Market(LISTINGS, seed).advance(MOMENTS, 300.0)
    units = np.array([path.mids for path in paths])
    prices = units / np.array([[10.0**path.listing.precision] for path in paths])
    volumes = np.array([path.volumes for path in paths])
    euro = np.diff(np.log(prices[0]))[in_hours("fx", steps=True)[1:]]
    largest = float(np.max(np.abs(np.diff(units)) / units[:, :-1]))
    return Run(prices[:, 0], prices[:, STEPS - 1 :: STEPS], largest, (int(volumes.min()), int(volumes.max())), triangles(prices), euro)


def in_hours(calendar: str, *, steps: bool = False) -> NDArray[np.bool_]:
    """Which hours, or which steps, lie in an hour of trading."""
    hours = set(trading_hours(calendar, START, END))
    found = np.array([START + timedelta(hours=hour) in hours for hour in range(DAYS * 24)])
    return np.repeat(found, STEPS) if steps else found


def triangles(prices: Floats) -> float:
    """The largest difference between a pair and the product of two others, in units of its bound:
    two units and half of the three spreads.
    """
    at = dict(zip(PAIRS, prices, strict=False))
    half = {each.symbol: np.subtract(*sides(each, 10**9)[::-1]) / 2 * 10.0**-each.precision for each in FIRST[: len(PAIRS)]}
    worst = 0.0
    for one, two in combinations(PAIRS, 2):
        if one[4:] == two[:3] and (whole := f"{one[:3]}_{two[4:]}") in at:
            made, bound = at[one] * at[two], half[one] * at[two] + half[two] * at[one]
        elif one[4:] == two[4:] and (whole := f"{one[:3]}_{two[:3]}") in at:
            made, bound = at[one] / at[two], half[one] / at[two] + half[two] * at[one] / at[two] ** 2
        elif one[:3] == two[:3] and (whole := f"{one[4:]}_{two[4:]}") in at:
            made, bound = at[two] / at[one], half[two] / at[one] + half[one] * at[two] / at[one] ** 2
        else:
            continue
        bound = bound + half[whole] + 2 * (10.0**-3 if "JPY" in whole else 10.0**-5)
        worst = max(worst, float(np.max(np.abs(made - at[whole]) / bound)))
    assert worst > 0
    return worst


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [run(seed) for seed in SEEDS]


def hourly_returns(run: Run, calendar: str) -> Floats:
    """Log returns between consecutive hours of trading, (instruments, returns)."""
    inside = in_hours(calendar)
    returns = np.diff(np.log(run.closes))
    return np.asarray(returns[:, inside[1:] & inside[:-1]])


def yearly(run: Run) -> Floats:
    """Annualised volatility of each instrument on its calendar."""
    found = {calendar: hourly_returns(run, calendar).std(axis=1, ddof=1) * np.sqrt(hours) for calendar, hours in YEAR.items()}
    return np.array([found[each.calendar][row] for row, each in enumerate(LISTINGS)])


def median(runs: list[Run], figure: Callable[[Run], float | Floats]) -> Floats:
    return np.asarray(np.median([figure(each) for each in runs], axis=0))


def test_every_step_is_within_2_percent_and_every_volume_in_its_range(runs: list[Run]) -> None:
    assert max(each.largest_move for each in runs) <= 0.02
    assert (min(each.volumes[0] for each in runs), max(each.volumes[1] for each in runs)) == (1_000, 100_000)


def test_volatility_is_that_of_the_table(runs: list[Run]) -> None:
    found = median(runs, yearly)
    for symbol, volatility in zip(SYMBOLS, found, strict=True):
        assert volatility == pytest.approx(SIGMA[symbol], rel=0.1), symbol


def test_volatility_setting_multiplies_every_move() -> None:
    coins = [each for each in FIRST if each.kind == "crypto"]

    def hourly(factor: float) -> Floats:
        return np.log([np.array(path.mids[::STEPS]) for path in Market(coins, 3, volatility=factor).advance(MOMENTS, 300.0)])

    once, thrice = hourly(1.0), hourly(3.0)
    ratio = np.diff(thrice).std(axis=1) / np.diff(once).std(axis=1)
    assert ratio == pytest.approx(np.full(len(coins), 3.0), rel=0.02)
    [still] = Market([FIRST[0]], 3, volatility=0.0).advance(MOMENTS[:500], 300.0)
    assert set(still.mids) == {108_000}


def correlation(run: Run, first: str, second: str) -> float:
    """The correlation in the hours in which both trade."""
    calendars = {LISTINGS[SYMBOLS.index(symbol)].calendar for symbol in (first, second)}
    returns = hourly_returns(run, "equity" if "equity" in calendars else "fx" if "fx" in calendars else "crypto")
    return float(np.corrcoef(returns[SYMBOLS.index(first)], returns[SYMBOLS.index(second)])[0, 1])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("EUR_USD", "GBP_USD", 0.05**2 / (SIGMA["EUR_USD"] * SIGMA["GBP_USD"])),
        ("EUR_USD", "USD_JPY", -(0.05**2) / (SIGMA["EUR_USD"] * SIGMA["USD_JPY"])),
        ("EUR_USD", "AUD_JPY", 0.0),
        ("AAPL", "MSFT", 0.36),
        ("AAPL", "SPX", 0.6 * 0.94),
        ("BTCUSDT", "ETHUSDT", 0.64),
        ("EUR_USD", "AAPL", 0.0),
        ("BTCUSDT", "AAPL", 0.0),
        ("XAU_USD", "XAG_USD", (0.6 * (0.15**2 - 0.05**2) + 0.05**2) / 0.15**2),
    ],
)
def test_correlation_follows_from_shared_factors(runs: list[Run], first: str, second: str, expected: float) -> None:
    assert median(runs, lambda each: correlation(each, first, second)) == pytest.approx(expected, abs=0.1)


def test_correlation_matrix_is_positive_semidefinite(runs: list[Run]) -> None:
    for each in runs:
        assert np.linalg.eigvalsh(np.corrcoef(np.diff(np.log(each.closes))))[0] >= -1e-9


def test_crosses_equal_the_product_of_their_pairs(runs: list[Run]) -> None:
    assert max(each.worst_triangle for each in runs) <= 1


def excess_kurtosis(moves: Floats) -> float:
    centred = moves - moves.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)


def test_moves_have_fat_tails_and_changing_volatility(runs: list[Run]) -> None:
    assert median(runs, lambda each: excess_kurtosis(each.euro_moves)) > 1
    chance = np.random.default_rng(1)
    calms = np.array([Calm(random.Random(seed)).path(len(MOMENTS), 300.0) for seed in SEEDS])
    # E[g⁴] / E[g²]² is exp(0.16): a mixture of normals has 3 × that.
    assert 0 < float(np.median([excess_kurtosis(calm * chance.standard_normal(len(calm))) for calm in calms])) < 1
    assert np.mean(calms**2) == pytest.approx(1.0, abs=0.1)


def test_student_t4_has_the_quantiles_of_its_table() -> None:
    table = {0.5: 0.0, 0.75: 0.741, 0.9: 1.533, 0.95: 2.132, 0.975: 2.776, 0.99: 3.747, 0.995: 4.604, 0.9995: 8.610}
    for chance, quantile in table.items():
        assert student_t4(chance) == pytest.approx(quantile, abs=0.0006)
        assert student_t4(1 - chance) == pytest.approx(-quantile, abs=0.0006)
    assert abs(student_t4(0.0)) > 1e6


def alert_values(runs: list[Run], rows: list[int], calendar: str) -> tuple[Floats, list[datetime]]:
    """Volatility for alerts, (runs, instruments, hours), and the ends of these hours.

    Windows with breaks at the same places are computed together, as rows of one table.
    """
    inside = np.flatnonzero(in_hours(calendar))
    closes = np.array([each.closes[rows][:, inside] for each in runs])
    windows = sliding_window_view(closes, WINDOW, axis=2)
    breaks = sliding_window_view(np.diff(inside, prepend=inside[:1]) > 1, WINDOW)
    values = np.empty(windows.shape[:3])
    for pattern in np.unique(breaks, axis=0):
        chosen = (breaks == pattern).all(axis=1)
        table = windows[:, :, chosen]
        values[:, :, chosen] = alert_volatility(table.reshape(-1, WINDOW), breaks=pattern).reshape(table.shape[:3])
    return values, [START + timedelta(hours=int(hour) + 1) for hour in inside[WINDOW - 1 :]]


def alerts_a_day(runs: list[Run]) -> Floats:
    """Alerts a day at the default thresholds, (runs, instruments), without the first 48 hours."""
    counts = np.zeros((len(runs), len(LISTINGS)))
    rule, begun = AlertRule(0.02, 0.04), START + timedelta(hours=48)
    for calendar in YEAR:
        rows = [row for row, each in enumerate(LISTINGS) if each.calendar == calendar]
        values, moments = alert_values(runs, rows, calendar)
        for number, place in np.ndindex(values.shape[:2]):
            episode = Episode()
            for value, moment in zip(values[number, place].tolist(), moments, strict=True):
                if math.isfinite(value):
                    verdict = judge(rule, episode, value, moment)
                    episode = verdict.episode
                    counts[number, rows[place]] += verdict.severity is not None and moment > begun
    return counts / (DAYS - 2)


def test_alerts_are_about_one_a_day(runs: list[Run]) -> None:
    found = alerts_a_day(runs)
    assert 0.4 <= float(np.mean(found[:, : len(FIRST)].sum(axis=1))) <= 2
    assert float(np.mean(found[:, : len(PAIRS)].sum(axis=1))) <= 0.1


def test_levels_after_60_days_are_near_the_first(runs: list[Run]) -> None:
    ratios = np.array([each.closes[:, -1] / each.first for each in runs])
    rows = {kind: [row for row, each in enumerate(LISTINGS) if each.kind == kind] for kind in ("fx", "crypto")}
    assert np.abs(np.log(ratios[:, rows["fx"]])).max() <= np.log(1.15)
    assert np.abs(np.log(ratios[:, rows["crypto"]])).max() <= np.log(3)


def test_series_is_the_same_in_another_process_and_beside_another_instrument() -> None:
    names = ("EUR_USD", "AAPL", "BTCUSDT")
    program = f"from tests.unit.test_market_model import *; here = simulate(5, FIRST); print([here[name] for name in {names}])"
    here = simulate(5)
    there = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str([here[name] for name in names])
    assert simulate(6)["EUR_USD"] != here["EUR_USD"]


def texts(market: Market, steps: int = 1) -> dict[str, str]:
    """The prices after so many live steps."""
    paths = market.advance(MOMENTS[:steps], 3.0)
    return {path.listing.symbol: str(Decimal(path.mids[-1]).scaleb(-path.listing.precision)) for path in paths}


def moves(before: dict[str, str], after: dict[str, str]) -> Floats:
    return np.array([float(after[symbol]) / float(before[symbol]) - 1 for symbol in before])


def test_restart_continues_from_the_last_prices_with_other_moves() -> None:
    market = Market(LISTINGS, 4)
    last = texts(market, 2_000)
    again = Market(LISTINGS, 4, latest=last)
    assert np.abs(moves(last, texts(again))).max() < 0.002
    assert np.abs(moves(last, texts(Market(LISTINGS, None, latest=last)))).max() < 0.002
    assert [path.mids for path in again.advance(MOMENTS[:20], 3.0)] != [path.mids for path in market.advance(MOMENTS[:20], 3.0)]
    later = {symbol: float(price) for symbol, price in texts(again, 2_000).items()}
    assert abs(later["EUR_USD"] * later["USD_JPY"] - later["EUR_JPY"]) < 0.03


def former_prices() -> dict[str, str]:
    """Prices of the version before, in which each instrument was between half and double its level
    alone.
    """
    chance = random.Random(1)
    first = texts(Market(FIRST, 1))
    return {each.symbol: f"{float(first[each.symbol]) * 2 ** chance.uniform(-1, 1):.{each.precision}f}" for each in FIRST}


FORMER = former_prices()


@pytest.mark.parametrize("seed", [1, None])
def test_prices_of_the_version_before_continue_without_a_jump(seed: int | None) -> None:
    after = texts(Market(LISTINGS, seed, latest=FORMER))
    assert np.abs(moves(FORMER, after)).max() < 0.005
    assert after["XAU_USD"] == "2400.00"


def test_distance_from_the_first_level_halves_in_180_days() -> None:
    calm = Market(FIRST, 1, latest=FORMER, volatility=0.0)
    paths = calm.advance([START + timedelta(days=day) for day in range(180)], 86_400.0)
    day = {path.listing.symbol: path.mids[-1] / 10**path.listing.precision for path in paths}
    for symbol, first in (("EUR_USD", 1.08), ("USD_JPY", 150.0), ("EUR_JPY", 162.0), ("BTCUSDT", 60_000.0)):
        assert np.log(day[symbol] / first) == pytest.approx(np.log(float(FORMER[symbol]) / first) / 2, abs=0.001)


@pytest.mark.parametrize("last", ["", "nan", "-1", "0", "0.00001", "1e40", "words"])
def test_unusable_last_price_begins_at_the_first_level(last: str) -> None:
    assert texts(Market([FIRST[0]], 1, latest={"EUR_USD": last}))["EUR_USD"] == "1.08000"


def test_first_levels_are_those_of_the_table() -> None:
    first = texts(Market(LISTINGS, 1))
    expected = {
        "EUR_USD": "1.08000", "USD_JPY": "150.000", "EUR_JPY": "162.000", "USD_CHF": "0.89286", "EUR_GBP": "0.85039",
        "XAU_USD": "2400.00", "XAG_USD": "28.000", "BTCUSDT": "60000.00", "ADAUSDT": "0.4500",
        "SPX": "4000.00", "OIL_USD": "75.000", "BUND_EUR": "100.00", "CARBON": "64.50",
    }  # fmt: skip
    assert {symbol: first[symbol] for symbol in expected} == expected
    shares = [float(texts(Market([Listing("AAPL", "equity", 2, "USD", "equity")], seed))["AAPL"]) for seed in range(500)]
    assert 100 <= min(shares) < 110
    assert 490 < max(shares) <= 500


def test_instruments_change_while_the_others_go_on() -> None:
    market, alone = Market(FIRST, 9), Market(FIRST, 9)
    texts(market, 500), texts(alone, 500)
    market.set_listings([*FIRST[1:], GOLD, Listing("GBP_CAD", "fx", 5, "CAD", "fx"), Listing("USD_SEK", "fx", 4, "SEK", "fx")])
    after, expected = texts(market), texts(alone)
    assert "EUR_USD" not in after
    assert all(after[each.symbol] == expected[each.symbol] for each in FIRST[1:])
    assert after["XAU_USD"] == "2400.00"
    assert float(after["USD_SEK"]) == pytest.approx(100, rel=0.001)
    assert float(after["GBP_CAD"]) == pytest.approx(float(after["GBP_USD"]) * float(after["USD_CAD"]), abs=5e-5)
    market.set_listings(FIRST)
    assert texts(market)["EUR_USD"] == texts(alone)["EUR_USD"], "its currencies went on meanwhile"
