"""The metrics of the jobs process against an exchange and the rows of the store.

One process has all duties and another one none, for all tests. Oracles: the trades of the exchange,
counted and summed here as decimals, and `count(*)` of the tables.
"""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.cron import CronTrigger

from config.metrics import METRICS
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.job_runs import begin_run
from db.postgres import Store, StoreError
from health.reports import read_processes
from jobs.measures.counts import TaskCounts
from jobs.measures.store import StoreFigures
from jobs.metrics import PUBLISHED
from jobs.runtime.context import JobContext, Timed
from jobs.runtime.runs import run_once
from jobs.scheduler import TIMED
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.support.duties import is_shared
from tests.support.exported import Values, of, read
from tests.support.ports import free_port
from tests.support.processes import Running, books, jobs, observer
from tests.support.store import select

TRADES = 4_000
DUTIES = ["source:binance", "write:0", "gaps:binance", "roll_up", "publish_alerts", "timed"]
STATES = {"connecting", "live", "stale", "backing_off", "down", "ended"}
STANDBY_ROWS = {name for name, row in METRICS.items() if not row.acting}


@dataclass(frozen=True, slots=True)
class Place:
    """The running processes, the exchange, and the store."""

    exchange: BinanceStandIn
    acting: int  # port of the process that acts
    standby: int
    settings: Settings
    bus: Bus
    store: Store
    began: float  # Unix seconds

    def values(self) -> Values:
        return read(self.acting)


