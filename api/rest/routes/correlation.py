"""Correlation: a whole matrix, and one pair over time."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response

from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.listing import EXPORTS, answer, export
from api.rest.routes.symbols import refuse_unknown
from api.rest.routing import Routes
from api.rest.schemas.analytics import HistoryQuery, HistorySchema, MatrixQuery, MatrixSchema
from api.rest.schemas.answers import ErrorResponseSchema
from db.correlations import Row, latest_matrix
from db.listing.tables import CORRELATIONS
from db.timestamps import format_time

routes = Routes("correlation", "Correlation of hourly returns, computed every day")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Row and column i belong to `symbols[i]`; what is not available is None, and so are the observations on the diagonal."""

    symbols: list[str]
    correlations: list[list[float | None]]
    observations: list[list[int | None]]

    @classmethod
    def of(cls, rows: Sequence[Row], symbols: Sequence[str] | None = None) -> Matrix:
        """From rows, one a pair; with `symbols`, of those among these that are in it, in their order."""
        members = {name for row in rows for name in row[:2]}
        names = sorted(members) if symbols is None else [name for name in symbols if name in members]
        places = {name: place for place, name in enumerate(names)}
        correlations: list[list[float | None]] = [[None] * len(names) for _ in names]
        observations: list[list[int | None]] = [[None] * len(names) for _ in names]
        for place in range(len(names)):
            correlations[place][place] = 1.0
        for first, second, value, count in rows:
            if first in places and second in places:
                i, j = places[first], places[second]
                correlations[i][j] = correlations[j][i] = value
                observations[i][j] = observations[j][i] = count
        return cls(names, correlations, observations)

    def as_csv(self) -> bytes:
        """With the symbols in the first row and column; what is not available is an empty cell."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["", *self.symbols])
        writer.writerows([name, *values] for name, values in zip(self.symbols, self.correlations, strict=True))
        return text.getvalue().encode()

    def as_lines(self, about: dict[str, str]) -> bytes:
        """A JSON object a pair, each beginning with `about`."""
        lines = []
        for i, first in enumerate(self.symbols):
            for j in range(i + 1, len(self.symbols)):
                pair = {"symbol1": first, "symbol2": self.symbols[j], "correlation": self.correlations[i][j]}
                row = {**about, **pair, "observations": self.observations[i][j]}
                lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        return b"".join(lines)


@routes.get("/correlation", MatrixSchema, takes=MatrixQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def correlation(query: dict[str, Any]) -> Response:
    """The last correlation matrix up to `as_of`, of hourly log returns over 30 days.

    Symmetric, with 1 on the diagonal; null where two instruments have too few hours in common. Instruments that had no candles are not in
    it. CSV is the matrix with the symbols in its first row and column, an empty cell where it has null; NDJSON has a line for each pair.
    404 `no_data` where there is no matrix yet.
    """
    app, method = context(), query["method"]
    with app.store.transaction() as cursor:
        found = latest_matrix(cursor, method, query.get("as_of"))
    names = query.get("symbols")
    matrix = Matrix.of(found[1] if found else (), names)
    refuse_unknown("symbols", [name for name in names or () if name not in matrix.symbols])
    if found is None:
        at = {"as_of": [query["as_of"]]} if "as_of" in query else {}
        raise ApiError(404, ErrorCode.NO_DATA, "there is no such matrix yet", {"method": [method], **at})
    about = {"as_of": format_time(found[0]), "method": method}
    if query["format"] != "json":
        lines = matrix.as_csv() if query["format"] == "csv" else matrix.as_lines(about)
        return export(lines, query["format"], f"correlation_{method}_{about['as_of'][:10]}")
    # Not by way of the schema, which takes far longer over each number than it took to compute it.
    body = {"symbols": matrix.symbols, "matrix": matrix.correlations, "observations": matrix.observations}
    return Response(orjson.dumps({**about, **body, "timestamp": format_time(app.clock())}), content_type="application/json")


@routes.get("/correlation/history", HistorySchema, takes=HistoryQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def history(query: dict[str, Any]) -> Response:
    """The correlation of one pair, day by day, ordered by time; `symbol1` and `symbol2` in either order.

    JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose `next_page_token` is the header
    `X-Next-Page-Token`.
    """
    first, second = sorted([query["symbol1"], query["symbol2"]])
    return answer(CORRELATIONS, query, "history", ("symbol1", "symbol2"), {"symbol1": first, "symbol2": second})
