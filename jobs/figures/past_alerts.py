"""State of the alert rules after a made-up past, so that a first start sends no burst of alerts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from db.alerts import EpisodeRow, Subject, write_episodes
from db.instruments import Instrument
from db.postgres import Cursor
from jobs.analytics.volatility import alert_volatility
from jobs.figures.alert_rules import AlertRule, Episode, judge
from jobs.figures.hours import HOUR, Hours, by_calendar

PAST_HOURS = 48  # that the rules read
_SPAN = timedelta(days=9)  # contains these hours, the window of the first one, and a long weekend


def read_past_volatility(cursor: Cursor, instruments: Sequence[Instrument], rule_of: Callable[[Subject], AlertRule], now: datetime) -> None:
    """Judge the volatility of the last 48 full hours before `now`; store the states, no alert.

    The hours of these instruments must be in the store.
    """
    end = now.replace(minute=0, second=0, microsecond=0)
    for hours in by_calendar(cursor, instruments, end, _SPAN).values():
        write_episodes(cursor, "volatility", past_episodes(hours, rule_of, end - PAST_HOURS * HOUR))


def past_episodes(hours: Hours, rule_of: Callable[[Subject], AlertRule], start: datetime) -> dict[Subject, EpisodeRow]:
    """The state of each rule after the hours that end later than `start`."""
    found: dict[Subject, EpisodeRow] = {}
    for place, began in enumerate(hours.starts):
        moment = datetime.fromtimestamp(int(began), UTC) + HOUR
        if moment <= start:
            continue
        values = alert_volatility(hours.closes[:, : place + 1], breaks=hours.breaks[: place + 1])
        for symbol, value in zip(hours.symbols, values, strict=True):
            if math.isfinite(value):
                subject = (symbol, "")
                row = found.get(subject)
                before = Episode() if row is None else Episode(row.severity, row.alerted, row.told)
                after = judge(rule_of(subject), before, float(value), moment).episode
                found[subject] = EpisodeRow(after.severity, after.alerted, after.told, moment)
    return found
