"""Positions and ratios beside nautilus_trader, empyrical, quantstats, ffn and backtesting.py.

`scripts/record_oracles.py` recorded their figures. If the packages are installed, they compute them
again.
"""

from __future__ import annotations

import importlib.util
import json
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from db.figures.positions import PositionFill, unrealised
from jobs.observer.figures.drawdown import Drawdown, RelativeDrawdown
from jobs.observer.figures.history import Account, Replay, replay
from jobs.observer.figures.ratios import daily_returns, sharpe_ratio, trip_sums
from scripts.record_oracles import FILLS_PER_SERIES, FOLDER, RECORDINGS, SERIES
from tests.support.fills import START

D = Decimal
PACKAGES = ("nautilus_trader", "empyrical", "quantstats", "ffn", "backtesting")

# nautilus_trader computes in floats and rounds each profit to 8 decimals.
MONEY_TOLERANCE = D("1e-7")


@cache
def recorded(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((FOLDER / name).read_text())
    return rows


def played(fills: list[list[str]]) -> Replay[PositionFill]:
    return replay(
        Account(),
        [
            PositionFill(f"f-{number}", START + timedelta(seconds=number), number, side, D(quantity), D(price), D(fee))
            for number, (side, quantity, price, fee) in enumerate(fills)
        ],
    )


def test_positions_equal_those_of_nautilus_trader() -> None:
    flips = 0
    for series in recorded("positions.json"):
        result = played(series["fills"])
        for step, (quantity, average, realised) in zip(result.steps, series["rows"], strict=True):
            position = step.applied.position
            assert position.quantity == D(quantity)
            assert float(position.average) == pytest.approx(float(average), rel=1e-12)
            assert position.gross - position.fees["USD"] == pytest.approx(D(realised), abs=MONEY_TOLERANCE)
            flips += step.closed_trip is not None and position.quantity != 0
    assert len(recorded("positions.json")) == SERIES == 200
    assert FILLS_PER_SERIES * SERIES > flips > 300


def test_round_trips_and_unrealised_equal_those_of_nautilus_trader() -> None:
    for series in recorded("positions.json"):
        result = played(series["fills"])
        nets = [trip.net() for trip in result.round_trips if trip.closed]
        assert nets == [pytest.approx(D(profit), abs=MONEY_TOLERANCE) for profit in series["trips"]]
        assert unrealised(result.account.position, D(series["mark"])) == pytest.approx(D(series["unrealised"]), abs=MONEY_TOLERANCE)


@pytest.mark.parametrize("package", ["empyrical", "quantstats", "ffn"])
def test_sharpe_and_drawdown_of_equity_equal_those_of_the_package(package: str) -> None:
    for case in recorded("ratios.json"):
        equity = [D(value) for value in case["equity"]]
        assert sharpe_ratio(daily_returns(equity)) == pytest.approx(case["sharpe_ratio"][package], rel=1e-10)
        decline = RelativeDrawdown()
        for value in equity:
            decline = decline.after(value)
        assert decline.ratio is not None
        assert float(decline.ratio) == pytest.approx(case["max_drawdown_ratio"][package], rel=1e-10)


def test_profit_factor_win_rate_and_drawdown_of_profits_equal_those_of_quantstats_and_pandas() -> None:
    for case in recorded("ratios.json"):
        nets = [D(value) for value in case["nets"]]
        sums = trip_sums(nets)
        assert sums.profit_factor == pytest.approx(case["profit_factor"], rel=1e-12)
        assert sums.win_rate == pytest.approx(case["win_rate"], rel=1e-12)
        decline, total = Drawdown(), D(0)
        for net in nets:
            total += net
            decline = decline.after(total)
        assert float(decline.deepest) == pytest.approx(case["max_drawdown"], abs=1e-9)


def test_round_trips_equal_the_trades_of_backtesting() -> None:
    for case in recorded("trades.json"):
        fills: list[list[str]] = []
        for size, entry, exit_price, _ in case["trades"]:
            opening, closing = ("buy", "sell") if size > 0 else ("sell", "buy")
            fills += [[opening, str(abs(size)), entry, "0"], [closing, str(abs(size)), exit_price, "0"]]
        nets = [trip.net() for trip in played(fills).round_trips]
        assert nets == [pytest.approx(D(profit), abs=D("1e-9")) for *_, profit in case["trades"]]
        sums = trip_sums([net for net in nets if net is not None])
        assert sums.win_rate == pytest.approx(case["win_rate"])
        assert sums.profit_factor == pytest.approx(case["profit_factor"])


@pytest.mark.skipif(not all(map(importlib.util.find_spec, PACKAGES)), reason="the packages of requirements-oracles.txt are not installed")
def test_recordings_equal_the_installed_packages() -> None:
    for name, record in RECORDINGS.items():
        assert json.loads(json.dumps(record())) == recorded(name)
