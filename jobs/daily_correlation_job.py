"""Every midnight, UTC: how the instruments moved together over the last 30 days, and where that has changed."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.alerts import Subject
from db.correlations import correlations_of, write_correlations
from db.instruments import all_instruments
from jobs.alert_rules import AlertRule
from jobs.alerts import Seen, pairs_of, publish_alerts, raise_alerts
from jobs.analytics.correlation import METHODS
from jobs.analytics.returns import log_returns
from jobs.hours import on_clock
from jobs.work import Work

HOURS = 30 * 24
MINIMUM = 48  # common hours: two days' worth; fewer say nothing
WATCHED = "pearson"  # the method whose changes are alerts
CRITICAL = 2.0  # times CORRELATION_CHANGE_THRESHOLD


def daily_correlation_job(work: Work, as_of: datetime) -> int:
    """What is due at the midnight `as_of`; how many pairs were stored. Run again, it leaves what one run leaves."""
    with work.store.transaction() as cursor:
        hours = on_clock(cursor, all_instruments(cursor), as_of, HOURS)
        pairs = pairs_of(hours.symbols)
        if not pairs:
            return 0
        stored = 0
        returns = log_returns(hours.closes)
        for method, correlate in METHODS.items():
            found = correlate(returns, MINIMUM)
            values = [float(value) if math.isfinite(value) else None for value in _upper(found.matrix)]
            stored += write_correlations(cursor, as_of, method, pairs, values, [int(count) for count in _upper(found.counts)])
        now = correlations_of(cursor, as_of, WATCHED)
        before = correlations_of(cursor, as_of - timedelta(days=1), WATCHED)
        seen = {pair: Seen(abs(value - before[pair]), value, before[pair]) for pair, value in now.items() if pair in before}
        threshold = work.settings.correlation_change_threshold
        raise_alerts(cursor, "correlation", seen, lambda _: AlertRule(threshold, CRITICAL * threshold), as_of, _message)
    publish_alerts(work.store, work.bus, work.clock)
    work.bus.publish_data_ready("correlation_matrix", hours.symbols, as_of)
    return stored


def _upper(matrix: NDArray[Any]) -> NDArray[Any]:
    """The matrix above its diagonal, row by row: the order of `pairs_of`."""
    return matrix[np.triu_indices(len(matrix), 1)]


def _message(subject: Subject, seen: Seen, severity: str, threshold: float) -> str:
    before = seen.previous or 0.0
    return f"{subject[0]}/{subject[1]} correlation went from {before:+.2f} to {seen.value:+.2f}, by more than {threshold:.2f} ({severity})"
