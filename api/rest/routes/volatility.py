"""Volatility: an instrument's history, and what is known of all of them now."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson
from flask import Response

from api.rest.context import context
from api.rest.listing import EXPORTS, answer, export
from api.rest.routes.symbols import refuse_unknown
from api.rest.routing import Routes
from api.rest.schemas.analytics import LatestVolatilityQuery, LatestVolatilitySchema, VolatilityQuery, VolatilitySchema
from api.rest.schemas.answers import ErrorResponseSchema
from db.listing.tables import VOLATILITY
from db.timestamps import format_time
from db.volatility import ESTIMATORS, VolatilityRow, last_estimates

_COLUMNS = ("symbol", "time", "estimator", "volatility", "annualised", "observations")

routes = Routes("volatility", "Volatility, computed every hour")


@routes.get("/volatility", VolatilitySchema, takes=VolatilityQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def volatility(query: dict[str, Any]) -> Response:
    """One instrument's volatility, ordered by (time, estimator).

    Each estimate is of the last candles of one hour that end at `time`, as a fraction per hour (`alert`: per day) and per year; what was
    not available has no row. JSON comes in pages. CSV and NDJSON without a `limit` give the whole range; with one, a page, whose
    `next_page_token` is the header `X-Next-Page-Token`.
    """
    return answer(VOLATILITY, query, "volatility")


@routes.get("/volatility/latest", LatestVolatilitySchema, takes=LatestVolatilityQuery, fails={404: ErrorResponseSchema}, doc=EXPORTS)
def latest(query: dict[str, Any]) -> Any:
    """What is known of the last hour, of every instrument that has any volatility.

    An instrument whose market is closed has the `time` of the last hour for which there was any; with `estimator`, for which that one was
    available. CSV and NDJSON give a row for each instrument and estimator.
    """
    app = context()
    names = query.get("symbols")
    with app.store.transaction() as cursor:
        rows = last_estimates(cursor, [query["estimator"]] if "estimator" in query else ESTIMATORS, names)
    found = _by_symbol(rows)
    refuse_unknown("symbols", [name for name in names or () if name not in found])
    if query["format"] != "json":
        return export(_lines(rows, query["format"]), query["format"], "volatility_latest")
    return {"volatility": found, "count": len(found), "timestamp": format_time(app.clock())}


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


def _lines(rows: Sequence[VolatilityRow], kind: str) -> bytes:
    values = [(row.symbol, format_time(row.time), row.estimator, row.volatility, row.annualised, row.observations) for row in rows]
    if kind == "ndjson":
        return b"".join(orjson.dumps(dict(zip(_COLUMNS, each, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for each in values)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *values])
    return text.getvalue().encode()
