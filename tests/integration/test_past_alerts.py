"""The alert rules read a made-up past without an alert; later hours are judged as usual."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from config.settings import Settings
from db.alerts import Subject, read_episodes
from db.bus import Bus
from db.calendars import trading_hours
from db.candles import candles_between, latest_closes
from db.instruments import Instrument, all_instruments
from db.postgres import Cursor, Store
from jobs.feeding import make_pasts
from jobs.feeds.synthetic_past import make_past
from jobs.figures.alert_rules import AlertRule, Episode, judge
from jobs.figures.past_alerts import read_past_volatility
from jobs.runtime.context import JobContext

NOW = datetime(2026, 3, 6, 12, 34, tzinfo=UTC)
END = datetime(2026, 3, 6, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = AlertRule(0.02, 0.04)


def rule_of(subject: Subject) -> AlertRule:
    return RULE


def expected_episodes(cursor: Cursor, instruments: Sequence[Instrument]) -> dict[str, tuple[Episode, datetime]]:
    """Symbol -> state and last hour, with the standard deviations of pandas."""
    start = END - timedelta(days=9)
    table = pd.DataFrame(candles_between(cursor, "1h", start, END), columns=["symbol", "start", "open", "high", "low", "close"])
    closes = table.pivot(index="start", columns="symbol", values="close")
    found = {}
    for instrument in instruments:
        hours = [int(hour.timestamp()) for hour in trading_hours(instrument.calendar, start, END)]
        series = np.log(closes[instrument.symbol].loc[hours])
        returns = series.diff().where(series.index.to_series().diff() == 3600)
        volatility = returns.rolling(24, min_periods=20).std() * np.sqrt(24)
        episode, last = Episode(), END
        for hour, value in volatility.dropna().items():
            moment = datetime.fromtimestamp(int(str(hour)), UTC) + HOUR
            if moment > END - 48 * HOUR:
                episode, last = judge(RULE, episode, float(value), moment).episode, moment
        found[instrument.symbol] = (episode, last)
    return found


def test_rules_have_read_48_hours_of_the_past(store: Store) -> None:
    with store.transaction() as cursor:
        instruments = [each for each in all_instruments(cursor) if each.symbol in ("EUR_USD", "BTCUSDT", "ADAUSDT", "AAPL", "TSLA")]

    def read(cursor: Cursor, made: Sequence[Instrument]) -> None:
        read_past_volatility(cursor, made, rule_of, NOW)

    assert make_past(store, instruments, 7, NOW, threading.Event(), then=read) == 5 * 1440
    with store.transaction() as cursor:
        found = read_episodes(cursor, "volatility")
        expected = expected_episodes(cursor, instruments)
        cursor.execute("SELECT count(*) FROM alerts")
        assert cursor.fetchone() == (0,)
    assert {symbol: (Episode(row.severity, row.alerted, row.told), row.as_of) for (symbol, _), row in found.items()} == expected
    assert found["AAPL", ""].severity is not None, "a share moves by more than 2 % a day"
    assert found["EUR_USD", ""].severity is None


def test_past_that_is_not_committed_leaves_no_state(store: Store) -> None:
    with store.transaction() as cursor:
        instruments = all_instruments(cursor)[:1]

    def read(cursor: Cursor, made: Sequence[Instrument]) -> None:
        read_past_volatility(cursor, made, rule_of, NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_past(store, instruments, 7, NOW, threading.Event(), then=read)
    with store.transaction() as cursor:
        assert read_episodes(cursor, "volatility") == {}
        cursor.execute("SELECT count(*) FROM candles")
        assert cursor.fetchone() == (0,)


def test_next_start_makes_the_past_of_an_added_instrument(settings: Settings, bus: Bus, store: Store) -> None:
    context = JobContext(settings, bus, store, lambda: NOW)
    with store.transaction() as cursor:
        first = [each for each in all_instruments(cursor) if each.symbol in ("EUR_USD", "GBP_USD")]
        cursor.execute(
            "INSERT INTO instruments (symbol, name, kind, precision, source, currency, calendar, volatility, changed)"
            " VALUES ('CARBON', 'Carbon', 'other', 2, 'synthetic', 'USD', 'crypto', 1.5, 1)"
        )
        [carbon] = [each for each in all_instruments(cursor) if each.symbol == "CARBON"]
    make_pasts(context, first, context.stop)
    make_pasts(context, [*first, carbon], context.stop)
    make_pasts(context, [*first, carbon], context.stop)
    with store.transaction() as cursor:
        cursor.execute("SELECT symbol, count(*) FROM candles GROUP BY symbol ORDER BY symbol")
        assert cursor.fetchall() == [("CARBON", 1440), ("EUR_USD", 1440), ("GBP_USD", 1440)]
        assert latest_closes(cursor)["CARBON"] == "100.00"
        cursor.execute("SELECT count(*) FROM alerts")
        assert cursor.fetchone() == (0,)
        episodes = read_episodes(cursor, "volatility")
    assert {symbol for symbol, _ in episodes} == {"CARBON", "EUR_USD", "GBP_USD"}
    assert episodes["CARBON", ""].severity == "critical"
