"""Performance lines of all processes: their fields, their figures, their file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.hub.measures.performance_line import HubLine
from config.logs import setup as logs
from config.metrics import LAG_BUCKETS
from config.performance_log import NAME, Interval, PerformanceLog
from config.settings import Settings, SettingsError
from db.measures import Buckets, Lags
from db.messages import Tick
from db.timestamps import format_time
from jobs.measures.counts import JobsMeasures
from jobs.measures.lines import JobsLines
from tests.conftest import until
from tests.support.processes import Running, Web, books, jobs, observer

SUMMARY = {
    "Batch processed": {"table", "batchSize", "processingTime", "bufferSize", "batches", "processingTimeMax"},
    "Database performance": {"transactions", "meanTime", "maxTime", "errors", "poolInUse", "poolWait"},
    "Memory usage": {"rss", "peakRss"},
}
SOURCE = {"source", "messagesPerSecond", "delay"}
HUB = {"clients", "deliveriesPerSecond", "relayLag"}
BATCH = {"table", "batchSize", "processingTime", "bufferSize"}
SHAPE = {"timestamp", "level", "message", "service", "logger"}
SECONDS = 0.7
Line = dict[str, Any]


def lines_of(file: Path) -> list[Line]:
    """The complete lines; a process may be writing the last one."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().rpartition("\n")[0].splitlines()]


def found(lines: list[Line], service: str, message: str, level: str = "INFO") -> list[Line]:
    return [each for each in lines if (each["service"], each["message"], each["level"]) == (service, message, level)]


@pytest.fixture(scope="module")
def place(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Running]]]:
    """The file of the performance lines, once each process has written its own; all processes."""
    folder = tmp_path_factory.mktemp("processes")
    file = folder / "performance.log"
    variables = {"PERFORMANCE_LOG_SECONDS": str(SECONDS), "PERFORMANCE_LOG_FILE": str(file)}
    recording = folder / "recording.csv"  # 50 prices a second
    rows = (f"2026-03-02T10:00:{number // 50:02}.{number % 50 * 20:03}Z,EUR_USD,1.1,1.2" for number in range(3000))
    recording.write_text("\n".join(["time,instrument,bid,ask", *rows]) + "\n")
    source = {"SOURCES": f"replay:{recording}@1@loop", "BATCH_TIMEOUT": "100", "LOG_LEVEL": "DEBUG"}
    with ExitStack() as stack:
        processes: list[Running] = [
            jobs(shared_settings, folder / "jobs.log", **variables, **source),
            observer(shared_settings, folder / "observer.log", **variables),
            books(shared_settings, folder / "books.log", **variables),
        ]
        for each in processes:
            stack.enter_context(each)
        for name in ("hub", "rest"):
            # The file has the summaries at every level.
            processes.append(stack.enter_context(Web(name, shared_settings, folder / f"{name}.log", LOG_LEVEL="WARNING", **variables)))
        until(lambda: all(found(lines_of(file), service, "Memory usage") for service in ("jobs", "observer", "books", "hub", "rest")), 60)
        until(lambda: sum(bool(each["batches"]) for each in found(lines_of(file), "jobs", "Batch processed")) > 2, 60)
        yield file, processes


def test_each_process_writes_its_lines(place: tuple[Path, list[Running]]) -> None:
    lines = lines_of(place[0])
    assert {each["logger"] for each in lines} == {"performance"}
    for service in ("jobs", "observer", "books", "hub", "rest"):
        for message in ("Database performance", "Memory usage"):
            line = found(lines, service, message)[-1]
            assert line.keys() == SHAPE | SUMMARY[message]
            assert all(isinstance(line[name], int | float) for name in SUMMARY[message])
        assert 10_000_000 < line["rss"] <= line["peakRss"]
    assert {each["service"] for each in lines if each["message"] == "Batch processed"} == {"jobs"}
    assert {each["service"] for each in lines if each["message"] == "Message rate"} == {"jobs", "hub"}
    assert all(each.keys() == SHAPE | SUMMARY["Batch processed"] for each in found(lines, "jobs", "Batch processed"))
    assert {each["table"] for each in found(lines, "jobs", "Batch processed")} == {"prices"}
    assert found(lines, "jobs", "Database performance")[-1]["transactions"] > 0


def test_rates_name_the_source_or_the_clients(place: tuple[Path, list[Running]]) -> None:
    lines = lines_of(place[0])
    rates = found(lines, "jobs", "Message rate")
    assert all(each.keys() == SHAPE | SOURCE for each in rates)
    assert {each["source"] for each in rates} == {"replay:recording.csv"}
    assert max(each["messagesPerSecond"] for each in rates) > 0
    assert {each["delay"] for each in rates} == {0}  # of a recording it would be its age
    line = found(lines, "hub", "Message rate")[-1]
    assert line.keys() == SHAPE | HUB
    assert (line["clients"], line["deliveriesPerSecond"]) == (0, 0)


