"""Hourly job: completes candles, computes and stores volatility, publishes prices and alerts."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import orjson

from config.settings import Settings
from db.admission import Window, open_windows
from db.admitted import admit_quotes
from db.alerts import Subject
from db.candles import closing_quotes
from db.instruments import all_instruments, calendars_of
from db.job_runs import take_turn
from db.messages import Tick
from db.prices import CLOSING, CLOSING_OCCURRENCE
from db.timestamps import format_time, parse_time
from db.volatility import VolatilityRow, write_volatility
from jobs.analytics.candles import Candles
from jobs.analytics.periods import periods_per_year
from jobs.analytics.volatility import ALERT_HOURS, ESTIMATORS, alert_volatility, annualised
from jobs.figures.alert_rules import AlertRule
from jobs.figures.alerts import Seen, publish_alerts, raise_alerts
from jobs.figures.hour_end import complete_hours
from jobs.figures.hours import HOUR, Hours, by_calendar
from jobs.runtime.context import JobContext

log = logging.getLogger(__name__)

WINDOW = 24  # candles of every estimator, including the alert's
ALERT = "alert"  # the estimator's name of the alert's volatility
_SPAN = timedelta(days=7)  # contains the window and a long weekend


def hourly_job(context: JobContext, as_of: datetime) -> int:
    """The work that is due at the full hour `as_of`; returns the number of stored volatilities.

    A run that follows a kill leaves the same rows as a single run. If a broker is temporarily
    unavailable, the other instruments get their figures first, and the error is raised last.
    """
    failure = complete_hours(context, as_of)
    with context.store.transaction() as cursor:
        take_turn(cursor, "hourly_job")
        instruments = all_instruments(cursor)
        found = by_calendar(cursor, instruments, as_of, _SPAN)
        quotes = closing_quotes(cursor, "1h", as_of)
        rows = [row for calendar, hours in found.items() for row in volatilities(calendar, hours, as_of)]
        write_volatility(cursor, rows)
        seen = {(row.symbol, ""): Seen(row.volatility, row.volatility) for row in rows if row.estimator == ALERT}
        raise_alerts(cursor, "volatility", seen, volatility_rules(context.settings), as_of, _message)
    _publish_prices(context, quotes, as_of, calendars_of(instruments))
    publish_alerts(context.store, context.bus, context.clock)
    for data_type, names in (("hourly_candles", [quote[0] for quote in quotes]), ("volatility", sorted({row.symbol for row in rows}))):
        if names:
            context.bus.publish_data_ready(data_type, names, as_of)
    if failure is not None:
        raise failure
    return len(rows)


def volatilities(calendar: str, hours: Hours, as_of: datetime) -> list[VolatilityRow]:
    """Every available estimate for the window that ends at `as_of`.

    Empty if the last hour of this calendar is older.
    """
    if hours.starts[-1] != int((as_of - HOUR).timestamp()):
        return []
    recent = hours.last(WINDOW + 1)
    candles = Candles.of(recent.opens, recent.highs, recent.lows, recent.closes, recent.breaks)
    windows = candles.windows(WINDOW)
    a_year = periods_per_year(calendar, "1h")
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
    counts = candles.follows[:, -ALERT_HOURS:].sum(axis=1)
    days_a_year = a_year / ALERT_HOURS
    return rows + [
        VolatilityRow(symbol, ALERT, as_of, float(value), float(value) * math.sqrt(days_a_year), int(count))
        for symbol, value, count in zip(hours.symbols, daily, counts, strict=True)
        if math.isfinite(value)
    ]


def _publish_prices(
    context: JobContext, quotes: Sequence[tuple[str, str, str, str]], as_of: datetime, calendars: Mapping[str, str]
) -> None:
    """Publish the closing prices of the hour that are newer than the latest prices."""
    limit = context.settings.source_max_ahead_seconds
    windows = open_windows("live", calendars, context.clock(), max_ahead_seconds=limit)
    latest = context.bus.latest_prices([quote[0] for quote in quotes])
    moment = format_time(as_of)
    ticks = [
        Tick(symbol, bid=bid, ask=ask, mid=mid, time=moment, source=CLOSING, occurrence=CLOSING_OCCURRENCE)
        for symbol, bid, ask, mid in quotes
        if symbol not in latest or _is_news(latest[symbol], mid, as_of, windows[symbol])
    ]
    admitted = admit_quotes(ticks, windows, _note_refused)
    if admitted:
        # Another run for the same hour may publish other instruments, under another batch id.
        which = zlib.crc32("".join(tick.instrument for tick in admitted).encode())
        context.bus.publish_prices(admitted, f"{CLOSING}@{moment}/{which}")


def _note_refused(tick: Tick, error: ValueError) -> None:
    log.warning("a closing price is not published", extra={"symbol": tick.instrument, "reason": str(error)})


def _is_news(latest: bytes, close: str, as_of: datetime, window: Window) -> bool:
    """True if the closing price is newer than the latest price, and different from it.

    A latest price outside the window, which an older version has published, does not count.
    A price is never moved back, nor published again only because its hour has ended.
    """
    price = orjson.loads(latest)["price"]
    time = parse_time(price["time"])
    if not window.contains(format_time(time)):
        return True
    return time < as_of - HOUR or (time < as_of and Decimal(price["mid"]) != Decimal(close))


def volatility_rules(settings: Settings) -> Callable[[Subject], AlertRule]:
    """The rule of an instrument: its own thresholds, or else the defaults."""
    default = (settings.volatility_threshold, settings.volatility_critical)
    own = settings.volatility_thresholds
    return lambda subject: AlertRule(*own.get(subject[0], default))


def _message(subject: Subject, seen: Seen, severity: str, threshold: float) -> str:
    return f"{subject[0]} volatility {seen.value:.2%} a day is above the {severity} threshold {threshold:.2%}"
