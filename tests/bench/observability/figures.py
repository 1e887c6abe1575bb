"""CPU of the average-cost engine per fill, and of the two texts of a section."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from db.figures.positions import FLAT, Position, PositionFill, apply_fill
from jobs.observer.figures.history import Account, advance_account
from jobs.observer.figures.models import MarketDataMetric
from jobs.observer.figures.sections import market_data_section, render
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground

START = datetime(2026, 3, 2, tzinfo=UTC)
ENGINE = Bar("average-cost engine, µs per fill", 3.0)
_FILLS = 50_000
_REPEATS = 5
_SYMBOLS = 30


def _run(_: Ground, quick: bool) -> Iterator[Measured]:
    fills = random_fills(_FILLS // (10 if quick else 1))
    yield Measured("positions", _cpu_us(lambda: fold(fills)) / len(fills), ENGINE)
    yield Measured("positions", _cpu_us(lambda: fold_account(fills)) / len(fills), text="with round trips, µs per fill")
    section = market_data_section(START, [_market(number) for number in range(_SYMBOLS)])
    yield Measured("sections", _cpu_us(lambda: render(section)), text=f"two texts of {_SYMBOLS} symbols, µs")


def random_fills(count: int) -> list[PositionFill]:
    """Fills of one EUR_USD position with fees; most positions are reduced and flipped."""
    numbers = random.Random(20260302)
    return [
        PositionFill(
            f"f-{number}",
            START + timedelta(seconds=number),
            number,
            numbers.choice(["buy", "sell"]),
            Decimal(numbers.randint(1, 5000)),
            Decimal(numbers.randint(108_000, 110_000)).scaleb(-5),
            Decimal(numbers.randint(0, 30)).scaleb(-3),
        )
        for number in range(count)
    ]


def fold(fills: Sequence[PositionFill]) -> Position:
    """The position after the fills: the figure of the goal."""
    position = FLAT
    for fill in fills:
        position = apply_fill(position, fill).position
    return position


def fold_account(fills: Sequence[PositionFill]) -> Account:
    """The position and its round trip after the fills."""
    account = Account()
    for fill in fills:
        account, _ = advance_account(account, fill)
    return account


def _market(number: int) -> MarketDataMetric:
    price = Decimal(109_450 + number).scaleb(-5)
    return MarketDataMetric(f"SYMBOL_{number}", price, price, price, spread_bps=1.83, twap=price / 3, time=START, state="live")


def _cpu_us(work: Callable[[], object]) -> float:
    """The least CPU time of the repeats, in microseconds."""
    times = []
    for _ in range(_REPEATS):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times) * 1e6


PART = Part("Figures", _run)
