"""The cost of an order that walks the levels of a book. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

_PRECISE = Context(prec=60)  # digits: sums of products are never rounded
_BASIS_POINTS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class BookCost:
    """The result of a walk.

    Prices are None if nothing can be filled. `slippage_bps` is |average - mid| / mid · 10⁴, None
    without a mid-price. `is_filled` is false if the levels are not enough; the other fields then
    describe the part that can be filled.
    """

    average_price: Decimal | None
    worst_price: Decimal | None
    slippage_bps: float | None
    is_filled: bool
    filled_quantity: Decimal


def cost_of_quantity(levels: Sequence[Sequence[str]], quantity: Decimal, mid: Decimal | None) -> BookCost:
    """Fill `quantity` > 0 from `[price, quantity]` levels, best first: asks to buy."""
    return _walk(levels, quantity, mid, is_notional=False)


def cost_of_notional(levels: Sequence[Sequence[str]], notional: Decimal, mid: Decimal | None) -> BookCost:
    """The same until price times quantity is `notional` > 0."""
    return _walk(levels, notional, mid, is_notional=True)


def _walk(levels: Sequence[Sequence[str]], amount: Decimal, mid: Decimal | None, *, is_notional: bool) -> BookCost:
    with localcontext(_PRECISE):
        rest, filled, spent = amount, Decimal(0), Decimal(0)
        worst = None
        for price_text, quantity_text in levels:
            if rest <= 0:
                break
            price, available = Decimal(price_text), Decimal(quantity_text)
            whole = price * available if is_notional else available
            takes_all = rest >= whole
            quantity = available if takes_all else rest / price if is_notional else rest
            filled += quantity
            spent += price * available if takes_all else rest if is_notional else price * rest
            rest = rest - whole if takes_all else Decimal(0)
            worst = price
        average = spent / filled if filled else None
        slippage = None if average is None or not mid else float(_BASIS_POINTS * abs(average - mid) / mid)
        return BookCost(average, worst, slippage, rest <= 0, filled)
