"""Correlation: a matrix, and the history of one pair."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from flask import Response

from api.access.model import READ
from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.instruments import may_read, refuse_unknown
from api.rest.listing import EXPORTS, answer, export
from api.rest.routing import Routes
from api.rest.schemas.analytics import HistoryQuerySchema, HistorySchema, MatrixQuery, MatrixQuerySchema, MatrixSchema
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.paging import ListQuery
from db.correlations import Row, constants_of, latest_matrix
from db.listing.tables import CORRELATIONS
from db.postgres import Cursor
from db.timestamps import format_time

MAX_REPAIRED = 100  # instruments; the time of a repair grows with the cube of their number, to 56 s for 300

routes = Routes("correlation", "Correlation of hourly returns, computed every day")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Row and column i belong to `symbols[i]`.

    None: not available, as are the observations on the diagonal.
    """

    symbols: list[str]
    correlations: list[list[float | None]]
    observations: list[list[int | None]]

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        symbols: Sequence[str] | None = None,
        constants: Container[str] = (),
        chosen: Callable[[str], bool] = lambda _: True,
    ) -> Matrix:
        """Return the matrix of rows, one per pair.

        With `symbols`, of those of them that have rows, in their order; without it, of the `chosen`
        ones. `constants` are instruments without variance.
        """
        members = {name for row in rows for name in row[:2]}
        names = sorted(filter(chosen, members)) if symbols is None else [name for name in symbols if name in members]
        places = {name: place for place, name in enumerate(names)}
        correlations: list[list[float | None]] = [[None] * len(names) for _ in names]
        observations: list[list[int | None]] = [[None] * len(names) for _ in names]
        for place, name in enumerate(names):
            correlations[place][place] = None if name in constants else 1.0
        for first, second, value, count in rows:
            if first in places and second in places:
                i, j = places[first], places[second]
                correlations[i][j] = correlations[j][i] = value
                observations[i][j] = observations[j][i] = count
        return cls(names, correlations, observations)

    def repaired(self) -> Matrix:
        """Return the nearest positive semidefinite correlation matrix; observations stay.

        Instruments without all of their correlations are null, the emptiest first.
        """
        # The first repair loads numpy (12 MB of memory), not the start of the process.
        from db.nearest_correlation import nearest_rows

        return replace(self, correlations=nearest_rows(self.correlations))

    def as_csv(self) -> bytes:
        """Return CSV with the symbols in the first row and column; an empty cell: not available."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["", *self.symbols])
        writer.writerows([name, *values] for name, values in zip(self.symbols, self.correlations, strict=True))
        return text.getvalue().encode()

    def as_lines(self, about: Mapping[str, Any]) -> bytes:
        """Return one JSON object per pair, each beginning with `about`."""
        lines = []
        for i, first in enumerate(self.symbols):
            for j in range(i + 1, len(self.symbols)):
                pair = {"symbol1": first, "symbol2": self.symbols[j], "correlation": self.correlations[i][j]}
                row = {**about, **pair, "observations": self.observations[i][j]}
                lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return b"".join(lines)


@routes.get("/correlation", MatrixSchema, takes=MatrixQuerySchema, scope=READ, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def correlation(query: MatrixQuery) -> Response:
    """The last correlation matrix up to `as_of`, of hourly log returns over 30 days.

    The matrix is symmetric, with 1 on the diagonal, and null if two instruments have too few hours
    in common. An instrument without variance, or with fewer than 2 returns, is null on the diagonal
    too. The matrix omits instruments without candles, and those that you may not read.
    `repair=psd` returns the nearest positive semidefinite matrix, with `"repaired": true`;
    instruments without all correlations are null in it. A repaired matrix has at most 100
    instruments: select them with `symbols`. CSV is the matrix with the symbols in its first row and
    column, and empty cells for null; NDJSON has a line for each pair. 404 `no_data` if there is no
    matrix yet.
    """
    app, method = context(), query.method
    found, constants = app.reads.read(lambda cursor: _latest(cursor, method, query.as_of))
    matrix = Matrix.of(found[1] if found else (), query.symbols, constants, may_read)
    refuse_unknown("symbols", [name for name in query.symbols or () if name not in matrix.symbols])
    if found is None:
        at = {"as_of": [query.as_of]} if query.as_of is not None else {}
        raise ApiError(404, ErrorCode.NO_DATA, "there is no such matrix yet", {"method": [method], **at})
    about: dict[str, Any] = {"as_of": format_time(found[0]), "method": method}
    name = f"correlation_{method}_{about['as_of'][:10]}"
    if query.repair is not None:
        _refuse_large(matrix)
        matrix, about["repaired"], name = matrix.repaired(), True, f"{name}_{query.repair}"
    if query.format != "json":
        lines = matrix.as_csv() if query.format == "csv" else matrix.as_lines(about)
        return export(lines, query.format, name)
    # Without the schema, which takes longer per number than its computation took.
    body = {"symbols": matrix.symbols, "matrix": matrix.correlations, "observations": matrix.observations}
    return Response(orjson.dumps({**about, **body, "timestamp": format_time(app.clock())}), content_type="application/json")


def _latest(cursor: Cursor, method: str, as_of: str | None) -> tuple[tuple[datetime, list[Row]] | None, frozenset[str]]:
    """Return time and rows of the last matrix up to `as_of`, and instruments without variance."""
    found = latest_matrix(cursor, method, as_of)
    return found, constants_of(cursor, found[0]) if found else frozenset()


def _refuse_large(matrix: Matrix) -> None:
    """Refuse the repair of a matrix of more than `MAX_REPAIRED` instruments."""
    if (number := len(matrix.symbols)) > MAX_REPAIRED:
        fault = f"repair takes at most {MAX_REPAIRED} instruments, and this matrix has {number}: name some in symbols"
        raise ApiError(422, ErrorCode.INVALID_PAYLOAD, "matrix too large for a repair", {"symbols": [fault]})


@routes.listing("/correlation/history", HistorySchema, takes=HistoryQuerySchema, scope=READ)
def history(query: ListQuery) -> Response:
    """The daily correlation of one pair, ordered by time.

    `symbol1` and `symbol2` in either order.
    """
    first, second = sorted([query.filters["symbol1"], query.filters["symbol2"]])
    return answer(CORRELATIONS, query, "history", ("symbol1", "symbol2"), {"symbol1": first, "symbol2": second})
