"""Measures and costs against exact fractions and hand arithmetic."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.figures.book_cost import BookCost, cost_of_notional, cost_of_quantity
from jobs.books.measures import measures
from tests.support.depth import SPOT_BTC, snapshot

BIDS = [["99.90", "2"], ["99.80", "1"], ["99.70", "3"], ["99.60", "1"], ["99.50", "1"]]
ASKS = [["100.10", "1"], ["100.20", "1"], ["100.30", "1"], ["100.40", "1"], ["100.50", "2"]]


def test_measures_of_a_small_book() -> None:
    assert measures(BIDS, ASKS) == {
        "spread": "0.20",
        "spread_bps": 20.0,
        "mid": "100.00",
        # (2 - 1) / (2 + 1); (8 - 6) / (8 + 6)
        "imbalance": {"1": 1 / 3, "5": 1 / 7, "20": None},
        # (100.10 · 2 + 99.90 · 1) / 3 = 300.1 / 3
        "weighted_mid": "100.0333333333333333",
        # bids (199.80 + 99.80 + 299.10 + 99.60 + 99.50) / 8
        # asks (100.10 + 100.20 + 100.30 + 100.40 + 201.00) / 6
        "depth_weighted_mid": {"5": "100.0291666666666667", "20": None},
    }


@pytest.mark.parametrize(("bids", "asks"), [([], ASKS), (BIDS, []), ([], [])])
def test_measures_without_a_side_are_null(bids: list[list[str]], asks: list[list[str]]) -> None:
    assert measures(bids, asks) == {
        "spread": None,
        "spread_bps": None,
        "mid": None,
        "imbalance": {"1": None, "5": None, "20": None},
        "weighted_mid": None,
        "depth_weighted_mid": {"5": None, "20": None},
    }


def close(text: str | None, exact: Fraction) -> bool:
    """True if the text is the fraction, rounded to 16 decimals."""
    return text is not None and abs(Fraction(text) - exact) <= Fraction(1, 2 * 10**16)


def test_measures_of_the_recorded_book_equal_exact_fractions() -> None:
    recorded = snapshot(SPOT_BTC)
    bids, asks = recorded.bids[:50], recorded.asks[:50]
    found = measures(bids, asks)
    buyers, sellers = ([(Fraction(price), Fraction(quantity)) for price, quantity in side] for side in (bids, asks))
    (b, qb), (a, qa) = buyers[0], sellers[0]
    assert Fraction(found["spread"]) == a - b
    assert Fraction(found["mid"]) == (a + b) / 2
    assert found["spread_bps"] == float(10_000 * (a - b) / ((a + b) / 2))
    assert close(found["weighted_mid"], (a * qb + b * qa) / (qb + qa))
    for levels in (1, 5, 20):
        bought, sold = (sum(quantity for _, quantity in side[:levels]) for side in (buyers, sellers))
        assert found["imbalance"][str(levels)] == float((bought - sold) / (bought + sold))
    for levels in (5, 20):
        means = [Fraction(sum(p * q for p, q in side[:levels])) / sum(q for _, q in side[:levels]) for side in (buyers, sellers)]
        assert close(found["depth_weighted_mid"][str(levels)], (means[0] + means[1]) / 2)


# cost

MID = Decimal("100.00")


def test_cost_of_a_quantity_walks_the_levels() -> None:
    # 1 · 100.10 + 1 · 100.20 = 200.30; average 100.15 is 15 bps above the mid-price
    assert cost_of_quantity(ASKS, Decimal(2), MID) == BookCost(Decimal("100.15"), Decimal("100.20"), 15.0, True, Decimal(2))
    # 2 · 99.90 + 0.5 · 99.80 = 249.70; average 99.88
    assert cost_of_quantity(BIDS, Decimal("2.5"), MID) == BookCost(Decimal("99.88"), Decimal("99.80"), 12.0, True, Decimal("2.5"))


def test_cost_of_a_notional_walks_the_levels() -> None:
    # 100.10 for 1, then 100.20 for 1
    assert cost_of_notional(ASKS, Decimal("200.30"), MID) == BookCost(Decimal("100.15"), Decimal("100.20"), 15.0, True, Decimal(2))
    assert cost_of_notional(ASKS, Decimal("50.05"), MID).filled_quantity == Decimal("0.5")


def test_cost_beyond_the_levels_is_not_filled() -> None:
    found = cost_of_quantity(ASKS, Decimal(7), MID)
    assert (found.is_filled, found.filled_quantity, found.worst_price) == (False, Decimal(6), Decimal("100.50"))
    found = cost_of_notional(ASKS, Decimal(1000), MID)
    assert (found.is_filled, found.filled_quantity) == (False, Decimal(6))
    assert cost_of_quantity([], Decimal(1), None) == BookCost(None, None, None, False, Decimal(0))


LEVELS = st.lists(st.tuples(st.decimals("0.01", "999", places=2), st.decimals("0.001", "50", places=3)), min_size=1, max_size=8)


@settings(max_examples=60)
@given(levels=LEVELS, amount=st.decimals("0.01", "900", places=2))
def test_cost_equals_exact_fractions(levels: list[tuple[Decimal, Decimal]], amount: Decimal) -> None:
    texts = [[str(price), str(quantity)] for price, quantity in levels]
    filled, spent = Fraction(0), Fraction(0)
    for price, quantity in levels:
        taken = min(Fraction(quantity), Fraction(amount) - filled)
        filled += taken
        spent += taken * Fraction(price)
    found = cost_of_quantity(texts, amount, MID)
    assert (Fraction(found.filled_quantity), found.is_filled) == (filled, filled == Fraction(amount))
    assert found.average_price is not None
    assert abs(Fraction(found.average_price) - spent / filled) < Fraction(1, 10**30)
    assert found.slippage_bps == pytest.approx(float(10_000 * abs(spent / filled - 100) / 100))
    back = cost_of_notional(texts, found.average_price * found.filled_quantity, MID)
    assert abs(Fraction(back.filled_quantity) - filled) < Fraction(1, 10**20)
