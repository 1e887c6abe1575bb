"""Runs wait for complete hours and fetch OANDA's candles; a stop leaves no partial result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.pacing import Stopped
from config.settings import Settings, SourceSpec
from db import topics
from db.bus import Bus
from db.messages import Tick
from db.postgres import Store
from db.timestamps import format_time
from jobs.feeds.base import SourceError
from jobs.figures import hour_end
from jobs.figures.daily import daily_correlation_job
from jobs.figures.hourly import hourly_job
from jobs.runtime.context import JobContext
from jobs.runtime.runs import JobFailed, Runner, run_once
from jobs.scheduler import TIMED
from jobs.store.queues import PriceQueue
from jobs.store.rollup import RollUp
from jobs.store.writer import BatchRule, Writer
from tests.standins.oanda import OandaStandIn
from tests.support.oracles import fx_volatility
from tests.support.recordings import FOLDER, recorded
from tests.support.store import HOUR, candle, put_candles, select

NOON = datetime(2021, 9, 15, 12, tzinfo=UTC)
START = datetime(2021, 9, 1, tzinfo=UTC)


@pytest.fixture
def work(settings: Settings, bus: Bus, store: Store) -> JobContext:
    return JobContext(settings, bus, store, lambda: NOON + timedelta(seconds=30))


def estimates(store: Store) -> dict[tuple[str, str], float]:
    return {(row[0], row[1]): row[2] for row in select(store, "SELECT symbol, estimator, volatility FROM volatility")}


# prices and candles that are not stored yet


def test_run_waits_for_prices_on_the_bus(work: JobContext, store: Store, bus: Bus) -> None:
    put_candles(store, [candle("EUR_USD", NOON - number * HOUR, ("1.1", "1.1", "1.1", "1.1")) for number in range(2, 40)])
    moment = format_time(NOON - timedelta(minutes=5))
    bus.publish_prices([Tick("EUR_USD", "1.2", "1.2", "1.2", moment, "oanda")])
    run = threading.Thread(target=hourly_job, args=(work, NOON))
    run.start()
    run.join(0.7)
    assert run.is_alive(), "the last hour is not there yet"
    assert estimates(store) == {}
    stop_writing = threading.Event()
    others = [
        threading.Thread(target=Writer(bus, store, BatchRule(), PriceQueue(bus)).run, args=(stop_writing,)),
        threading.Thread(target=RollUp(store, bus, work.clock).run, args=(stop_writing,)),
    ]
    for other in others:
        other.start()
    run.join(60)
    stop_writing.set()
    for other in others:
        other.join(60)
    assert estimates(store)["EUR_USD", "close_to_close"] > 0.01


def test_run_waits_for_the_last_seconds_of_the_hour(work: JobContext, bus: Bus) -> None:
    looks: list[datetime] = []

    def clock() -> datetime:
        looks.append(NOON + timedelta(seconds=len(looks)))
        return looks[-1]

    assert hour_end.complete_hours(replace(work, clock=clock), NOON) is None
    assert looks[-1] >= NOON + timedelta(seconds=3)


def test_run_waits_for_candles_for_a_limited_time(work: JobContext, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hour_end, "CANDLE_WAIT_SECONDS", 0.5)
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO candle_marks VALUES ('EUR_USD', %s)", (NOON - HOUR,))
    assert hour_end.complete_hours(work, NOON) is None


@pytest.mark.parametrize("minute", [NOON, NOON - timedelta(days=3)])
def test_run_does_not_wait_for_marks_of_other_times(
    work: JobContext, store: Store, monkeypatch: pytest.MonkeyPatch, minute: datetime
) -> None:
    monkeypatch.setattr(hour_end, "_pause", lambda work: pytest.fail("waits"))
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO candle_marks VALUES ('EUR_USD', %s)", (minute,))
    assert hour_end.complete_hours(work, NOON) is None


@pytest.mark.parametrize("name", ["hourly_job", "daily_correlation_job"])
def test_stop_during_the_wait_is_no_success(work: JobContext, store: Store, name: str) -> None:
    put_candles(store, recorded(["EUR_USD", "GBP_USD"], START, NOON))
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO candle_marks VALUES ('EUR_USD', %s)", (NOON - HOUR,))
    work.stop.set()
    with pytest.raises(JobFailed, match="stopped"):
        run_once(TIMED[name], work, NOON)
    assert select(store, "SELECT outcome, error FROM job_runs") == [("failed", Stopped.__name__)]
    with store.transaction() as cursor:
        cursor.execute("TRUNCATE candle_marks")
    Runner(TIMED["hourly_job"], replace(work, stop=threading.Event())).catch_up()
    assert select(store, "SELECT outcome FROM job_runs WHERE job = 'hourly_job' ORDER BY id DESC LIMIT 1") == [("succeeded",)]


def test_two_concurrent_runs_leave_the_rows_of_one(work: JobContext, store: Store, bus: Bus) -> None:
    """A run by hand beside the scheduler's."""
    put_candles(store, recorded(["EUR_USD", "GBP_USD", "USD_JPY"], START, NOON))
    eager = replace(work, settings=replace(work.settings, volatility_threshold=0.0001, volatility_critical=0.5))
    midnight = NOON.replace(hour=0)
    jobs: list[Callable[[], int]] = [lambda: hourly_job(eager, NOON), lambda: daily_correlation_job(eager, midnight)] * 4
    rows: list[int] = []
    threads = [threading.Thread(target=lambda job=job: rows.append(job())) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(rows) == [12] * 4 + [21] * 4
    assert len(list(bus.backwards(topics.VOLATILITY_ALERTS))) == 3
    assert len(list(bus.backwards(topics.PRICES))) == 3


# OANDA's own candles


@pytest.fixture
def broker() -> Iterator[OandaStandIn]:
    files = {(symbol, "H1"): FOLDER / f"{symbol}_H1.csv.gz" for symbol in ("EUR_USD", "USD_JPY")}
    with OandaStandIn(candles=files, now=format_time(NOON + timedelta(seconds=25))) as server:
        yield server


@pytest.fixture
def fed(work: JobContext, store: Store, broker: OandaStandIn, monkeypatch: pytest.MonkeyPatch) -> JobContext:
    """JobContext with OANDA as a source, and a store with all but its last three hours."""
    monkeypatch.setattr("jobs.feeds.http_json.retry_delay", lambda attempt, jitter: 0.01)
    monkeypatch.setattr(hour_end, "CANDLE_WAIT_SECONDS", 0.3)  # nobody stores what the runs publish
    put_candles(store, recorded(["EUR_USD", "USD_JPY"], START, NOON - 3 * HOUR))
    settings = replace(
        work.settings,
        sources=(SourceSpec("oanda"),),
        oanda_api_token=broker.token,
        oanda_account_id=broker.account,
        oanda_rest_url=broker.url,
    )
    return replace(work, settings=settings)


@pytest.mark.parametrize("kept", [timedelta(0), timedelta(days=10)])
def test_fetch_begins_at_the_last_stored_candle(fed: JobContext, store: Store, kept: timedelta) -> None:
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM candles WHERE start_time >= %s", (START + kept,))
    hourly_job(fed, NOON)
    assert_as_recorded(store)


def assert_as_recorded(store: Store) -> None:
    expected = fx_volatility(recorded(["EUR_USD", "USD_JPY"], START, NOON), NOON)
    assert estimates(store) == {key: pytest.approx(figures[0], rel=1e-9) for key, figures in expected.items()}


def test_last_hours_are_fetched_again(fed: JobContext, store: Store, broker: OandaStandIn) -> None:
    hourly_job(fed, NOON)
    assert_as_recorded(store)
    assert broker.state()["candles_requests"] == 20


def test_unavailable_broker_fails_the_run_which_is_retried(fed: JobContext, store: Store, bus: Bus, broker: OandaStandIn) -> None:
    """And what does not depend on it is there at once."""
    put_candles(store, [candle("BTCUSDT", NOON - number * HOUR, ("9", "10", "8", "9.5")) for number in range(1, 40)])
    broker.control(do="refuse", status=503, times=10, path="candles")  # two runs, five requests each
    with pytest.raises(SourceError, match="503"):
        hourly_job(fed, NOON)
    assert {symbol for symbol, _ in estimates(store)} == {"BTCUSDT"}
    run_once(replace(TIMED["hourly_job"], retry_seconds=0.01), fed, NOON)
    assert select(store, "SELECT outcome, left(error, 21) FROM job_runs ORDER BY id") == [
        ("failed", "SourceError: HTTP 503"),
        ("succeeded", None),
    ]
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM volatility WHERE symbol = 'BTCUSDT'")
    assert_as_recorded(store)


def test_own_candles_replace_those_that_the_broker_refuses(
    fed: JobContext, store: Store, broker: OandaStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    own = recorded(["EUR_USD", "USD_JPY"], NOON - 3 * HOUR, NOON)
    put_candles(store, [replace(row, source="ticks") for row in own])
    broker.control(do="refuse", status=401, times=100, path="candles")
    hourly_job(fed, NOON)
    assert_as_recorded(store)
    refused = [record for record in caplog.records if "no candles from OANDA" in record.message]
    assert len(refused) == 20
    assert broker.token not in caplog.text


def test_candle_of_the_broker_replaces_our_own(fed: JobContext, store: Store) -> None:
    own: list[Any] = recorded(["EUR_USD", "USD_JPY"], NOON - HOUR, NOON)
    put_candles(store, [replace(row, source="ticks", mid=("1", "9", "1", "5")) for row in own])
    hourly_job(fed, NOON)
    assert_as_recorded(store)


def test_daily_job_fetches_the_last_hour_too(fed: JobContext, store: Store) -> None:
    midnight = NOON.replace(hour=0)
    with store.transaction() as cursor:
        cursor.execute("DELETE FROM candles WHERE start_time >= %s", (midnight - 3 * HOUR,))
    daily_correlation_job(fed, midnight)
    assert select(store, "SELECT max(end_time) FROM candles WHERE end_time <= %s", midnight) == [(midnight,)]
    assert select(store, "SELECT observations FROM correlations WHERE method = 'pearson'") == [
        (len(recorded(["EUR_USD"], START, midnight)) - 3,)  # without the first hour and those after two weekends
    ]
