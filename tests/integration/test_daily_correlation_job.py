"""The daily job on real candles: matrices against pandas and scikit-learn, and its messages."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from api.hub.channels import CHANNELS
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.candles import CandleRow
from db.correlations import METHODS, constants_of
from db.postgres import Store
from db.timestamps import format_time
from jobs.figures.daily import MINIMUM, daily_correlation_job
from jobs.runtime.context import JobContext
from tests.support.oracles import hourly_returns
from tests.support.recordings import recorded
from tests.support.store import HOUR, candle, put_candles, select

PAIRS = ("EUR_GBP", "EUR_USD", "GBP_JPY", "GBP_USD", "NZD_USD", "USD_JPY")
MIDNIGHT = datetime(2021, 9, 15, tzinfo=UTC)
DAY = timedelta(days=1)
START = MIDNIGHT - 40 * DAY


@pytest.fixture
def work(settings: Settings, bus: Bus, store: Store) -> JobContext:
    return JobContext(settings, bus, store, lambda: MIDNIGHT + 10 * DAY)


def watching(work: JobContext, threshold: float) -> JobContext:
    return replace(work, settings=replace(work.settings, correlation_change_threshold=threshold))


def stored(store: Store, method: str, as_of: datetime = MIDNIGHT) -> dict[tuple[str, str], tuple[float | None, int]]:
    rows = select(
        store, "SELECT symbol1, symbol2, correlation, observations FROM correlations WHERE time = %s AND method = %s", as_of, method
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def constants(store: Store) -> frozenset[str]:
    with store.transaction() as cursor:
        return constants_of(cursor, MIDNIGHT)


def published(bus: Bus, channel: str) -> list[dict[str, Any]]:
    bodies = [orjson.loads(entry.body) for entry in bus.backwards(channel)][::-1]
    assert not any(CHANNELS[channel].schema.validate(body) for body in bodies)
    return bodies


def oracle(method: str, returns: pd.DataFrame) -> dict[tuple[str, str], tuple[float | None, int]]:
    """Return the values of all pairs, the smaller name first."""
    known = returns.notna().astype(int)
    counts = known.T @ known
    matrix = {"ewma": _ewma, "shrunk": _shrunk}[method](returns) if method in ("ewma", "shrunk") else returns.corr(method, MINIMUM)  # type: ignore[arg-type]
    complete = len(returns.dropna())
    found: dict[tuple[str, str], tuple[float | None, int]] = {}
    for place, one in enumerate(returns.columns):
        for other in returns.columns[place + 1 :]:
            value, count = float(matrix[one][other]), complete if method == "shrunk" else int(counts[one][other])
            found[one, other] = (None if math.isnan(value) or count < MINIMUM else value, count)
    return found


def _ewma(returns: pd.DataFrame) -> pd.DataFrame:
    weights = pd.Series(0.94 ** np.arange(len(returns) - 1, -1, -1.0), returns.index)
    result = pd.DataFrame(index=returns.columns, columns=returns.columns, dtype=float)
    for one in returns:
        for other in returns:
            both = returns[[one, other]].dropna().to_numpy() if one != other else returns[[one, one]].dropna().to_numpy()
            weight = weights[returns[[one, other]].notna().all(axis=1)].to_numpy()
            products, squares1, squares2 = (both[:, a] * both[:, b] for a, b in ((0, 1), (0, 0), (1, 1)))
            if spread := (weight @ squares1) * (weight @ squares2):
                result.loc[one, other] = weight @ products / math.sqrt(spread)
    return result


def _shrunk(returns: pd.DataFrame) -> pd.DataFrame:
    from sklearn.covariance import LedoitWolf

    complete = returns.dropna()
    covariance = LedoitWolf().fit((complete - complete.mean()) / complete.std(ddof=0)).covariance_
    scale = np.sqrt(np.diag(covariance))
    return pd.DataFrame(covariance / np.outer(scale, scale), returns.columns, returns.columns)


def with_holes(rows: list[CandleRow], share: float) -> list[CandleRow]:
    random = np.random.default_rng(3)
    return [row for row in rows if random.random() >= share]


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_correlations_equal_those_of_pandas(work: JobContext, store: Store, share: float) -> None:
    rows = with_holes(recorded(PAIRS, START, MIDNIGHT + DAY), share)
    put_candles(store, rows)
    assert daily_correlation_job(work, MIDNIGHT) == 15 * len(METHODS)
    returns = hourly_returns(rows, MIDNIGHT)
    for method in METHODS:
        ours, theirs = stored(store, method), oracle(method, returns)
        assert ours.keys() == theirs.keys()
        for pair, (value, count) in theirs.items():
            assert ours[pair][0] == pytest.approx(value, rel=0, abs=1e-9), (method, pair)
            assert ours[pair][1] == count, (method, pair)


def test_pairs_with_few_hours_in_common_are_not_available(work: JobContext, store: Store) -> None:
    """One instrument is new, and one trades only while the others do not."""
    rows = recorded(["EUR_USD", "GBP_USD"], START, MIDNIGHT)
    few = recorded(["USD_JPY"], MIDNIGHT - 40 * HOUR, MIDNIGHT)
    saturday = datetime(2021, 9, 11, tzinfo=UTC)
    apart = [candle("BTCUSDT", saturday + number * HOUR, ("9", "9", "9", str(9 + number % 5))) for number in range(20)]
    put_candles(store, rows + few + apart)
    daily_correlation_job(work, MIDNIGHT)
    pearson = stored(store, "pearson")
    assert pearson["EUR_USD", "GBP_USD"][0] is not None
    assert pearson["EUR_USD", "USD_JPY"] == (None, 39)
    assert pearson["BTCUSDT", "EUR_USD"] == (None, 0)
    assert len(pearson) == 6, "instruments without a candle are omitted"
    assert select(store, "SELECT * FROM correlations WHERE correlation NOT BETWEEN -1 AND 1 OR correlation = 'NaN'") == []


def test_constant_prices_have_no_correlation(work: JobContext, store: Store, bus: Bus) -> None:
    flat = [candle("USD_JPY", MIDNIGHT - number * HOUR, ("1", "1", "1", "1")) for number in range(1, 300)]
    put_candles(store, [*recorded(["EUR_USD"], START, MIDNIGHT), *flat])
    daily_correlation_job(work, MIDNIGHT)
    assert {method: stored(store, method)["EUR_USD", "USD_JPY"][0] for method in METHODS} == dict.fromkeys(METHODS)
    assert constants(store) == {"USD_JPY"}
    assert "NaN" not in str(published(bus, topics.DATA_READY))


@pytest.mark.parametrize(("closes", "constant"), [(("1",), True), (("1", "2"), True), (("1", "2", "3"), False), (("1", "2", "4"), True)])
def test_instrument_needs_two_different_returns_for_a_variance(
    work: JobContext, store: Store, closes: tuple[str, ...], constant: bool
) -> None:
    few = [candle("USD_JPY", MIDNIGHT - (9 - number) * HOUR, (close,) * 4) for number, close in enumerate(closes)]
    put_candles(store, [*recorded(["EUR_USD"], START, MIDNIGHT), *few])
    daily_correlation_job(work, MIDNIGHT)
    assert constants(store) == ({"USD_JPY"} if constant else set())
    daily_correlation_job(work, MIDNIGHT)
    assert constants(store) == ({"USD_JPY"} if constant else set()), "a repeated run leaves the same rows"


def test_data_ready_is_published_for_the_matrix(work: JobContext, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, MIDNIGHT))
    daily_correlation_job(work, MIDNIGHT)
    (ready,) = published(bus, topics.DATA_READY)
    assert (ready["data_type"], ready["instruments"], ready["as_of"]) == ("correlation_matrix", list(PAIRS), format_time(MIDNIGHT))
    assert published(bus, topics.CORRELATION_ALERTS) == [], "there is no day before"


@pytest.mark.parametrize("symbols", [[], ["EUR_USD"]])
def test_job_with_fewer_than_two_instruments_succeeds(work: JobContext, store: Store, bus: Bus, symbols: list[str]) -> None:
    put_candles(store, recorded(symbols, START, MIDNIGHT))
    assert daily_correlation_job(work, MIDNIGHT) == 0
    assert published(bus, topics.DATA_READY) == []


def test_change_between_days_is_an_alert(work: JobContext, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, MIDNIGHT + DAY))
    threshold = 0.005
    for day in (0, 1):
        daily_correlation_job(watching(work, threshold), MIDNIGHT + day * DAY)
    before, after = (stored(store, "pearson", MIDNIGHT + day * DAY) for day in (0, 1))
    expected = {}
    for pair, (value, _) in after.items():
        previous = before[pair][0]
        assert value is not None
        assert previous is not None
        if (change := abs(value - previous)) > threshold:
            severe = change > 2 * threshold
            expected[pair] = (value, previous, 2 * threshold if severe else threshold, "critical" if severe else "warning")
    alerts = published(bus, topics.CORRELATION_ALERTS)
    assert {
        (each["instrument1"], each["instrument2"]): tuple(
            each[name] for name in ("correlation", "previous_correlation", "threshold", "severity")
        )
        for each in alerts
    } == expected
    assert {each["severity"] for each in alerts} == {"warning", "critical"}
    assert all(each["change"] == each["correlation"] - each["previous_correlation"] for each in alerts)
    daily_correlation_job(watching(work, threshold), MIDNIGHT + DAY)
    assert published(bus, topics.CORRELATION_ALERTS) == alerts, "a run for the same time does not evaluate alerts again"


def test_day_after_a_missed_day_makes_no_alert(work: JobContext, store: Store, bus: Bus) -> None:
    put_candles(store, recorded(PAIRS, START, MIDNIGHT + 2 * DAY))
    for day in (0, 2):
        daily_correlation_job(watching(work, 1e-9), MIDNIGHT + day * DAY)
    assert published(bus, topics.CORRELATION_ALERTS) == []


def test_matrix_computed_again_replaces_the_first(work: JobContext, store: Store) -> None:
    put_candles(store, recorded(["EUR_USD", "GBP_USD", "USD_JPY"], START, MIDNIGHT))
    daily_correlation_job(work, MIDNIGHT)
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM candles WHERE symbol = 'USD_JPY'")
    daily_correlation_job(work, MIDNIGHT)
    assert {method: len(stored(store, method)) for method in METHODS} == dict.fromkeys(METHODS, 1)