@pytest.fixture(scope="module")
def place(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Both processes, once every trade of the exchange is stored."""
    folder = tmp_path_factory.mktemp("jobs")
    store = Store(str(shared_settings.database_url))
    bus = Bus(str(shared_settings.redis_url), lambda: datetime.now(UTC))
    first, second = free_port(), free_port()
    with ExitStack() as stack:
        stack.callback(store.close)
        stack.callback(bus.close)
        exchange = stack.enter_context(BinanceStandIn(folder, trades=TRADES, speed=None, waits=True))
        variables = {"SOURCES": "binance", "BATCH_TIMEOUT": "50", **exchange.variables}
        began = datetime.now(UTC).timestamp()
        stack.enter_context(jobs(shared_settings, folder / "first.log", METRICS_PORT=str(first), **variables))
        until(lambda: is_shared(bus, DUTIES, 1), 60, "all duties of the first process")
        # It may take a duty that is within the share of the first one.
        variables |= {"METRICS_PORT": str(second), "JOBS_DUTIES": "timed"}
        stack.enter_context(jobs(shared_settings, folder / "second.log", **variables))
        until(lambda: len(read_processes(bus, datetime.now(UTC)).expected()) == 2, 60, "the report of the second process")
        until(lambda: exchange.state()["connections"] > 0, 60, "a connection to the exchange")
        exchange.control("go")
        until(lambda: select(store, "SELECT count(*) FROM raw_trades")[0][0] == TRADES, 60, "every trade stored")
        until(lambda: bus.unstored() == bus.unstored(topics.TRADES) == 0, 60, "an empty bus")
        yield Place(exchange, first, second, shared_settings, bus, store, began)


def counts(place: Place, table: str, column: str) -> dict[str, int]:
    return dict(select(place.store, f"SELECT {column}, count(*)::int FROM {table} GROUP BY 1"))  # noqa: S608


def test_established_names_have_their_labels_and_the_trades_of_the_exchange(place: Place) -> None:
    values, trades = place.values(), place.exchange.expected()
    assert of(values, "trades_ingested_total", "symbol") == Counter(trade.symbol for trade in trades)
    [last] = of(values, "last_ingestion_timestamp").values()
    assert place.began < last <= datetime.now(UTC).timestamp()
    assert of(values, "tickwire_source_last_ingestion_timestamp_seconds", "source") == {"binance": last}


def test_quantities_and_prices_are_those_of_exchange_and_store(place: Place) -> None:
    values = place.values()
    sums: dict[str, Decimal] = {}
    for trade in place.exchange.expected():
        sums[trade.symbol] = sums.get(trade.symbol, Decimal(0)) + Decimal(trade.quantity)
    assert of(values, "tickwire_trade_quantity_total", "symbol") == {symbol: pytest.approx(float(total)) for symbol, total in sums.items()}
    assert of(values, "tickwire_prices_ingested_total", "symbol") == counts(place, "prices", "instrument")


def test_bus_and_writers_have_the_rows_of_the_store(place: Place) -> None:
    values = place.values()
    prices = sum(counts(place, "prices", "instrument").values())
    by_shard = of(values, "tickwire_bus_published_total", "channel", "shard")
    assert by_shard.keys() == {(channel, "0") for channel in PUBLISHED}
    published = {channel: number for (channel, _), number in by_shard.items()}
    assert (published[topics.TRADES], published[topics.PRICES]) == (TRADES, prices)
    rows = of(values, "tickwire_writer_rows_total", "table")
    assert rows == {"prices": prices, "raw_trades": TRADES, "book_tops": 0, "book_snapshots": 0}
    sizes = of(values, "tickwire_writer_batch_rows_sum", "table")
    assert sizes == {"prices": prices, "raw_trades": TRADES, "book_tops": 0}
    durations = of(values, "tickwire_writer_batch_duration_seconds_count", "table")
    assert durations == of(values, "tickwire_writer_batch_rows_count", "table")
    assert durations["raw_trades"] > 0 < of(values, "tickwire_writer_batch_duration_seconds_sum", "table")["raw_trades"]
    for name in ("tickwire_writer_rows_refused_total", "tickwire_writer_failures_total"):
        assert of(values, name, "table") == dict.fromkeys(("prices", "raw_trades", "book_tops"), 0)
    stored = dict.fromkeys((topics.PRICES, topics.TRADES, topics.BOOK_TOPS), 0)
    until(lambda: of(place.values(), "tickwire_bus_unstored", "channel") == stored, 30, "the unstored records read again")
    limit = place.settings.stream_max_length
    assert of(values, "tickwire_bus_unstored_limit", "channel") == dict.fromkeys(stored, limit)
    assert of(values, "tickwire_bus_parked_total", "channel") == stored
    assert of(values, "tickwire_bus_retries_total", "reason") == dict.fromkeys(("full", "lost", "fenced", "unreplicated", "moved"), 0)
    assert of(values, "tickwire_bus_epochs_total") == {"": 0}
    assert of(values, "tickwire_bus_publish_duration_seconds_count")[""] >= published[topics.TRADES] / TRADES


def test_delays_have_one_value_per_record(place: Place) -> None:
    """The trades of the exchange are of the year before: each is above the last bound."""
    values = place.values()
    assert of(values, "tickwire_source_delay_seconds_count", "source") == {"binance": TRADES}
    buckets = of(values, "tickwire_source_delay_seconds_bucket", "source", "le")
    assert {le: value for (_, le), value in buckets.items() if value} == {"+Inf": TRADES}
    # Each record counts with the mean time of its part of the batch.
    now = datetime.now(UTC).timestamp()
    times = [datetime.fromisoformat(trade.time).timestamp() for trade in place.exchange.expected()]
    mean = of(values, "tickwire_source_delay_seconds_sum", "source")["binance"] / TRADES
    assert place.began - max(times) < mean < now - min(times)


def test_sets_of_labels_are_there_from_the_start(place: Place) -> None:
    values = place.values()
    assert of(values, "tickwire_source_market_open", "source") == {"binance": 1}
    assert {state for _, state in of(values, "tickwire_source_state", "source", "state")} == STATES
    assert {kind for _, kind in of(values, "tickwire_source_errors_total", "source", "kind")} == {"transient", "fatal"}
    refused = of(values, "tickwire_records_refused_total", "source", "kind")
    assert {"unknown_instrument", "time_in_future", "bad_trade", "unreadable"} <= {kind for _, kind in refused}
    assert not any(refused.values())
    assert of(values, "tickwire_gaps_open", "source") == of(values, "tickwire_gaps_filled_total", "source") == {"binance": 0}
    assert {task for task, _ in of(values, "tickwire_task_runs_total", "task", "outcome")} == set(TIMED)
    assert of(values, "tickwire_timescaledb_failed_jobs") == {}  # there is no such extension


def test_runs_of_jobs_are_those_of_the_store(place: Place) -> None:
    until(lambda: not select(place.store, "SELECT FROM job_runs WHERE outcome = 'running'"), 60, "the jobs done")
    runs = {
        (job, outcome): number
        for job, outcome, number in select(place.store, "SELECT job, outcome, count(*)::int FROM job_runs GROUP BY 1, 2")
    }
    assert runs
    until(lambda: {key: value for key, value in of(place.values(), "tickwire_task_runs_total", "task", "outcome").items() if value} == runs)
    times = {
        job: at.timestamp()
        for job, at in select(place.store, "SELECT job, max(finished) FROM job_runs WHERE outcome = 'succeeded' GROUP BY 1")
    }
    until(
        lambda: of(place.values(), "tickwire_task_last_success_timestamp_seconds", "task") == pytest.approx(times), 60, "the last successes"
    )


def test_error_and_reconnection_of_a_source_are_counted(place: Place) -> None:
    def total(name: str) -> float:
        return sum(of(place.values(), name, *METRICS[name].labels).values())

    errors, reconnects = total("tickwire_source_errors_total"), total("tickwire_source_reconnects_total")
    place.exchange.control("drop")
    until(lambda: total("tickwire_source_errors_total") > errors, 30, "the error")
    until(lambda: place.exchange.state()["connections"] > 0, 30, "the connection")
    place.exchange.control("garbage", text="not json")  # the first message of the connection
    until(lambda: of(place.values(), "tickwire_records_refused_total", "source", "kind")["binance", "unreadable"] == 1, 30, "the refusal")
    until(lambda: total("tickwire_source_reconnects_total") == reconnects + 1, 30, "the reconnection")
    assert of(place.values(), "tickwire_source_errors_total", "source", "kind") == {
        ("binance", "transient"): errors + 1,
        ("binance", "fatal"): 0,
    }
    until(lambda: of(place.values(), "tickwire_source_up", "source") == {"binance": 1}, 30, "the source live again")


def test_report_has_the_performance_and_the_families(place: Place) -> None:
    def found() -> dict[str, Any]:
        expected = read_processes(place.bus, datetime.now(UTC)).expected()
        [report] = [each.report for each in expected if each.report is not None and each.report.acting]
        return dict(report.part("metrics"))

    part: dict[str, Any] = {}
    until(lambda: part.update(found()) or "trades_ingested_total" in part["families"], 30, "the metrics in the report")
    assert part["performance"]["totalTrades"] == TRADES
    performance = part["performance"]
    types = {name: type(value) for name, value in performance.items()}
    assert types == {
        **dict.fromkeys(("tradesPerSecond", "averageLatency", "batchProcessingTime"), float),
        **dict.fromkeys(("errorCount", "reconnectionCount", "totalTrades", "totalBatches", "measuredRecords", "measuredBatches"), int),
    }


def test_standby_exports_its_process_alone_and_is_alive(place: Place) -> None:
    values = read(place.standby)
    names = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name, _ in values}
    assert names <= STANDBY_ROWS
    held = of(place.values(), "tickwire_duty_held", "duty")
    assert held == dict.fromkeys(DUTIES, 1)
    assert of(values, "tickwire_duty_held", "duty") == dict.fromkeys(DUTIES, 0)
    assert (of(values, "tickwire_acting", "service"), of(place.values(), "tickwire_acting", "service")) == ({"jobs": 0}, {"jobs": 1})
    with urllib.request.urlopen(f"http://127.0.0.1:{place.standby}/live", timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b'{"status":"alive"}')


def test_observer_and_books_listen_too(place: Place, tmp_path: Path) -> None:
    starts: dict[str, Callable[..., Running]] = {"observer": observer, "books": books}
    ports = {name: free_port() for name in starts}
    with ExitStack() as stack:
        logs = {
            name: stack.enter_context(start(place.settings, tmp_path / f"{name}.log", METRICS_PORT=str(ports[name])))
            for name, start in starts.items()
        }
        for name, port in ports.items():
            log = logs[name]
            until(lambda log=log: '"active"' in log.output(), 60, "the process acting")  # type: ignore[misc]
            values = read(port)
            until(lambda port=port, name=name: of(read(port), "tickwire_acting", "service") == {name: 1})  # type: ignore[misc]
            assert {"metrics", "report", "election"} <= of(values, "tickwire_loop_age_seconds", "loop").keys()


def test_process_with_a_taken_port_ends_with_2(place: Place, tmp_path: Path) -> None:
    with jobs(place.settings, tmp_path / "third.log", METRICS_PORT=str(place.acting)) as third:
        assert third.popen is not None
        assert third.popen.wait(60) == 2
        assert f"METRICS_PORT: port {place.acting} on 127.0.0.1 is in use" in third.output()


# figures of the store, and runs, without the processes


def test_failed_jobs_of_timescaledb_are_counted(store: Store) -> None:
    """The view of the extension has more columns; this is the only one that is read."""
    figures = StoreFigures(TaskCounts())
    with store.transaction() as cursor:
        figures.read(cursor)
    assert (figures.failed_background_jobs, figures.due) == (None, False)
    with store.transaction() as cursor:
        cursor.execute("CREATE SCHEMA timescaledb_information")
        cursor.execute("CREATE TABLE timescaledb_information.job_stats (job_id int, last_run_status text)")
        cursor.execute("INSERT INTO timescaledb_information.job_stats VALUES (1, 'Failed'), (2, 'Success'), (3, NULL), (4, 'Failed')")
        figures.read(cursor)
        cursor.execute("DROP SCHEMA timescaledb_information CASCADE")
    assert figures.failed_background_jobs == 2


def test_each_attempt_of_a_job_is_a_run(settings: Settings, bus: Bus, store: Store) -> None:
    noon = datetime(2025, 11, 18, 12, tzinfo=UTC)
    context = JobContext(settings, bus, store, lambda: noon)
    left = [StoreError("away"), StoreError("away")]

    def fails_twice(context: JobContext, as_of: datetime) -> int:
        if left:
            raise left.pop()
        return 1

    timed = Timed("test", "never", CronTrigger(year=1971), fails_twice, retries=2, retry_seconds=0.01)
    with store.transaction() as cursor:
        begin_run(cursor, "test", noon, noon)  # of a process that was killed
    run_once(timed, context, noon)
    tasks = context.measures.tasks
    assert tasks.runs.values() == {("test", "abandoned"): 1, ("test", "failed"): 2, ("test", "succeeded"): 1}
    [((task,), durations)] = tasks.durations.items()
    assert (task, sum(durations.read()[0]), tasks.last_success) == ("test", 3, {"test": noon})
    assert sorted(select(store, "SELECT outcome FROM job_runs")) == [("abandoned",), ("failed",), ("failed",), ("succeeded",)]
