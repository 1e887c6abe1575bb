"""Every hour: complete the hour's candles, compute volatility, store it, then tell: prices, alerts, what is ready."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np

from db import topics
from db.alerts import Subject
from db.bus import Tick
from db.candles import closing_quotes, insert_candles, marked_before
from db.instruments import all_instruments
from db.timestamps import format_time, parse_time
from db.volatility import VolatilityRow, write_volatility
from jobs.alert_rules import AlertRule
from jobs.alerts import Seen, publish_alerts, raise_alerts
from jobs.analytics.periods import periods_per_year
from jobs.analytics.volatility import ALERT_HOURS, ESTIMATORS, Candles, alert_volatility, annualised
from jobs.history.oanda import oanda_history
from jobs.hours import HOUR, Hours, by_kind
from jobs.sources.base import SourceError
from jobs.work import Work

log = logging.getLogger(__name__)

WINDOW = 24  # candles of every estimator, the alert's figure included
ALERT = "alert"  # the estimator's name of that figure
SOURCE = "hourly_job"
_SPAN = timedelta(days=7)  # holds the window and a long weekend
_PATIENCE = 30.0  # seconds to wait for what is on its way into the hour's candles
_HOURS_AGAIN = 3  # of OANDA's, asked for anew: its last ones may have been forming


def hourly_job(work: Work, as_of: datetime) -> int:
    """What is due at the full hour `as_of`; how many volatilities were stored. Killed and run again, it leaves what one run leaves."""
    _complete_hour(work, as_of)
    with work.store.transaction() as cursor:
        instruments = all_instruments(cursor)
        found = by_kind(cursor, instruments, as_of, _SPAN)
        quotes = closing_quotes(cursor, "1h", as_of)
        rows = [row for kind, hours in found.items() for row in volatilities(kind, hours, as_of)]
        write_volatility(cursor, rows)
        seen = {(row.symbol, ""): Seen(row.volatility, row.volatility) for row in rows if row.estimator == ALERT}
        raise_alerts(cursor, "volatility", seen, _rules(work), as_of, _message)
    _publish_prices(work, quotes, as_of)
    publish_alerts(work.store, work.bus, work.clock)
    for data_type, names in (("hourly_candles", [quote[0] for quote in quotes]), ("volatility", sorted({row.symbol for row in rows}))):
        if names:
            work.bus.publish_data_ready(data_type, names, as_of)
    return len(rows)


def volatilities(kind: str, hours: Hours, as_of: datetime) -> list[VolatilityRow]:
    """Every estimate that is available of the window that ends at `as_of`. Instruments of a kind whose last hour is older have none."""
    if hours.starts[-1] != int((as_of - HOUR).timestamp()):
        return []
    recent = hours.last(WINDOW + 1)
    candles = Candles.of(recent.opens, recent.highs, recent.lows, recent.closes, recent.breaks)
    windows = candles.windows(WINDOW)
    a_year = periods_per_year(kind, "1h")
    rows = []
    for name, estimator in ESTIMATORS.items():
        estimate = estimator(windows)
        yearly = annualised(estimate.volatility, a_year)
        rows += [
            VolatilityRow(symbol, name, as_of, float(value), float(year), int(count))
            for symbol, value, year, count in zip(
                hours.symbols, estimate.volatility[:, -1], yearly[:, -1], estimate.observations[:, -1], strict=True
            )
            if math.isfinite(value)
        ]
    daily = alert_volatility(recent.closes, breaks=recent.breaks)
    counts = np.isfinite(candles.change[:, -ALERT_HOURS:]).sum(axis=1)
    days_a_year = a_year / ALERT_HOURS
    return rows + [
        VolatilityRow(symbol, ALERT, as_of, float(value), float(value) * math.sqrt(days_a_year), int(count))
        for symbol, value, count in zip(hours.symbols, daily, counts, strict=True)
        if math.isfinite(value)
    ]


def _complete_hour(work: Work, as_of: datetime) -> None:
    """See that the hour's candles are whole: OANDA's are fetched, our own are waited for."""
    if any(spec.kind == "oanda" for spec in work.settings.sources):
        _fetch_oanda(work, as_of)
    waited = 0.0
    while waited < _PATIENCE and _on_its_way(work, as_of) and not work.stop.wait(0.25):
        waited += 0.25


def _on_its_way(work: Work, as_of: datetime) -> bool:
    """Whether prices of that hour may still wait for the writer or the roll-up: none do once the hour is long over."""
    if work.clock() - as_of < timedelta(seconds=2 + work.settings.batch_timeout_ms / 1000):
        return True
    if work.clock() - as_of < timedelta(minutes=5) and (work.bus.unstored(topics.TRADES) or work.bus.unstored()):
        return True
    with work.store.transaction() as cursor:
        return marked_before(cursor, as_of)


def _fetch_oanda(work: Work, as_of: datetime) -> None:
    """The last hours from OANDA itself. What it refuses for good is logged: our own candles stand in. Raises what may pass."""
    history = oanda_history(work.settings)
    with work.store.transaction() as cursor:
        fed = [each.symbol for each in all_instruments(cursor) if each.source == "oanda"]
    for symbol in fed:
        try:
            for page in history.candles(symbol, "1h", as_of - _HOURS_AGAIN * HOUR, as_of, work.stop):
                with work.store.transaction() as cursor:
                    insert_candles(cursor, page)
        except SourceError as error:
            if not error.fatal:
                raise
            log.warning("no candles from OANDA: %s", error, extra={"symbol": symbol})


def _publish_prices(work: Work, quotes: Sequence[tuple[str, str, str, str]], as_of: datetime) -> None:
    """The hour's closing prices, of instruments whose latest price is older: none is ever moved back."""
    latest = work.bus.latest_times([quote[0] for quote in quotes])
    moment = format_time(as_of)
    ticks = [
        Tick(symbol, bid=bid, ask=ask, mid=mid, time=moment, source=SOURCE)
        for symbol, bid, ask, mid in quotes
        if symbol not in latest or parse_time(latest[symbol]) < as_of
    ]
    if ticks:
        work.bus.publish_prices(ticks, f"{SOURCE}@{moment}/1")


def _rules(work: Work) -> Callable[[Subject], AlertRule]:
    """The rule of an instrument: its own thresholds where it has some, else the defaults."""
    default = (work.settings.volatility_threshold, work.settings.volatility_critical)
    own = work.settings.volatility_thresholds
    return lambda subject: AlertRule(*own.get(subject[0], default))


def _message(subject: Subject, seen: Seen, severity: str, threshold: float) -> str:
    return f"{subject[0]} volatility {seen.value:.2%} a day is above the {severity} threshold {threshold:.2%}"
