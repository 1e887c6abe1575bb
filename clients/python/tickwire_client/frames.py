"""Rows as pandas DataFrames. Only this module imports pandas, and only when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tickwire_client.messages import Body

if TYPE_CHECKING:
    from pandas import DataFrame

_TIMES = {"time", "received", "start_time", "end_time"}
_DECIMALS = {"bid", "ask", "mid", "open", "high", "low", "close", "volume", "price", "quantity"}


def frame(rows: Iterable[Body], index: str, columns: tuple[str, ...]) -> DataFrame:
    """A DataFrame with the time (UTC) as index and decimals as float64.

    `columns` are the columns of an empty result.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ModuleNotFoundError("a DataFrame needs pandas: pip install pandas") from None
    listed = list(rows)
    table = pd.DataFrame(listed, columns=list(listed[0]) if listed else list(columns))
    for name in table.columns:
        if name in _TIMES:
            table[name] = pd.to_datetime(table[name], utc=True, format="ISO8601")
        elif name in _DECIMALS:
            table[name] = pd.to_numeric(table[name]).astype("float64")
    return table.set_index(index)


def side_by_side(rows: Mapping[str, Iterable[Body]], index: str, columns: tuple[str, ...], order: str | None) -> DataFrame:
    """The rows of several symbols as one DataFrame with the columns `(symbol, field)`.

    Times that only some symbols have are NaN in the columns of the others.
    """
    tables = {symbol: frame(each, index, columns) for symbol, each in rows.items()}
    import pandas as pd

    return pd.concat(tables, axis=1, names=["symbol", "field"], sort=True).sort_index(ascending=order != "desc")


def fields(table: DataFrame, field: str) -> DataFrame:
    """One field of the result of `side_by_side`: one column per symbol."""
    return table.loc[:, (slice(None), field)].droplevel("field", axis=1)


def matrix(body: Body) -> DataFrame:
    """A correlation matrix with the symbols as index and columns; NaN means not available."""
    import pandas as pd

    return pd.DataFrame(body["matrix"], index=body["symbols"], columns=body["symbols"], dtype="float64")
