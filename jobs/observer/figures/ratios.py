"""Ratios of round trips, of reported equity and of orders. Pure.

Each result is a float, or None if it is not defined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from db.figures.positions import ZERO

MIN_SHARPE_DAYS = 20
# Returns are rounded to 28 digits, so those of constant growth differ by about 1e-28.
_NO_DEVIATION = Decimal("1e-20")


@dataclass(frozen=True, slots=True)
class TripSums:
    """Counts and sums of the net profits of closed round trips, in one currency.

    `won` is the sum of the wins; `lost` is the sum of the losses, at most 0. Sums of disjoint sets
    of trips can be added with `+`.
    """

    wins: int = 0
    losses: int = 0
    draws: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO

    def __add__(self, other: TripSums) -> TripSums:
        return TripSums(
            self.wins + other.wins, self.losses + other.losses, self.draws + other.draws, self.won + other.won, self.lost + other.lost
        )

    @property
    def win_rate(self) -> float | None:
        """wins / (wins + losses + draws); None without a trip."""
        return ratio(self.wins, self.wins + self.losses + self.draws)

    @property
    def profit_factor(self) -> float | None:
        """Σ wins / |Σ losses|; None without a loss."""
        return ratio(self.won, -self.lost)

    @property
    def no_losses(self) -> bool:
        """True if there are trips and none of them is a loss: the profit factor is unbounded."""
        return not self.losses and bool(self.wins + self.draws)


def trip_sums(nets: Iterable[Decimal]) -> TripSums:
    """Count the net profits; a draw is exactly 0."""
    wins = losses = draws = 0
    won = lost = ZERO
    for net in nets:
        if net > 0:
            wins, won = wins + 1, won + net
        elif net < 0:
            losses, lost = losses + 1, lost + net
        else:
            draws += 1
    return TripSums(wins, losses, draws, won, lost)


def daily_returns(equity: Sequence[Decimal]) -> list[Decimal]:
    """equity / equity of the day before - 1, one fewer than the days.

    `equity` is the last reported value of each day, in order. A day after one with equity of 0 or
    less has no return and is left out.
    """
    return [now / before - 1 for before, now in pairwise(equity) if before > 0]


def sharpe_ratio(returns: Sequence[Decimal], periods_per_year: int = 365) -> float | None:
    """mean / standard deviation (ddof 1) · √periods per year, without a risk-free rate.

    None if there are fewer than 20 returns or their deviation is 0.

    W. F. Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1994), 49-58.
    """
    if len(returns) < MIN_SHARPE_DAYS:
        return None
    mean = sum(returns, ZERO) / len(returns)
    deviation = (sum(((each - mean) ** 2 for each in returns), ZERO) / (len(returns) - 1)).sqrt()
    return None if deviation < _NO_DEVIATION else float(mean / deviation * Decimal(periods_per_year).sqrt())


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """Numbers of orders of one period.

    `submitted` counts all; `filled` are those filled completely. Terminal orders are filled,
    cancelled (also expired) or rejected. `ordered` and `filled_quantity` are sums of quantities
    over the terminal orders: with partial fills.
    """

    submitted: int = 0
    filled: int = 0
    cancelled: int = 0
    rejected: int = 0
    ordered: Decimal = ZERO
    filled_quantity: Decimal = ZERO

    def __add__(self, other: OrderCounts) -> OrderCounts:
        return OrderCounts(
            self.submitted + other.submitted,
            self.filled + other.filled,
            self.cancelled + other.cancelled,
            self.rejected + other.rejected,
            self.ordered + other.ordered,
            self.filled_quantity + other.filled_quantity,
        )

    @property
    def terminal(self) -> int:
        """Orders that are not open any more."""
        return self.filled + self.cancelled + self.rejected

    @property
    def fill_rate(self) -> float | None:
        """Orders filled completely / terminal orders; None without a terminal order."""
        return ratio(self.filled, self.terminal)

    @property
    def quantity_fill_rate(self) -> float | None:
        """Σ filled / Σ ordered of the terminal orders; None without one."""
        return ratio(self.filled_quantity, self.ordered)

    @property
    def rejection_rate(self) -> float | None:
        """Rejected / submitted; None without an order."""
        return ratio(self.rejected, self.submitted)

    @property
    def cancellation_rate(self) -> float | None:
        """Cancelled / submitted; None without an order."""
        return ratio(self.cancelled, self.submitted)


def ratio(part: Decimal | int, whole: Decimal | int) -> float | None:
    """part / whole as a float, None if the whole is 0; never negative zero."""
    return float(Decimal(part) / Decimal(whole)) + 0.0 if whole else None
