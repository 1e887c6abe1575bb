"""Fills for tests of positions: the worked example of the documentation, and random ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from db.figures.positions import PositionFill

START = datetime(2025, 11, 18, 12, tzinfo=UTC)


def fill(number: int, side: str, quantity: str, price: str, fee: str = "0") -> PositionFill:
    """Fill `f-NUMBER`, NUMBER seconds after the start, with the sequence number NUMBER."""
    moment = START + timedelta(seconds=number)
    return PositionFill(f"f-{number}", moment, number, side, Decimal(quantity), Decimal(price), Decimal(fee))


WORKED_EXAMPLE = [
    fill(1, "buy", "1000", "1.09450", "0.020"),
    fill(2, "buy", "500", "1.09510", "0.010"),
    fill(3, "sell", "600", "1.09530", "0.012"),
    fill(4, "sell", "1400", "1.09400", "0.028"),
    fill(5, "buy", "500", "1.09390", "0.010"),
]

# Quantities are small against prices, so that positions are often reduced, closed and flipped.
series = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 40),
        st.decimals("0.0001", "70000", places=4),
        st.decimals("-0.5", "2", places=3),
        st.sampled_from(["USD", "BNB"]),
    ),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        PositionFill(
            f"f-{number}", START + timedelta(seconds=number), number, side, Decimal(quantity) / 8, price, fee, currency, "USD", Decimal(5)
        )
        for number, (side, quantity, price, fee, currency) in enumerate(rows)
    ]
)
