"""Volatility: the history of one instrument, and the last estimates of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson
from flask import Response

from api.access.model import READ
from api.rest.context import context
from api.rest.instruments import may_read, refuse_unknown
from api.rest.listing import EXPORTS, answer, export
from api.rest.routing import Routes
from api.rest.schemas.analytics import (
    LatestVolatilityQuery,
    LatestVolatilityQuerySchema,
    LatestVolatilitySchema,
    VolatilityQuerySchema,
    VolatilitySchema,
)
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.paging import Format, ListQuery
from config.settings import Settings
from db.listing.tables import VOLATILITY
from db.timestamps import format_time
from db.volatility import ESTIMATORS, VolatilityRow, last_estimates

_COLUMNS = ("symbol", "time", "estimator", "volatility", "annualised", "observations")

routes = Routes("volatility", "Volatility, computed every hour")


@routes.listing("/volatility", VolatilitySchema, takes=VolatilityQuerySchema, scope=READ)
def volatility(query: ListQuery) -> Response:
    """One instrument's volatility, ordered by (time, estimator).

    Each estimate uses the last hourly candles up to `time`. It is a fraction per hour (`alert`: per
    day) and per year. An estimate that was not available has no row.
    """
    return answer(VOLATILITY, query, "volatility")


@routes.get(
    "/volatility/latest",
    LatestVolatilitySchema,
    takes=LatestVolatilityQuerySchema,
    scope=READ,
    fails={404: ErrorResponseSchema},
    doc=EXPORTS,
)
def latest(query: LatestVolatilityQuery) -> Any:
    """The estimates of the last hour, of every instrument that has any and that you may read.

    If its market is closed, an instrument has the `time` of the last hour with an estimate; with
    `estimator`, with that one. `thresholds` has the limits of its volatility alerts, which apply to
    the estimator `alert`. CSV and NDJSON have a row for each instrument and estimator.
    """
    app = context()
    estimators = ESTIMATORS if query.estimator is None else (query.estimator,)
    estimates = app.reads.read(lambda cursor: last_estimates(cursor, estimators, query.symbols))
    rows = [row for row in estimates if may_read(row.symbol)]
    found = _by_symbol(rows)
    refuse_unknown("symbols", [name for name in query.symbols or () if name not in found])
    if query.format != "json":
        return export(_lines(rows, query.format), query.format, "volatility_latest")
    thresholds = {symbol: _thresholds(app.settings, symbol) for symbol in found}
    return {"volatility": found, "thresholds": thresholds, "count": len(found), "timestamp": format_time(app.clock())}


def _thresholds(settings: Settings, symbol: str) -> dict[str, float]:
    """The instrument's own thresholds, or else the defaults, per day."""
    default = (settings.volatility_threshold, settings.volatility_critical)
    warning, critical = settings.volatility_thresholds.get(symbol, default)
    return {"warning": warning, "critical": critical}


def _by_symbol(rows: Sequence[VolatilityRow]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        of_symbol = found.setdefault(row.symbol, {"time": format_time(row.time), "estimators": {}})
        of_symbol["estimators"][row.estimator] = {
            "volatility": row.volatility,
            "annualised": row.annualised,
            "observations": row.observations,
        }
    return found


def _lines(rows: Sequence[VolatilityRow], kind: Format) -> bytes:
    values = [(row.symbol, format_time(row.time), row.estimator, row.volatility, row.annualised, row.observations) for row in rows]
    if kind == "ndjson":
        return b"".join(orjson.dumps(dict(zip(_COLUMNS, each, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for each in values)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *values])
    return text.getvalue().encode()
