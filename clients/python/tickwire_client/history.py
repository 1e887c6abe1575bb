"""The stored history over REST, as rows or as DataFrames.

Rows are dicts with the fields of REST; decimals are strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from tickwire_client import frames
from tickwire_client.messages import Body
from tickwire_client.rest import Moment, Rest, resolve_time

if TYPE_CHECKING:
    from pandas import DataFrame

Rows = Iterator[Body]
Symbols = list[str] | tuple[str, ...]
RowsBySymbol = dict[str, list[Body]]
Yes = Literal[True]
No = Literal[False]
_TICK = ("symbol", "time", "received", "bid", "ask", "mid", "volume", "source", "seq", "epoch")
_TRADE = ("trade_id", "time", "price", "quantity", "side")
_CANDLE = ("start_time", "end_time", "open", "high", "low", "close", "volume", "complete", "trades", "source")
_VOLATILITY = ("time", "estimator", "volatility", "annualised", "observations")
_CORRELATION = ("time", "correlation", "observations")
_REQUESTS_AT_ONCE = 4


class Part(TypedDict, total=False):
    """Selects a part of a listing. The default is all rows, oldest first."""

    start: Moment | None  # inclusive; a timedelta means so long ago
    end: Moment | None  # exclusive
    order: str  # "asc" or "desc"
    limit: int | None  # maximum number of rows


class History:
    """Queries of REST. A listing is an iterator that fetches the next page when it needs one.

    With `as_frame=True`, all pages are read into a DataFrame with the time as index and decimals
    as float64.
    """

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    @overload
    def ticks(self, symbol: str, *, as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def ticks(self, symbol: str, *, as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def ticks(self, symbol: str, *, as_frame: bool = False, **part: Unpack[Part]) -> Rows | DataFrame:
        """Stored prices, each with its `seq` and `epoch`."""
        rows = self.rest.rows("/ticks", "ticks", symbol=symbol, **part)
        return frames.frame(rows, "time", _TICK) if as_frame else rows

    @overload
    def trades(self, symbol: str, *, as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def trades(self, symbol: str, *, as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def trades(self, symbol: str, *, as_frame: bool = False, **part: Unpack[Part]) -> Rows | DataFrame:
        """Stored trades of an exchange."""
        rows = self.rest.rows("/market/trades", "trades", symbol=symbol, **part)
        return frames.frame(rows, "time", _TRADE) if as_frame else rows

    @overload
    def candles(self, symbol: str, interval: str = ..., *, price: str = ..., as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def candles(self, symbol: str, interval: str = ..., *, price: str = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    @overload
    def candles(self, symbol: Symbols, interval: str = ..., *, price: str = ..., as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def candles(
        self, symbol: Symbols, interval: str = ..., *, price: str = ..., as_frame: No = False, **part: Unpack[Part]
    ) -> RowsBySymbol: ...
    def candles(
        self, symbol: str | Symbols, interval: str = "1h", *, price: str = "mid", as_frame: bool = False, **part: Unpack[Part]
    ) -> Rows | RowsBySymbol | DataFrame:
        """Candles of `mid`, `bid` or `ask` prices; intervals are `1m 5m 15m 1h 4h 1d`.

        Of several symbols, `{symbol: rows}` is returned, or a frame with the columns
        `(symbol, field)`. An interval without a candle of one of the symbols is NaN there.
        """
        if not isinstance(symbol, str):
            rows_of = self._of_each(symbol, interval, price, part)
            return frames.side_by_side(rows_of, "start_time", _CANDLE, part.get("order")) if as_frame else rows_of
        rows = self.rest.rows("/candles", "candles", symbol=symbol, interval=interval, price=price, **part)
        return frames.frame(rows, "start_time", _CANDLE) if as_frame else rows

    def closes(self, symbols: str | Symbols, interval: str = "1h", *, price: str = "mid", **part: Unpack[Part]) -> DataFrame:
        """The closes of candles as a frame with one column per symbol, indexed by start time.

        An interval without a candle of one of the symbols is NaN there.
        """
        several = [symbols] if isinstance(symbols, str) else symbols
        return frames.fields(self.candles(several, interval, price=price, as_frame=True, **part), "close")

    def _of_each(self, symbols: Symbols, interval: str, price: str, part: Part) -> RowsBySymbol:
        """Read the candles of each symbol, of four at the same time, from one moment on."""
        names = list(dict.fromkeys(symbols))
        if not names:
            raise ValueError("no instruments given")
        part = part.copy()
        if isinstance(start := part.get("start"), timedelta):
            part["start"] = resolve_time(start)
        if isinstance(end := part.get("end"), timedelta):
            part["end"] = resolve_time(end)

        def read(symbol: str) -> list[Body]:
            return list(self.candles(symbol, interval, price=price, **part))

        with ThreadPoolExecutor(_REQUESTS_AT_ONCE, "tickwire-history") as pool:
            try:
                return dict(zip(names, pool.map(read, names), strict=True))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @overload
    def volatility(self, symbol: str, *, estimator: str | None = ..., as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def volatility(self, symbol: str, *, estimator: str | None = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def volatility(self, symbol: str, *, estimator: str | None = None, as_frame: bool = False, **part: Unpack[Part]) -> Rows | DataFrame:
        """Hourly volatility of one estimator, or of all."""
        rows = self.rest.rows("/volatility", "volatility", symbol=symbol, estimator=estimator, **part)
        return frames.frame(rows, "time", _VOLATILITY) if as_frame else rows

    @overload
    def correlation_history(self, symbol1: str, symbol2: str, *, method: str = ..., as_frame: Yes, **part: Unpack[Part]) -> DataFrame: ...
    @overload
    def correlation_history(self, symbol1: str, symbol2: str, *, method: str = ..., as_frame: No = False, **part: Unpack[Part]) -> Rows: ...
    def correlation_history(
        self, symbol1: str, symbol2: str, *, method: str = "pearson", as_frame: bool = False, **part: Unpack[Part]
    ) -> Rows | DataFrame:
        """The daily correlation of two instruments."""
        rows = self.rest.rows("/correlation/history", "history", symbol1=symbol1, symbol2=symbol2, method=method, **part)
        return frames.frame(rows, "time", _CORRELATION) if as_frame else rows

    @overload
    def correlation(
        self, symbols: Sequence[str] | None = ..., *, as_of: Moment | None = ..., method: str = ..., as_frame: Yes
    ) -> DataFrame: ...
    @overload
    def correlation(
        self, symbols: Sequence[str] | None = ..., *, as_of: Moment | None = ..., method: str = ..., as_frame: No = False
    ) -> Body: ...
    def correlation(
        self, symbols: Sequence[str] | None = None, *, as_of: Moment | None = None, method: str = "pearson", as_frame: bool = False
    ) -> Body | DataFrame:
        """The latest correlation matrix up to `as_of`. The symbols index both axes of a frame."""
        body = self.rest.get("/correlation", as_of=as_of, method=method, symbols=symbols)
        return frames.matrix(body) if as_frame else body

    def latest_volatility(self, symbols: Sequence[str] | None = None) -> Body:
        """The figures of the last hour, by instrument."""
        found: Body = self.rest.get("/volatility/latest", symbols=symbols)["volatility"]
        return found

    def alert_log(self, *, type: str | None = None, symbol: str | None = None, severity: str | None = None, **part: Unpack[Part]) -> Rows:  # noqa: A002 - REST's name
        """The stored volatility and correlation alerts."""
        return self.rest.rows("/alerts", "alerts", type=type, symbol=symbol, severity=severity, **part)

    def symbols(self) -> list[Body]:
        """The instruments, with name, kind, precision, source and market state."""
        found: list[Body] = self.rest.get("/symbols")["symbols"]
        return found

    def health(self) -> dict[str, Any]:
        """The health of the server. Raises `Refused` with status 503 if it is unhealthy."""
        return self.rest.get("/health")
