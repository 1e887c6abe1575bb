"""Positions at average cost and first in, first out, beside hand arithmetic and published cases.

The rows of the worked example are those of docs/observability/figures.md, to the digit.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.figures.conversion import Rates, trade_pnl
from db.figures.positions import FLAT, Position, PositionFill, apply_fill, daily_pnl, mark, notional, unrealised
from db.figures.statement import statement
from jobs.observer.figures.history import Account, FillCorrection, Replay, corrected, replay
from jobs.observer.figures.round_trips import assumed_trip
from tests.support.fills import START, WORKED_EXAMPLE, fill, series

D = Decimal

# position, average, gross, fees, realised, pnl of the Trade
ROWS = [
    ("1000", "1.09450", "0", "0.020", "-0.020", None),
    ("1500", "1.09470", "0", "0.030", "-0.030", None),
    ("900", "1.09470", "0.36", "0.042", "0.318", "0.348"),
    ("-500", "1.09400", "-0.27", "0.070", "-0.340", "-0.648"),
    ("0", "0", "-0.22", "0.080", "-0.300", "0.040"),
]
FIGURES = Path(__file__).parents[2] / "docs" / "observability" / "figures.md"
shuffles = st.randoms(use_true_random=False)


def table(result: Replay[PositionFill]) -> list[tuple[Decimal | None, ...]]:
    """The columns of ROWS."""
    rows: list[tuple[Decimal | None, ...]] = []
    for step in result.steps:
        position = step.applied.position
        fees = position.fees["USD"]
        rows.append(
            (
                position.quantity,
                position.average,
                position.gross,
                fees,
                position.gross - fees,
                trade_pnl(step.applied, step.fill, Rates({})),
            )
        )
    return rows


def test_rows_are_those_of_the_documentation() -> None:
    found = re.findall(r"^\| (buy|sell) (\d+) @ ([\d.]+) \| ([\d.]+) \| (.+) \|$", FIGURES.read_text(), re.MULTILINE)
    assert [(side, D(quantity), D(price), D(fee)) for side, quantity, price, fee, _ in found] == [
        (each.side, each.quantity, each.price, each.fee) for each in WORKED_EXAMPLE
    ]
    cells = [["null" if cell is None else cell for cell in row] for row in ROWS]
    cells[-1][1] = "–"
    assert [rest.split(" | ") for *_, rest in found] == cells


@pytest.mark.parametrize("seed", range(5))
def test_worked_example_in_any_order_and_sent_twice_gives_its_table(seed: int) -> None:
    fills = [*WORKED_EXAMPLE, *(replace(each, seq=each.seq + 100) for each in WORKED_EXAMPLE)]
    random.Random(seed).shuffle(fills)
    assert table(replay(Account(), fills)) == [tuple(None if cell is None else D(cell) for cell in row) for row in ROWS]


def test_worked_example_marks_between_four_and_five() -> None:
    position = replay(Account(), WORKED_EXAMPLE[:4]).account.position
    price = mark(position.quantity, D("1.09380"), D("1.09390"))
    assert price == D("1.09390")
    assert unrealised(position, price) == D("0.05")
    assert position.gross - position.fees["USD"] + D("0.05") == D("-0.29")
    cash = -D("1094.50") - D("547.55") + D("657.18") + D("1531.60") - D("0.07")
    assert cash == D("546.66")
    assert cash + position.quantity * D("1.09390") == D("-0.29")
    assert notional(position, price) == D("546.95")


def test_worked_example_round_trips() -> None:
    long, short = replay(Account(), WORKED_EXAMPLE).round_trips
    assert (long.side, long.quantity, long.gross, long.fees, long.net()) == ("long", D(1500), D("-0.27"), {"USD": D("0.060")}, D("-0.33"))
    assert (short.side, short.quantity, short.gross, short.fees, short.net()) == (
        "short",
        D(500),
        D("0.05"),
        {"USD": D("0.020")},
        D("0.03"),
    )
    assert (long.opening_fill, long.opened, long.closed) == ("f-1", WORKED_EXAMPLE[0].time, WORKED_EXAMPLE[3].time)
    assert (short.opening_fill, short.opened, short.closed) == ("f-4", WORKED_EXAMPLE[3].time, WORKED_EXAMPLE[4].time)


def test_worked_example_statement_at_average_cost() -> None:
    rows = statement(WORKED_EXAMPLE)
    assert [(row.position, row.average_price, row.realized_gross, row.realized_pnl) for row in rows] == [
        (D(quantity), D(average) if D(quantity) else None, D(gross), D(net)) for quantity, average, gross, _, net, _ in ROWS
    ]


def test_worked_example_statement_first_in_first_out() -> None:
    rows = statement(WORKED_EXAMPLE, "fifo")
    assert [row.realized_gross for row in rows] == [D(0), D(0), D("0.48"), D("-0.27"), D("-0.22")]
    third, average = rows[2], statement(WORKED_EXAMPLE)[2]
    bid = D("1.09500")
    assert third.average_price is not None
    assert third.realized_gross + (bid - third.average_price) * third.position == pytest.approx(D("0.63"), abs=D("1e-24"))
    assert average.average_price is not None
    assert average.realized_gross + (bid - average.average_price) * average.position == D("0.63")


def test_ibkr_case_differs_between_the_cost_methods() -> None:
    """Interactive Brokers, "Cost basis": short 100 @ 10, short 100 @ 15, cover 100 @ 12.5."""
    fills = [fill(1, "sell", "100", "10"), fill(2, "sell", "100", "15"), fill(3, "buy", "100", "12.5")]
    average, fifo = statement(fills)[-1], statement(fills, "fifo")[-1]
    assert (average.position, average.average_price, average.realized_gross) == (D(-100), D("12.5"), D(0))
    assert (fifo.position, fifo.average_price, fifo.realized_gross) == (D(-100), D(15), D(-250))


@given(series, st.decimals("0.0001", "70000", places=4))
def test_realised_and_unrealised_equal_cash_flow_and_value(fills: list[PositionFill], price: Decimal) -> None:
    position = replay(Account(), fills).account.position
    cash = sum((each.quantity * each.price * (-1 if each.side == "buy" else 1) * each.multiplier for each in fills), D(0))
    profit = unrealised(position, price, fills[0].multiplier)
    assert profit is not None
    assert position.gross + profit == pytest.approx(cash + position.quantity * price * 5, abs=D("1e-16"))
    paid = {currency: sum(each.fee for each in fills if each.fee_currency == currency) for currency in ("USD", "BNB")}
    assert {currency: position.fees.get(currency, D(0)) for currency in paid} == paid


@given(series, st.decimals("0.0001", "70000", places=4))
def test_first_in_first_out_total_equals_average_cost_total(fills: list[PositionFill], price: Decimal) -> None:
    totals = []
    for method in ("average", "fifo"):
        row = statement(fills, "fifo" if method == "fifo" else "average")[-1]
        totals.append(row.realized_gross + (price - (row.average_price or 0)) * row.position * 5)
    assert totals[0] == pytest.approx(totals[1], abs=D("1e-16"))


@given(series)
def test_round_trips_add_up_to_the_position(fills: list[PositionFill]) -> None:
    result = replay(Account(), fills)
    closed = [trip for trip in result.round_trips if trip.closed]
    open_trip, position = result.account.trip, result.account.position
    assert (open_trip is None) == (position.quantity == 0)
    if open_trip is None:
        assert sum(trip.gross for trip in closed) == pytest.approx(position.gross, abs=D("1e-16"))
    fees = sum(trip.fees.get("USD", D(0)) for trip in result.round_trips)
    assert fees == pytest.approx(position.fees.get("USD", D(0)), abs=D("1e-24"))


@given(series, shuffles, st.integers(0, 12))
@settings(max_examples=60)
def test_late_fills_in_any_order_give_the_same_from_any_checkpoint(fills: list[PositionFill], shuffle: random.Random, split: int) -> None:
    whole = replay(Account(), fills, [each.time for each in fills])
    shuffled = fills[:]
    shuffle.shuffle(shuffled)
    assert replay(Account(), shuffled) == replay(Account(), fills)
    split = min(split, len(fills) - 1)
    rest = fills[split:]
    shuffle.shuffle(rest)
    later = replay(whole.at[fills[split].time], rest)
    assert later.account == whole.account
    assert later.steps == whole.steps[split:]


@given(series, st.lists(st.tuples(st.integers(0, 11), st.sampled_from([None, "7", "9.5"])), max_size=5), shuffles)
@settings(max_examples=60)
def test_corrections_in_any_order_give_the_same(
    fills: list[PositionFill], changes: list[tuple[int, str | None]], shuffle: random.Random
) -> None:
    corrections = [
        FillCorrection(f"f-{which}", START, 100 + number, "replace" if price else "cancel", price=D(price) if price else None)
        for number, (which, price) in enumerate(changes)
    ]
    shuffled = corrections[:]
    shuffle.shuffle(shuffled)
    assert corrected(fills, shuffled) == corrected(fills, corrections)


def test_cancelled_fill_is_voided_and_replaced_fill_has_the_last_values() -> None:
    corrections = [
        FillCorrection("f-4", START, 12, "cancel"),
        FillCorrection("f-2", START, 11, "replace", quantity=D(250)),
        FillCorrection("f-2", START, 10, "replace", quantity=D(400), fee=D("0.005")),
        FillCorrection("f-4", START, 13, "replace", price=D(1)),
        FillCorrection("f-9", START, 14, "cancel"),
    ]
    counted, voided = corrected(WORKED_EXAMPLE, corrections)
    assert voided == {"f-4"}
    assert [each.fill_id for each in counted] == ["f-1", "f-2", "f-3", "f-5"]
    assert (counted[1].quantity, counted[1].price, counted[1].fee) == (D(250), D("1.09510"), D("0.005"))
    assert counted[2] is WORKED_EXAMPLE[2]


def test_checkpoint_is_the_account_before_the_first_fill_at_the_cut() -> None:
    cuts = [START, WORKED_EXAMPLE[2].time, WORKED_EXAMPLE[4].time.replace(hour=23)]
    at = replay(Account(), WORKED_EXAMPLE, cuts).at
    assert [at[cut].position.quantity for cut in cuts] == [0, 1500, 0]
    assert [at[cut].seq for cut in cuts] == [0, 2, 5]


def test_fee_in_another_currency_is_kept_and_leaves_the_trade_without_pnl() -> None:
    opened = apply_fill(FLAT, fill(1, "buy", "3", "10", "0.1"))
    closing = replace(fill(2, "sell", "2", "11", "0.001"), fee_currency="BNB")
    applied = apply_fill(opened.position, closing)
    assert applied.position == Position(D(1), D(10), D(2), {"USD": D("0.1"), "BNB": D("0.001")})
    assert (applied.closed, applied.gross, applied.closing_fee) == (D(2), D(2), D("0.001"))
    assert trade_pnl(applied, closing, Rates({})) is None
    assert trade_pnl(applied, closing, Rates({("BNB", "USD"): D(600)})) == D("1.4")


def test_open_checkpoint_needs_its_round_trip() -> None:
    opened = replay(Account(), WORKED_EXAMPLE[:2]).account
    with pytest.raises(ValueError, match="round trip"):
        replay(Account(opened.position), WORKED_EXAMPLE[2:])
    assumed = Account(opened.position, assumed_trip(opened.position, START, "USD"))
    long, short = replay(assumed, WORKED_EXAMPLE[2:]).round_trips
    assert (long.opened, long.side, long.quantity, long.gross, long.fees) == (START, "long", D(1500), D("-0.27"), {"USD": D("0.030")})
    assert short == replay(Account(), WORKED_EXAMPLE).round_trips[1]


def test_quantity_of_a_round_trip_is_the_largest_one() -> None:
    fills = [fill(1, "sell", "2", "9"), fill(2, "buy", "1", "9"), fill(3, "sell", "0.5", "9"), fill(4, "buy", "1.5", "9")]
    (trip,) = replay(Account(), fills).round_trips
    assert (trip.side, trip.quantity, trip.closed) == ("short", D(2), fills[3].time)


def test_round_trip_that_ends_at_cost_is_exactly_zero() -> None:
    """The average 3.02 / 3 has no end, the cash flow has one."""
    fills = [fill(1, "buy", "1", "1"), fill(2, "buy", "2", "1.01"), fill(3, "sell", "1", "1.01"), fill(4, "sell", "2", "1.005")]
    assert [trip.net() for trip in replay(Account(), fills).round_trips] == [0]


@pytest.mark.parametrize(
    ("quantity", "method", "expected"),
    [("1", "touch", "9"), ("-1", "touch", "10"), ("1", "mid", "9.5"), ("-1", "mid", "9.5"), ("0", "touch", None)],
)
def test_mark_is_the_price_that_closes_or_the_mid(quantity: str, method: str, expected: str | None) -> None:
    price = mark(D(quantity), D(9), D(10), "mid" if method == "mid" else "touch")
    assert price == (None if expected is None else D(expected))


def test_missing_price_gives_no_unrealised_profit() -> None:
    assert mark(D(1), None, D(10)) is None
    assert mark(D(1), D(9), None) == 9
    assert mark(D(1), D(9), None, "mid") is None
    assert unrealised(Position(D(1), D(9)), None) is None
    assert unrealised(FLAT, None) == 0
    assert notional(Position(D(1), D(9)), None) is None
    assert notional(FLAT, None) == 0


def test_daily_pnl_is_the_change_since_the_baseline() -> None:
    assert daily_pnl(D("5"), D("7")) == -2
    assert daily_pnl(D("5")) == 5
    assert daily_pnl(D("5"), None) is None
    assert daily_pnl(None) is None
