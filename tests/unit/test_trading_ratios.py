"""Edge cases of ratios, drawdown, conversion and market figures, by hand arithmetic."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from db.figures.conversion import Rates, net_of_fees, total
from jobs.observer.figures.drawdown import Drawdown, RelativeDrawdown
from jobs.observer.figures.market import TimeWeighted, TradeSums, mid, price_state, spread_bps
from jobs.observer.figures.ratios import OrderCounts, TripSums, daily_returns, sharpe_ratio, trip_sums
from tests.support.fills import START

D = Decimal


def test_worked_example_has_one_win_and_one_loss() -> None:
    sums = trip_sums([D("-0.33"), D("0.03")])
    assert sums.win_rate == 0.5
    assert sums.profit_factor == pytest.approx(0.0909, abs=5e-5)
    assert not sums.no_losses
    assert sums.won + sums.lost == D("-0.30")


def test_draw_is_exactly_zero_and_counts_in_the_win_rate() -> None:
    sums = trip_sums([D(1), D(0), D("-0.0"), D("-1e-20")])
    assert (sums.wins, sums.losses, sums.draws) == (1, 1, 2)
    assert sums.win_rate == 0.25
    assert trip_sums([D(1), D(0)]) + trip_sums([D("-1e-20"), D("-0.0")]) == sums


def test_without_losses_the_profit_factor_is_absent_and_marked() -> None:
    assert trip_sums([D(1)]).profit_factor is None
    assert trip_sums([D(1)]).no_losses
    assert TripSums().profit_factor is None
    assert not TripSums().no_losses
    assert TripSums().win_rate is None


def test_sharpe_ratio_needs_twenty_returns_that_vary() -> None:
    alternating = [D("0.01"), D("-0.01")] * 10
    assert sharpe_ratio(alternating) == 0
    assert sharpe_ratio(alternating[:19]) is None
    growth = [D(1) * D("1.01") ** day / 3 for day in range(25)]
    assert sharpe_ratio(daily_returns(growth)) is None


def test_day_after_equity_of_zero_has_no_return() -> None:
    assert daily_returns([D(100), D(0), D(50), D(75)]) == [-1, D("0.5")]
    assert daily_returns([]) == []


def test_drawdown_of_profits_begins_at_zero() -> None:
    decline = Drawdown()
    assert decline.deepest == 0
    depths = []
    for value in (-2, 5, 1, 4, -1, 9):
        decline = decline.after(D(value))
        depths.append(decline.deepest)
    assert depths == [2, 2, 4, 4, 6, 6]


def test_relative_drawdown_needs_equity_above_zero() -> None:
    decline = RelativeDrawdown()
    for value in (0, 100, 80, 120, 60):
        decline = decline.after(D(value))
    assert decline.ratio == D("0.5")
    assert RelativeDrawdown().after(D(0)).ratio is None


def test_rates_of_orders() -> None:
    counts = OrderCounts(submitted=10, filled=5, cancelled=2, rejected=1, ordered=D(80), filled_quantity=D(60))
    assert (counts.fill_rate, counts.quantity_fill_rate) == (0.625, 0.75)
    assert (counts.rejection_rate, counts.cancellation_rate) == (0.1, 0.2)
    assert (counts + OrderCounts(submitted=10)).rejection_rate == 0.05
    none = OrderCounts()
    assert (none.fill_rate, none.quantity_fill_rate, none.rejection_rate, none.cancellation_rate) == (None, None, None, None)
    assert OrderCounts(submitted=2).fill_rate is None


def test_rate_is_one_then_direct_then_inverse_then_one_cross() -> None:
    rates = Rates({("EUR", "USD"): D("1.25"), ("USD", "JPY"): D(160), ("GBP", "CHF"): D("1.1"), ("EUR", "JPY"): D(190)})
    assert rates.rate("XYZ", "XYZ") == 1
    assert rates.rate("EUR", "USD") == D("1.25")
    assert rates.rate("USD", "EUR") == D("0.8")
    assert rates.rate("EUR", "JPY") == 190
    assert rates.rate("JPY", "EUR") == pytest.approx(D(1) / 190)
    assert Rates({("EUR", "USD"): D("1.25"), ("USD", "JPY"): D(160)}).rate("EUR", "JPY") == 200
    assert rates.rate("EUR", "GBP") is None
    assert rates.rate("JPY", "CHF") is None


def test_two_crosses_are_one_too_many() -> None:
    assert Rates({("A", "B"): D(2), ("B", "C"): D(2), ("C", "D"): D(2)}).rate("A", "D") is None


def test_cross_by_the_dollar_is_preferred() -> None:
    prices = {("EUR", "AUD"): D(2), ("AUD", "JPY"): D(100), ("EUR", "USD"): D(1), ("USD", "JPY"): D(150)}
    assert Rates(prices).rate("EUR", "JPY") == 150


def test_currencies_are_equal_only_if_parity_is_declared() -> None:
    prices = {("BTC", "USDT"): D(60_000)}
    assert Rates(prices).rate("BTC", "USD") is None
    declared = Rates(prices, {"USDT": "USD"})
    assert declared.rate("BTC", "USD") == 60_000
    assert declared.rate("USD", "USDT") == 1
    assert Rates({}, {"A": "B", "B": "A"}).rate("A", "C") is None


def test_price_of_zero_is_no_rate() -> None:
    assert Rates({("EUR", "USD"): D(0)}).rate("EUR", "USD") is None


def test_total_keeps_amounts_without_a_rate_apart() -> None:
    rates = Rates({("EUR", "USD"): D("1.25")})
    result = total([("USD", D(1)), ("EUR", D(4)), ("BNB", D(2)), ("BNB", D(1)), ("XRP", D(0))], "USD", rates)
    assert (result.amount, result.incomplete, result.by_currency) == (D(6), True, {"BNB": D(3)})
    assert total([("BNB", D(2))], "USD", rates).amount is None
    empty = total([], "USD", rates)
    assert (empty.amount, empty.incomplete) == (D(0), False)


def test_fee_without_a_rate_is_listed_and_never_estimated() -> None:
    net = net_of_fees(D(10), "USD", {"USD": D(1), "BNB": D("0.5"), "EUR": D("-2")}, Rates({("EUR", "USD"): D("1.25")}))
    assert (net.amount, net.by_currency) == (D("11.5"), {"BNB": D("0.5")})
    assert net_of_fees(D(10), "USD", {"BNB": D(1)}, Rates({})).amount == 10


def test_spread_of_a_crossed_book_is_negative() -> None:
    assert spread_bps(D("1.09440"), D("1.09460")) == pytest.approx(0.0002 / 1.0945 * 1e4)
    assert round(spread_bps(D("1.09440"), D("1.09460")) or 0, 2) == 1.83
    assert spread_bps(D(101), D(99)) == -200
    assert spread_bps(None, D(1)) is None
    assert mid(D(1), None) is None
    assert spread_bps(D(0), D(0)) is None


@pytest.mark.parametrize(
    ("age", "is_closed", "expected"),
    [(60, False, "live"), (61, False, "stale"), (61, True, "closed"), (60, True, "live"), (None, False, "stale"), (None, True, "closed")],
)
def test_state_of_a_price(age: int | None, is_closed: bool, expected: str) -> None:
    time = None if age is None else START - timedelta(seconds=age)
    assert price_state(time, START, market_is_closed=is_closed) == expected


def test_vwap_weights_prices_by_volume() -> None:
    sums = TradeSums().after(D(10), D(1)).after(D(13), D(2))
    assert (sums.trades, sums.volume, sums.vwap) == (2, D(3), D(12))
    assert sums.plus(TradeSums().after(D(24), D(1))).vwap == 15
    assert TradeSums().vwap is None


def test_twap_weights_prices_by_their_time() -> None:
    average = TimeWeighted.begin(START, D(10))
    assert average.twap(START) == 10
    average = average.after(START + timedelta(seconds=3), D(20)).after(START + timedelta(seconds=1), D(99))
    assert average.twap(START + timedelta(seconds=4)) == D("12.5")
    assert average.twap(START + timedelta(seconds=2)) == 10
