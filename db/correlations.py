"""SQL of `correlations`, and of `correlation_constants` for the diagonal of its matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from db.copy import copy_line, copy_rows
from db.postgres import Cursor

Pair = tuple[str, str]
Row = tuple[str, str, float | None, int]  # symbol1, symbol2, correlation, observations

# Values of `method`.
METHODS = ("pearson", "spearman", "ewma", "shrunk")


def write_correlations(
    cursor: Cursor, time: datetime, method: str, pairs: Sequence[Pair], values: Sequence[float | None], observations: Sequence[int]
) -> int:
    """Store one matrix, one row per pair (symbol1 < symbol2); returns the number of pairs.

    Rows of the same time and method are replaced.
    """
    cursor.execute("DELETE FROM correlations WHERE time = %s AND method = %s", (time, method))
    lines = (
        copy_line(time.isoformat(), method, first, second, value, count)
        for (first, second), value, count in zip(pairs, values, observations, strict=True)
    )
    copy_rows(cursor, "correlations", "time, method, symbol1, symbol2, correlation, observations", lines)
    return len(pairs)


def write_constants(cursor: Cursor, time: datetime, symbols: Iterable[str]) -> None:
    """Store the instruments without variance in the matrices of that time.

    They replace those of an earlier run.
    """
    cursor.execute("DELETE FROM correlation_constants WHERE time = %s", (time,))
    cursor.execute("INSERT INTO correlation_constants (time, symbol) SELECT %s, unnest(%s::text[])", (time, list(symbols)))


def constants_of(cursor: Cursor, time: datetime) -> frozenset[str]:
    """Return the instruments without variance in the matrices of that time."""
    cursor.execute("SELECT symbol FROM correlation_constants WHERE time = %s", (time,))
    return frozenset(symbol for (symbol,) in cursor.fetchall())


def correlations_of(cursor: Cursor, time: datetime, method: str) -> dict[Pair, float]:
    """pair -> correlation in the matrix of that time; pairs without a correlation are left out."""
    cursor.execute(
        "SELECT symbol1, symbol2, correlation FROM correlations WHERE time = %s AND method = %s AND correlation IS NOT NULL", (time, method)
    )
    return {(first, second): value for first, second, value in cursor.fetchall()}


def latest_matrix(cursor: Cursor, method: str, as_of: str | None = None) -> tuple[datetime, list[Row]] | None:
    """Time and rows of the method's last matrix up to `as_of`; None if there is none.

    Rows are ordered by pair. `as_of` is in contract form; None sets no limit.
    """
    cursor.execute(
        "SELECT time FROM correlations WHERE method = %s AND (%s::timestamptz IS NULL OR time <= %s) ORDER BY time DESC LIMIT 1",
        (method, as_of, as_of),
    )
    if (found := cursor.fetchone()) is None:
        return None
    cursor.execute(
        "SELECT symbol1, symbol2, correlation, observations FROM correlations WHERE time = %s AND method = %s ORDER BY symbol1, symbol2",
        (found[0], method),
    )
    return found[0], cursor.fetchall()
