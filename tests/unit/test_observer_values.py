"""Values of strategies and quality of orders: arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from db.figures.conversion import Rates
from db.past_quotes import PastQuote
from db.reports.checkpoints import CheckpointRow
from db.reports.fills import FillRow
from db.reports.orders import OrderRow
from db.reports.positions import PositionRow
from jobs.observer.collectors.live_prices import LivePrices, Quote, currency_pair
from jobs.observer.collectors.quality import quality_of
from jobs.observer.collectors.statistics import Statistics, metric_of
from jobs.observer.collectors.valuation import StrategyState, Valued, value
from jobs.observer.figures.ratios import TripSums

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
RATES = Rates({("EUR", "USD"): Decimal("1.10"), ("USD", "JPY"): Decimal(150)})
LONG = PositionRow("b", "s", "EUR_USD", Decimal(1000), Decimal("1.10"), Decimal(5), {"USD": Decimal(2)}, 1)
YEN = PositionRow("b", "s", "USD_JPY", Decimal(-10), Decimal(150), Decimal(300), {"BNB": Decimal("0.1")}, 2, currency="JPY")


def prices(age: int = 0) -> LivePrices:
    found = LivePrices()
    moment = NOW - timedelta(seconds=age)
    found.put("EUR_USD", Quote(Decimal("1.12"), Decimal("1.13"), Decimal("1.125"), moment))
    found.put("USD_JPY", Quote(Decimal(144), Decimal(147), Decimal("145.5"), moment))
    return found


def valued(state: StrategyState, quotes: LivePrices) -> Valued:
    return value(state, quotes, RATES, NOW, "USD", "touch")


def test_open_positions_are_converted_and_marked_at_the_touch() -> None:
    found = valued(StrategyState({"EUR_USD": LONG, "USD_JPY": YEN}), prices())
    # 5 - 2 USD and 300 / 150 USD; the fee in BNB has no rate.
    assert (found.realized.amount, found.realized.by_currency) == (Decimal(5), {"BNB": Decimal("-0.1")})
    # (1.12 - 1.10)·1000 = 20 USD; (147 - 150)·(-10) = 30 JPY = 0.2 USD.
    assert found.unrealized.amount == pytest.approx(Decimal("20.2"))
    assert found.notional.amount == pytest.approx(Decimal(1120) + Decimal(1470) / 150)
    assert (found.open_positions, found.stale, found.complete, found.fees) == (2, False, False, {"USD": 2, "BNB": Decimal("0.1")})


def test_old_price_is_stale_and_a_missing_one_makes_the_value_unknown() -> None:
    state = StrategyState({"EUR_USD": LONG})
    old = valued(state, prices(61))
    assert (old.stale, old.pnl, old.complete) == (True, Decimal(23), True)
    none = valued(state, LivePrices())
    assert (none.stale, none.pnl, none.daily, none.complete, none.realized.amount) == (False, None, None, False, Decimal(3))


def test_daily_pnl_is_the_change_since_the_checkpoint() -> None:
    checkpoint = CheckpointRow(
        date(2025, 11, 18), "b", "s", "EUR_USD", Decimal(1000), Decimal("1.10"), Decimal(1), {"USD": Decimal(1)}, Decimal("1.09"), 1
    )
    state = StrategyState({"EUR_USD": LONG}, {"EUR_USD": checkpoint})
    # Now 5 - 2 + 20 = 23; at 00:00 1 - 1 + (1.09 - 1.10)·1000 = -10.
    daily = valued(state, prices()).daily
    assert daily is not None
    assert daily.amount == 33
    assert valued(StrategyState({"EUR_USD": LONG}), prices()).daily is not None  # began today: the whole
    unknown = replace(checkpoint, mark=None)
    assert valued(StrategyState({"EUR_USD": LONG}, {"EUR_USD": unknown}), prices()).daily is None


def test_strategy_of_several_bots_is_summed() -> None:
    trips = {"USD": TripSums(1, 1, 0, Decimal(3), Decimal(-1)), "JPY": TripSums(1, 0, 1, Decimal(150), Decimal(0))}
    one = StrategyState({"EUR_USD": LONG}, trips=trips, signals={"generated": 2, "approved": 1}, last_report=NOW)
    two = StrategyState({"EUR_USD": LONG}, last_report=NOW - timedelta(seconds=90))
    states = {("b", "s"): one, ("a", "s"): two}
    statistics = Statistics()
    for pnl in (10, 4, 12, 7):
        statistics.value(Decimal(pnl))
    found = metric_of("s", states, [valued(one, prices()), valued(two, prices())], statistics, RATES, "USD", NOW, 365)
    assert (found.pnl, found.positions, found.bots, found.state) == (Decimal(46), 2, ["a", "b"], "live")
    # Won 3 USD and 150 JPY = 1 USD, lost 1 USD; 2 wins of 4 trips.
    assert (found.win_rate, found.no_losses) == (0.5, False)
    assert found.profit_factor == pytest.approx(4)
    assert (found.signals, found.signals_approved, found.max_drawdown, found.sharpe_ratio) == (3, 1, Decimal(6), None)


@pytest.mark.parametrize(
    ("symbol", "pair"), [("EUR_USD", ("EUR", "USD")), ("BTCUSDT", ("BTC", "USDT")), ("ETHBTC", ("ETH", "BTC")), ("AAPL", None)]
)
def test_currencies_of_a_symbol(symbol: str, pair: tuple[str, str] | None) -> None:
    assert currency_pair(symbol) == pair


def test_quality_of_the_worked_example() -> None:
    """docs/observability/figures.md: 119 / 40,000 = 29.75 bps."""
    order = OrderRow(
        "b", "o", "s", "AAPL", "buy", Decimal(1000), "limit", None, None, "cancelled", None, Decimal(900), Decimal("40.10"), NOW, None, NOW,
        NOW + timedelta(minutes=1), None, Decimal("40.00"), NOW, implicit=False, seq=1, time=NOW,
    )  # fmt: skip
    fill = FillRow("b", "f", NOW, NOW, 2, "s", "o", "AAPL", "buy", Decimal(900), Decimal("40.10"), Decimal(9), "USD", "USD", Decimal(1))
    mids = {NOW: "40.00", NOW + timedelta(seconds=5): "40.04", NOW + timedelta(minutes=1): "40.20"}
    quotes = {("AAPL", moment): PastQuote(moment, Decimal(mid), Decimal(mid), Decimal(mid)) for moment, mid in mids.items()}
    found = quality_of(order, [fill], quotes, RATES)
    assert (found.ordered, found.filled) == (1000, 900)
    assert found.shortfall == pytest.approx(29.75)
    assert found.impact == pytest.approx(0.04 / 40 * 10_000)
    # Without prices there is no impact, and without a price at the end no shortfall.
    assert quality_of(order, [fill], {}, RATES) == type(found)(None, 1000, None, 900)
    assert quality_of(order, [replace(fill, fee_currency="BNB")], quotes, RATES).shortfall is None


def test_value_is_kept_until_a_price_a_rate_or_a_position_changes() -> None:
    state, quotes = StrategyState({"EUR_USD": LONG}), prices()
    first = valued(state, quotes)
    assert valued(state, quotes) is first
    quotes.put("EUR_USD", Quote(Decimal("1.13"), Decimal("1.14"), Decimal("1.135"), NOW))
    assert valued(state, quotes).unrealized.amount == Decimal(30)
    state.put(replace(LONG, quantity=Decimal(2000)))
    second = valued(state, quotes)
    assert second.unrealized.amount == Decimal(60)
    assert value(state, quotes, Rates({}), NOW, "USD", "touch") is not second
