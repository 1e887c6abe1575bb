"""`History` for asyncio.

`async for row in client.ticks(…)`, or `await client.ticks(…, as_frame=True)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from tickwire_client.history import History, No, Part, RowsBySymbol, Symbols, Yes
from tickwire_client.messages import Body
from tickwire_client.rest import Moment

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = AsyncIterator[Body]
Frame = Awaitable["DataFrame"]
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
_ROWS_PER_BATCH = 1_000  # rows handed over at a time


class AsyncHistory:
    """See `History`. Requests run in a pool of threads."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._pool = ThreadPoolExecutor(8, "tickwire-asyncio")

    async def _run(self, call: Callable[..., ResultT], *arguments: Any, **options: Any) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *arguments, **options))

    async def _batch(self, items: Iterator[ItemT], size: int | None = None) -> list[ItemT]:
        """Read up to `size` items, or all, in a thread."""
        return await self._run(lambda: list(islice(items, size)))

    def _listing(self, call: Callable[..., Any], *arguments: Any, as_frame: bool, **options: Any) -> Rows | Frame:
        if as_frame:
            return self._run(call, *arguments, as_frame=True, **options)
        return self._rows(call(*arguments, **options))

    async def _rows(self, rows: Iterator[Body]) -> Rows:
        while batch := await self._batch(rows, _ROWS_PER_BATCH):
            for row in batch:
                yield row

    @overload
    def ticks(self, symbol: str, *, as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def ticks(self, symbol: str, *, as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def ticks(self, symbol: str, *, as_frame: bool = False, **part: Unpack[Part]) -> Rows | Frame:
        """See `History.ticks`."""
        return self._listing(self._history.ticks, symbol, as_frame=as_frame, **part)

    @overload
    def trades(self, symbol: str, *, as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def trades(self, symbol: str, *, as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def trades(self, symbol: str, *, as_frame: bool = False, **part: Unpack[Part]) -> Rows | Frame:
        """See `History.trades`."""
        return self._listing(self._history.trades, symbol, as_frame=as_frame, **part)

    @overload
    def candles(self, symbol: str, interval: str = ..., *, price: str = ..., as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def candles(self, symbol: str, interval: str = ..., *, price: str = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    @overload
    def candles(self, symbol: Symbols, interval: str = ..., *, price: str = ..., as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def candles(
        self, symbol: Symbols, interval: str = ..., *, price: str = ..., as_frame: No = False, **part: Unpack[Part]
    ) -> Awaitable[RowsBySymbol]: ...
    def candles(
        self, symbol: str | Symbols, interval: str = "1h", *, price: str = "mid", as_frame: bool = False, **part: Unpack[Part]
    ) -> Rows | Awaitable[RowsBySymbol] | Frame:
        """See `History.candles`; of several symbols, `await` the result."""
        if not isinstance(symbol, str) and not as_frame:
            return self._run(self._history.candles, symbol, interval, price=price, **part)
        return self._listing(self._history.candles, symbol, interval, price=price, as_frame=as_frame, **part)

    async def closes(self, symbols: str | Symbols, interval: str = "1h", *, price: str = "mid", **part: Unpack[Part]) -> DataFrame:
        """See `History.closes`."""
        return await self._run(self._history.closes, symbols, interval, price=price, **part)

    @overload
    def volatility(self, symbol: str, *, estimator: str | None = ..., as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def volatility(self, symbol: str, *, estimator: str | None = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def volatility(self, symbol: str, *, estimator: str | None = None, as_frame: bool = False, **part: Unpack[Part]) -> Rows | Frame:
        """See `History.volatility`."""
        return self._listing(self._history.volatility, symbol, estimator=estimator, as_frame=as_frame, **part)

    @overload
    def correlation_history(self, symbol1: str, symbol2: str, *, method: str = ..., as_frame: Yes, **part: Unpack[Part]) -> Frame: ...
    @overload
    def correlation_history(self, symbol1: str, symbol2: str, *, method: str = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def correlation_history(
        self, symbol1: str, symbol2: str, *, method: str = "pearson", as_frame: bool = False, **part: Unpack[Part]
    ) -> Rows | Frame:
        """See `History.correlation_history`."""
        return self._listing(self._history.correlation_history, symbol1, symbol2, method=method, as_frame=as_frame, **part)

    @overload
    def correlation(
        self, symbols: Sequence[str] | None = ..., *, as_of: Moment | None = ..., method: str = ..., as_frame: Yes
    ) -> Frame: ...
    @overload
    def correlation(
        self, symbols: Sequence[str] | None = ..., *, as_of: Moment | None = ..., method: str = ..., as_frame: No = False
    ) -> Awaitable[Body]: ...
    def correlation(
        self, symbols: Sequence[str] | None = None, *, as_of: Moment | None = None, method: str = "pearson", as_frame: bool = False
    ) -> Awaitable[Any]:
        """See `History.correlation`."""
        return self._run(self._history.correlation, symbols, as_of=as_of, method=method, as_frame=as_frame)

    def alert_log(self, *, type: str | None = None, symbol: str | None = None, severity: str | None = None, **part: Unpack[Part]) -> Rows:  # noqa: A002 - REST's name
        """See `History.alert_log`."""
        return self._rows(self._history.alert_log(type=type, symbol=symbol, severity=severity, **part))

    async def latest_volatility(self, symbols: Sequence[str] | None = None) -> Body:
        """See `History.latest_volatility`."""
        return await self._run(self._history.latest_volatility, symbols)

    async def symbols(self) -> list[Body]:
        """See `History.symbols`."""
        return await self._run(self._history.symbols)

    async def health(self) -> Body:
        """See `History.health`."""
        return await self._run(self._history.health)
