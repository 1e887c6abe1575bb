"""The number of periods of a year."""

from __future__ import annotations

from datetime import timedelta

import pytest

from db.intervals import INTERVALS
from jobs.analytics.periods import periods_per_year
from tests.support.recordings import load


@pytest.mark.parametrize(
    ("calendar", "interval", "periods"),
    [("fx", "1h", 120 * 365 / 7), ("fx", "1d", 5 * 365 / 7), ("fx", "1m", 7200 * 365 / 7), ("equity", "1h", 1638), ("equity", "1m", 98280),
     ("equity", "1d", 252), ("crypto", "1h", 8760), ("crypto", "4h", 2190), ("crypto", "1d", 365)],
)  # fmt: skip
def test_year_has_the_expected_number_of_periods(calendar: str, interval: str, periods: float) -> None:
    assert periods_per_year(calendar, interval) == pytest.approx(periods, rel=1e-15)


def test_recorded_half_year_has_the_expected_number_of_hours() -> None:
    starts = load().starts
    years = (starts[-1] - starts[0]) / timedelta(days=365)
    assert len(starts) / years == pytest.approx(periods_per_year("fx", "1h"), rel=0.01)


def test_unknown_calendars_and_intervals_are_errors() -> None:
    for calendar in ("bond", ""):
        with pytest.raises(KeyError):
            periods_per_year(calendar, "1h")
    assert "2h" not in INTERVALS
    with pytest.raises(KeyError):
        periods_per_year("fx", "2h")