def test_summary_is_that_of_the_batches(place: tuple[Path, list[Running]]) -> None:
    lines = found(lines_of(place[0]), "jobs", "Batch processed", "DEBUG") + found(lines_of(place[0]), "jobs", "Batch processed")
    lines.sort(key=lambda each: each["timestamp"])
    compared = 0
    batches: list[Line] = []
    for each in lines:
        if each["level"] == "DEBUG":
            assert each.keys() == SHAPE | BATCH
            batches.append(each)
            continue
        # A batch may be counted in one interval, and its line written after the summary.
        if batches and each["batches"] == len(batches):
            assert each["batchSize"] == pytest.approx(fmean(one["batchSize"] for one in batches), abs=0.06)
            if each["processingTimeMax"] == pytest.approx(max(one["processingTime"] for one in batches), abs=0.002):
                assert each["processingTime"] == pytest.approx(fmean(one["processingTime"] for one in batches), abs=0.002)
                compared += 1
        batches = []
    assert compared > 0


def test_lines_are_in_their_file_alone(place: tuple[Path, list[Running]]) -> None:
    for each in place[1]:
        assert '"performance"' not in each.output()


# the parts, without a process


@pytest.fixture
def _restored_loggers() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger(NAME)
    handlers, level, propagate, own_level = list(root.handlers), root.level, own.propagate, own.level
    yield
    for each in own.handlers:
        each.close()
    root.handlers[:], own.handlers[:] = handlers, []
    root.setLevel(level)
    own.propagate = propagate
    own.setLevel(own_level)


@pytest.mark.usefixtures("_restored_loggers")
def test_lines_without_a_file_are_in_the_normal_log(tmp_path: Path) -> None:
    logs.configure("rest", file=tmp_path / "log")
    logs.configure_performance("rest", file=None)
    PerformanceLog(60, lambda seconds: [("Memory usage", {"rss": 1, "peakRss": 2})]).write()
    (line,) = lines_of(tmp_path / "log")
    line.pop("timestamp")
    assert line == {"level": "INFO", "message": "Memory usage", "service": "rest", "logger": "performance", "rss": 1, "peakRss": 2}


@pytest.mark.usefixtures("_restored_loggers")
def test_unwritable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PERFORMANCE_LOG_FILE: cannot be written: Is a directory"):
        logs.configure_performance("rest", file=tmp_path)


def test_lines_of_a_source_have_the_rate_and_the_mean_delay_of_the_interval() -> None:
    measures, acting = JobsMeasures(), [True]
    lines = JobsLines(measures, lambda: acting[0])
    measures.sources.expect("binance", is_live=True)
    at = datetime(2026, 3, 2, 10, tzinfo=UTC)
    for delay in (0.1, 0.3):
        tick = Tick("BTCUSDT", "1", "2", "1.5", format_time(at - timedelta(seconds=delay)), "binance")
        measures.sources.accepted("binance", [tick], [], at, is_live=True)
    assert list(lines(4.0)) == [("Message rate", {"source": "binance", "messagesPerSecond": 0.5, "delay": 200.0})]
    assert list(lines(4.0)) == [("Message rate", {"source": "binance", "messagesPerSecond": 0.0, "delay": 0.0})]
    acting[0] = False
    assert list(lines(4.0)) == []


def test_line_of_a_hub_has_the_lag_that_99_percent_keep() -> None:
    lags, delivered = Lags(LAG_BUCKETS), [0]
    line = HubLine(lambda: 7, lambda: delivered[0], lags)
    for number in range(100):
        lags.observe(0.003 if number < 98 else 0.2)
    delivered[0] = 500
    ((message, fields),) = line(2.0)
    assert (message, fields["clients"], fields["deliveriesPerSecond"]) == ("Message rate", 7, 250.0)
    assert 100 < float(fields["relayLag"]) <= 200  # the bucket of 0.1 to 0.25 s, at most the largest value


BOUNDS = (0.001, 0.01, 0.1, 1.0)


@given(
    st.lists(st.floats(0.0001, 5), max_size=20), st.lists(st.floats(0.0001, 5), min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.99])
)
def test_interval_has_the_values_since_the_last_one(before: list[float], values: list[float], share: float) -> None:
    buckets = Buckets(BOUNDS)
    interval = Interval(buckets)
    for value in before:
        buckets.observe(value)
    assert interval.take().count == len(before)
    for value in values:
        buckets.observe(value)
    interval.take()
    assert (interval.count, interval.largest) == (len(values), max(values))
    assert interval.mean == pytest.approx(fmean(values))
    # The quantile lies in the bucket of the value of its rank.
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    edges = (0.0, *BOUNDS, float("inf"))
    low, high = next((low, high) for low, high in pairwise(edges) if low < exact <= high)
    assert low <= interval.quantile(share) <= min(high, max(values)) + 1e-12
    assert (interval.take().count, interval.mean, interval.largest, interval.quantile(share)) == (0, 0.0, 0.0, 0.0)
