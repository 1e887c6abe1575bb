"""The worked example of docs/observability/figures.md as rows of the store, and more orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from db.postgres import Cursor
from db.reports.fills import FillRow, insert_fills
from db.reports.orders import OrderRow, save_orders
from db.reports.positions import PositionRow, save_positions

START = datetime(2025, 11, 18, 12, tzinfo=UTC)
BOT, STRATEGY, SYMBOL = "mm-1", "mean_reversion", "EUR_USD"


def moment(seconds: float) -> datetime:
    """The time that many seconds after the start."""
    return START + timedelta(seconds=seconds)


def fill(number: int, side: str, quantity: str, price: str, fee: str, realised: str | None) -> FillRow:
    """Fill `f-NUMBER` of order `o-NUMBER`, NUMBER seconds after the start."""
    return FillRow(
        BOT, f"f-{number}", moment(number), moment(number + 0.5), number, STRATEGY, f"o-{number}", SYMBOL, side, Decimal(quantity),
        Decimal(price), Decimal(fee), "USD", "USD", Decimal(1), "taker", None if realised is None else Decimal(realised),
    )  # fmt: skip


# The column `pnl` of the table is the last value.
FILLS = [
    fill(1, "buy", "1000", "1.09450", "0.020", None),
    fill(2, "buy", "500", "1.09510", "0.010", None),
    fill(3, "sell", "600", "1.09530", "0.012", "0.348"),
    fill(4, "sell", "1400", "1.09400", "0.028", "-0.648"),
    fill(5, "buy", "500", "1.09390", "0.010", "0.040"),
]


def order(number: int, status: str = "filled", quantity: str = "100", filled: str = "0", **changes: object) -> OrderRow:
    """Order `o-NUMBER` to buy, sent NUMBER seconds after the start and finished a second later."""
    row = OrderRow(
        BOT, f"o-{number}", STRATEGY, SYMBOL, "buy", Decimal(quantity), "limit", Decimal("1.09450"), None, status, None, Decimal(filled),
        None, moment(number), None, None, moment(number + 1), None, None, None, False, number, moment(number + 1),
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def position(quantity: str, average: str, gross: str, fees: dict[str, str], symbol: str = SYMBOL, bot: str = BOT) -> PositionRow:
    """A position of the strategy."""
    paid = {currency: Decimal(amount) for currency, amount in fees.items()}
    return PositionRow(bot, STRATEGY, symbol, Decimal(quantity), Decimal(average), Decimal(gross), paid, 1)


def store_example(cursor: Cursor) -> None:
    """Store the fills, their orders, and the position after the last fill."""
    insert_fills(cursor, FILLS)
    orders = [
        order(
            n,
            quantity=str(each.quantity),
            filled=str(each.quantity),
            side=each.side,
            first_fill=each.time,
            time=each.time,
            finished=each.time,
        )
        for n, each in enumerate(FILLS, 1)
    ]
    save_orders(cursor, orders)
    save_positions(cursor, [position("0", "0", "-0.22", {"USD": "0.080"})])
