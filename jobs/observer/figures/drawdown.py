"""The greatest decline of a series below its earlier peak, value by value. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from db.figures.positions import ZERO


class Drawdown(NamedTuple):
    """Drawdown of P&L so far: peak, and max over t of (peak - value), in money.

    P&L begins at 0, so the first peak is 0. `deepest` is 0 without a trade.
    """

    peak: Decimal = ZERO
    deepest: Decimal = ZERO

    def after(self, value: Decimal) -> Drawdown:
        """The drawdown with one more value; values come in the order of time."""
        if value >= self.peak:
            return Drawdown(value, self.deepest)
        return Drawdown(self.peak, max(self.deepest, self.peak - value))


class RelativeDrawdown(NamedTuple):
    """Drawdown of reported equity so far: max over t of (peak - value) / peak.

    `peak` and `ratio` are None before the first equity greater than 0.
    """

    peak: Decimal | None = None
    ratio: Decimal | None = None

    def after(self, equity: Decimal) -> RelativeDrawdown:
        """The drawdown with one more value of equity; values come in the order of time."""
        if self.peak is None or self.ratio is None:
            return RelativeDrawdown(equity, ZERO) if equity > 0 else self
        if equity >= self.peak:
            return RelativeDrawdown(equity, self.ratio)
        return RelativeDrawdown(self.peak, max(self.ratio, (self.peak - equity) / self.peak))
