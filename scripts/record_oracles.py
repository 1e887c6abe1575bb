"""Record the figures of other packages for seeded inputs in tests/data/oracles/.

    python -m venv /tmp/oracles
    /tmp/oracles/bin/pip install -r requirements-oracles.txt
    /tmp/oracles/bin/python -m scripts.record_oracles

Run it from the root of the repository. The packages are large, so that `make test` compares with
the recordings. If the packages are installed, the tests also compare with them.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "oracles"
SERIES, FILLS_PER_SERIES = 200, 12
PERIODS_PER_YEAR = 365


def record_positions() -> list[dict[str, Any]]:
    """Positions of nautilus_trader: one row per series of fills.

    `fills` are [side, quantity, price, fee]. `rows` are [signed quantity, average price, realised
    profit less fees since the start] after each fill; `trips` are the profits of the closed
    positions; `unrealised` is the profit of the open one at `mark`.
    """
    return [_position(_seeded(seed)) for seed in range(SERIES)]


def _position(numbers: random.Random) -> dict[str, Any]:
    fills = [
        (
            numbers.choice(["buy", "sell"]),
            Decimal(numbers.randint(1, 4000)).scaleb(-3),
            Decimal(numbers.randint(200_000, 220_000)).scaleb(-2),
            Decimal(numbers.randint(-200, 3000)).scaleb(-3),
        )
        for _ in range(FILLS_PER_SERIES)
    ]
    book = _NautilusBook()
    rows = []
    for side, quantity, price, fee in fills:
        book.fill(side, quantity, price, fee)
        rows.append([str(book.quantity), repr(book.average), str(book.realised)])
    mark = Decimal(numbers.randint(200_000, 220_000)).scaleb(-2)
    return {
        "fills": [[side, *map(str, terms)] for side, *terms in fills],
        "rows": rows,
        "trips": [str(profit) for profit in book.closed],
        "mark": str(mark),
        "unrealised": str(book.unrealised(mark)),
    }


class _NautilusBook:
    """One netting position after the other, as the execution engine of nautilus_trader has them.

    The engine splits a fill that flips a position: the first part closes it, the second part opens
    the next one. The commission is split in proportion.
    """

    def __init__(self) -> None:
        from nautilus_trader.test_kit.providers import TestInstrumentProvider

        self._instrument = TestInstrumentProvider.ethusdt_perp_binance()
        self._position: Any = None
        self._count = 0
        self.closed: list[Decimal] = []

    @property
    def quantity(self) -> Decimal:
        return Decimal(0) if self._position is None else Decimal(str(self._position.signed_decimal_qty()))

    @property
    def average(self) -> float:
        return 0.0 if self._position is None else float(self._position.avg_px_open)

    @property
    def realised(self) -> Decimal:
        current = Decimal(0) if self._position is None else Decimal(self._position.realized_pnl.as_decimal())
        return sum(self.closed, current)

    def unrealised(self, mark: Decimal) -> Decimal:
        from nautilus_trader.model.objects import Price

        return Decimal(0) if self._position is None else Decimal(self._position.unrealized_pnl(Price(mark, 2)).as_decimal())

    def fill(self, side: str, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        held = self.quantity
        if held and (held > 0) != (side == "buy") and quantity > abs(held):
            share = fee * abs(held) / quantity
            self._apply(side, abs(held), price, share)
            self._apply(side, quantity - abs(held), price, fee - share)
        else:
            self._apply(side, quantity, price, fee)

    def _apply(self, side: str, quantity: Decimal, price: Decimal, fee: Decimal) -> None:
        from nautilus_trader.model.position import Position

        event = self._event(side, quantity, price, fee)
        if self._position is None:
            self._position = Position(self._instrument, event)
        else:
            self._position.apply(event)
        if self._position.is_closed:
            self.closed.append(Decimal(self._position.realized_pnl.as_decimal()))
            self._position = None

    def _event(self, side: str, quantity: Decimal, price: Decimal, fee: Decimal) -> Any:
        from nautilus_trader.core.uuid import UUID4
        from nautilus_trader.model.enums import LiquiditySide, OrderSide, OrderType
        from nautilus_trader.model.events import OrderFilled
        from nautilus_trader.model.identifiers import ClientOrderId, PositionId, TradeId, VenueOrderId
        from nautilus_trader.model.objects import Money, Price, Quantity
        from nautilus_trader.test_kit.stubs.identifiers import TestIdStubs

        self._count += 1
        name = str(self._count)
        currency = self._instrument.quote_currency
        return OrderFilled(
            TestIdStubs.trader_id(), TestIdStubs.strategy_id(), self._instrument.id, ClientOrderId(f"O-{name}"), VenueOrderId(name),
            TestIdStubs.account_id(), TradeId(name), PositionId("P-1"), OrderSide.BUY if side == "buy" else OrderSide.SELL,
            OrderType.MARKET, Quantity(quantity, 3), Price(price, 2), currency, Money(fee, currency), LiquiditySide.TAKER,
            UUID4(), self._count, self._count,
        )  # fmt: skip


def record_ratios() -> list[dict[str, Any]]:
    """Sharpe ratio, drawdown, profit factor and win rate by empyrical, quantstats and ffn.

    `equity` has one value per day; `nets` are profits of trades.
    """
    return [_ratios(_seeded(seed), days) for seed, days in enumerate([21, 30, 60, 120, 250])]


def _ratios(numbers: random.Random, days: int) -> dict[str, Any]:
    import empyrical
    import ffn
    import pandas as pd
    import quantstats

    equity = [Decimal(100_000)]
    for _ in range(days):
        equity.append((equity[-1] * Decimal(str(1 + numbers.gauss(0.0006, 0.012)))).quantize(Decimal("0.01")))
    nets = [Decimal(numbers.randint(-900, 1000) or 1).scaleb(-2) for _ in range(40)]
    values = pd.Series([float(each) for each in equity], index=pd.date_range("2025-01-01", periods=len(equity)))
    returns = values.pct_change().dropna()
    profits = pd.Series([float(each) for each in nets], index=pd.date_range("2025-01-01", periods=len(nets)))
    return {
        "equity": [str(each) for each in equity],
        "nets": [str(each) for each in nets],
        "sharpe_ratio": {
            "empyrical": float(empyrical.sharpe_ratio(returns, annualization=PERIODS_PER_YEAR)),
            "quantstats": float(quantstats.stats.sharpe(returns, periods=PERIODS_PER_YEAR)),
            "ffn": float(ffn.calc_sharpe(returns, nperiods=PERIODS_PER_YEAR)),
        },
        "max_drawdown_ratio": {
            "empyrical": -float(empyrical.max_drawdown(returns)),
            "quantstats": -float(quantstats.stats.max_drawdown(values)),
            "ffn": -float(ffn.calc_max_drawdown(values)),
        },
        "profit_factor": float(quantstats.stats.profit_factor(profits)),
        "win_rate": float(quantstats.stats.win_rate(profits)),
        "max_drawdown": float((profits.cumsum().clip(lower=0).cummax() - profits.cumsum()).max()),
    }


def record_trades() -> list[dict[str, Any]]:
    """Trades of backtesting.py on seeded candles: a strategy that is always long or short.

    `trades` are [size, entry price, exit price, profit]; a negative size is short.
    """
    return [_trades(_seeded(seed)) for seed in range(3)]


def _trades(numbers: random.Random) -> dict[str, Any]:
    import pandas as pd
    from backtesting import Backtest, Strategy

    class Flips(Strategy):  # type: ignore[misc]
        """Buy or sell at random; each order closes the trade before."""

        def init(self) -> None:
            """Without indicators."""

        def next(self) -> None:
            if numbers.random() < 0.4:
                (self.buy if numbers.random() < 0.5 else self.sell)(size=numbers.randint(1, 20))

    closes = [Decimal(10_000)]
    for _ in range(150):
        closes.append(closes[-1] + numbers.randint(-100, 100))
    candles = pd.DataFrame({name: [float(each.scaleb(-2)) for each in closes] for name in ("Open", "High", "Low", "Close")})
    candles.index = pd.date_range("2025-01-01", periods=len(candles))
    test = Backtest(candles, Flips, cash=1_000_000, exclusive_orders=True, finalize_trades=True)
    result = test.run()
    table = result["_trades"]
    return {
        "trades": [
            [int(row.Size), repr(float(row.EntryPrice)), repr(float(row.ExitPrice)), repr(float(row.PnL))] for row in table.itertuples()
        ],
        "win_rate": float(result["Win Rate [%]"]) / 100,
        "profit_factor": float(table.PnL[table.PnL > 0].sum() / -table.PnL[table.PnL < 0].sum()),
    }


RECORDINGS: dict[str, Callable[[], Sequence[Any]]] = {
    "positions.json": record_positions,
    "ratios.json": record_ratios,
    "trades.json": record_trades,
}


def _seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - input of a recording, not a secret


def main() -> None:
    """Write every recording again, one row per line."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, record in RECORDINGS.items():
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in record())
        (FOLDER / name).write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
