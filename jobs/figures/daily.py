"""Daily job at 00:00 UTC: correlation over the last 30 days, and alerts about its changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.alerts import Subject
from db.correlations import correlations_of, write_constants, write_correlations
from db.instruments import all_instruments
from db.job_runs import take_turn
from db.postgres import Cursor
from jobs.analytics.correlation import METHODS
from jobs.analytics.matrices import shrunk_correlation
from jobs.analytics.returns import Floats, log_returns, varies
from jobs.figures.alert_rules import AlertRule
from jobs.figures.alerts import Seen, pairs_of, publish_alerts, raise_alerts
from jobs.figures.hour_end import complete_hours
from jobs.figures.hours import Hours, on_clock
from jobs.runtime.context import JobContext

HOURS = 30 * 24
MINIMUM = 48  # common hours, two days' worth; fewer are not significant
WATCHED = "pearson"  # changes of this method are alerts
SHRUNK = "shrunk"
CRITICAL = 2.0  # times CORRELATION_CHANGE_THRESHOLD


def daily_correlation_job(context: JobContext, as_of: datetime) -> int:
    """The work that is due at the midnight `as_of`; returns the number of stored rows.

    There is one row per pair and method. A repeated run leaves the same rows. If a broker is
    temporarily unavailable, the matrix is computed from the stored candles first, and the error is
    raised last.
    """
    failure = complete_hours(context, as_of)
    with context.store.transaction() as cursor:
        take_turn(cursor, "daily_correlation_job")
        hours = on_clock(cursor, all_instruments(cursor), as_of, HOURS)
        stored = _store_matrices(cursor, hours, as_of)
        _judge_changes(cursor, context.settings.correlation_change_threshold, as_of)
    publish_alerts(context.store, context.bus, context.clock)
    if stored:
        context.bus.publish_data_ready("correlation_matrix", hours.symbols, as_of)
    if failure is not None:
        raise failure
    return stored


def _store_matrices(cursor: Cursor, hours: Hours, as_of: datetime) -> int:
    pairs, stored = pairs_of(hours.symbols), 0
    returns = log_returns(hours.closes)
    write_constants(cursor, as_of, [symbol for symbol, moves in zip(hours.symbols, varies(returns), strict=True) if not moves])
    for method, matrix, counts in _matrices(returns) if pairs else ():
        values = [float(value) if math.isfinite(value) else None for value in _upper(matrix)]
        stored += write_correlations(cursor, as_of, method, pairs, values, [int(count) for count in _upper(counts)])
    return stored


def _matrices(returns: Floats) -> Iterator[tuple[str, Floats, NDArray[Any]]]:
    """Method, matrix and observations; for the shrunk one, the hours common to all instruments."""
    for method, correlate in METHODS.items():
        found = correlate(returns, MINIMUM)
        yield method, found.matrix, found.counts
    shrunk = shrunk_correlation(returns, MINIMUM)
    yield SHRUNK, shrunk.matrix, np.full(shrunk.matrix.shape, shrunk.observations)


def _judge_changes(cursor: Cursor, threshold: float, as_of: datetime) -> None:
    """Compare with the matrix of the day before, if there is one."""
    now, before = correlations_of(cursor, as_of, WATCHED), correlations_of(cursor, as_of - timedelta(days=1), WATCHED)
    seen = {pair: Seen(abs(value - before[pair]), value, before[pair]) for pair, value in now.items() if pair in before}
    raise_alerts(cursor, "correlation", seen, lambda _: AlertRule(threshold, CRITICAL * threshold), as_of, _message)


def _upper(matrix: NDArray[Any]) -> NDArray[Any]:
    """The matrix above its diagonal, row by row, in the order of `pairs_of`."""
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def _message(subject: Subject, seen: Seen, severity: str, threshold: float) -> str:
    before = seen.previous or 0.0
    return f"{subject[0]}/{subject[1]} correlation went from {before:+.2f} to {seen.value:+.2f}, by more than {threshold:.2f} ({severity})"
