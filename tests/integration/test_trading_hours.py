"""The jobs take hours from the market's calendar: candles outside it change no figure."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from config.settings import Settings
from db.bus import Bus
from db.calendars import trading_hours
from db.candles import CandleRow
from db.instruments import all_instruments
from db.postgres import Store
from db.timestamps import parse_time
from jobs.figures.daily import daily_correlation_job
from jobs.figures.hourly import hourly_job
from jobs.figures.hours import Hours, by_calendar, on_clock
from jobs.runtime.context import JobContext
from tests.support.recordings import HOUR
from tests.support.store import candle, select
from tests.support.store import put_candles as put

FOLDER = Path(__file__).resolve().parent.parent / "data" / "weekend_bars"
PAIRS = ("EUR_CAD", "GBP_AUD")
MONDAY = datetime(2022, 8, 8, 10, tzinfo=UTC)
WEEK = timedelta(days=7)
CLOSE_TO_CLOSE = {"EUR_CAD": 0.0009097614636406884, "GBP_AUD": 0.0007911230604658447}


def bars(symbol: str) -> list[CandleRow]:
    with gzip.open(FOLDER / f"{symbol}_H1.csv.gz", "rt", newline="") as lines:
        return [
            candle(symbol, parse_time(line["time"]), (line["mid_o"], line["mid_h"], line["mid_l"], line["mid_c"]))
            for line in csv.DictReader(lines)
        ]


def flat(symbol: str, *starts: datetime) -> list[CandleRow]:
    return [candle(symbol, start, ("1.1", "1.2", "1.0", "1.15")) for start in starts]


def grids(store: Store, end: datetime, span: timedelta = WEEK) -> dict[str, Hours]:
    with store.transaction() as cursor:
        return by_calendar(cursor, all_instruments(cursor), end, span)


def starts(hours: Hours) -> list[datetime]:
    return [datetime.fromtimestamp(start, UTC) for start in hours.starts.tolist()]


@pytest.mark.parametrize("symbols", [PAIRS, (*PAIRS, "AUD_NZD")])
def test_weekend_bars_of_one_pair_leave_volatility_of_others_unchanged(
    settings: Settings, bus: Bus, store: Store, symbols: tuple[str, ...]
) -> None:
    put(store, [row for symbol in symbols for row in bars(symbol)])
    hourly_job(JobContext(settings, bus, store, lambda: MONDAY + timedelta(seconds=10)), MONDAY)
    rows = select(store, "SELECT symbol, estimator, volatility FROM volatility WHERE symbol = ANY (%s) AND time = %s", list(PAIRS), MONDAY)
    assert len(rows) == 14
    found = {symbol: value for symbol, estimator, value in rows if estimator == "close_to_close"}
    assert found == pytest.approx(CLOSE_TO_CLOSE, rel=1e-12)


def test_weekend_bars_leave_correlation_unchanged(settings: Settings, bus: Bus, store: Store) -> None:
    midnight = datetime(2022, 8, 8, tzinfo=UTC)
    everything = [row for symbol in (*PAIRS, "AUD_NZD") for row in bars(symbol)]
    trading = set(trading_hours("fx", midnight - 30 * timedelta(days=1), midnight + WEEK))
    assert any(parse_time(row.start_time) not in trading for row in everything)
    work = JobContext(settings, bus, store, lambda: midnight + timedelta(seconds=10))
    query = "SELECT method, symbol1, symbol2, correlation, observations FROM correlations ORDER BY 1, 2, 3"
    put(store, [row for row in everything if parse_time(row.start_time) in trading])
    daily_correlation_job(work, midnight)
    before = select(store, query)
    put(store, everything)
    daily_correlation_job(work, midnight)
    assert select(store, query) == before != []


def test_grid_of_a_kind_lies_in_its_calendar(store: Store) -> None:
    put(store, bars("AUD_NZD"))
    hours = grids(store, MONDAY)["fx"]
    assert starts(hours) == trading_hours("fx", MONDAY - WEEK, MONDAY)
    weekend = [start for start, apart in zip(starts(hours), hours.breaks, strict=True) if apart]
    assert weekend == [datetime(2022, 8, 7, 21, tzinfo=UTC)]
    assert len(select(store, "SELECT FROM candles WHERE symbol = 'AUD_NZD'")) == len(bars("AUD_NZD")), "the candles stay stored"


def test_hour_without_any_candle_is_a_break(store: Store) -> None:
    """An outage of everything, in the middle of a Wednesday."""
    outage = datetime(2022, 8, 3, 12, tzinfo=UTC)
    rows = [row for symbol in PAIRS for row in bars(symbol)]
    put(store, [row for row in rows if parse_time(row.start_time) != outage])
    hours = grids(store, MONDAY)["fx"]
    assert outage not in starts(hours)
    assert hours.breaks[starts(hours).index(outage + HOUR)]


def test_hour_with_a_candle_of_one_pair_is_missing_for_another(store: Store) -> None:
    at = datetime(2022, 8, 3, 12, tzinfo=UTC)
    put(store, bars("EUR_CAD") + [row for row in bars("GBP_AUD") if parse_time(row.start_time) != at])
    hours = grids(store, MONDAY)["fx"]
    column = starts(hours).index(at)
    assert np.isnan(hours.closes[:, column]).tolist() == [False, True]
    assert not hours.breaks[column + 1]


def test_equities_have_hours_of_their_exchange_alone(store: Store) -> None:
    """New York: Wednesday, Thanksgiving, and the early Friday of 2025."""
    wednesday = datetime(2025, 11, 26, tzinfo=UTC)
    put(store, flat("AAPL", *(wednesday + number * HOUR for number in range(72))) + flat("BTCUSDT", wednesday + 30 * HOUR))
    found = grids(store, wednesday + 3 * timedelta(days=1))
    assert [f"{start:%d %H}" for start in starts(found["equity"])] == [
        *(f"26 {hour}" for hour in range(14, 21)),
        *(f"28 {hour}" for hour in range(14, 18)),
    ]
    assert starts(found["crypto"]) == [wednesday + 30 * HOUR]


def test_instrument_with_weekend_bars_alone_is_in_no_grid(store: Store) -> None:
    saturday = datetime(2022, 8, 6, 12, tzinfo=UTC)
    put(store, flat("EUR_CAD", saturday, saturday + HOUR) + flat("GBP_AUD", saturday - 24 * HOUR))
    assert grids(store, saturday + 5 * HOUR)["fx"].symbols == ("GBP_AUD",)
    put(store, flat("AAPL", saturday))
    assert set(grids(store, saturday + 5 * HOUR)) == {"fx"}


def test_grid_of_the_clock_has_all_hours_and_no_weekend_bar(store: Store) -> None:
    sunday = datetime(2022, 8, 7, 12, tzinfo=UTC)
    put(store, bars("AUD_NZD") + flat("BTCUSDT", sunday))
    with store.transaction() as cursor:
        hours = on_clock(cursor, all_instruments(cursor), MONDAY, 48)
    assert starts(hours) == [MONDAY - number * HOUR for number in range(48, 0, -1)]
    trading = set(trading_hours("fx", MONDAY - 2 * WEEK, MONDAY))
    known = dict(zip(hours.symbols, ~np.isnan(hours.closes), strict=True))
    assert known["AUD_NZD"].tolist() == [start in trading for start in starts(hours)]
    assert known["BTCUSDT"].tolist() == [start == sunday for start in starts(hours)]
