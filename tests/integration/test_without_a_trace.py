"""After faults of the link and kills of the jobs process, the store has every trade once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from db.postgres import Store
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.support.processes import Running, jobs
from tests.support.store import count_trades as count
from tests.support.store import stored_trades as stored
from tests.support.store import trade_gaps as gaps


@contextmanager
def exchange_and_jobs(settings: Settings, tmp_path: Path, **options: Any) -> Iterator[tuple[BinanceStandIn, Running]]:
    with (
        BinanceStandIn(tmp_path, **options) as exchange,
        jobs(settings, tmp_path / "jobs.log", SOURCES="binance", **exchange.variables) as process,
    ):
        yield exchange, process


def drop(exchange: BinanceStandIn) -> None:
    """Drop the connection as soon as there is one."""
    until(lambda: exchange.state()["connections"], 60, "a connection")
    exchange.control("drop")


def play(exchange: BinanceStandIn, faults: list[Callable[[], None]]) -> None:
    """Cause each fault at its position in the market."""
    length = exchange.state()["length"]
    for number, fault in enumerate(faults, 1):
        place = length * number // (len(faults) + 1)
        until(lambda place=place: exchange.state()["position"] >= place, 120, f"position {place}")  # type: ignore[misc]
        fault()
    until(lambda: exchange.state()["ended"], 120, "the end of the market")


def check_completeness(store: Store, exchange: BinanceStandIn, process: Running) -> None:
    """Check that the store has every trade once and that every gap is filled."""
    expected = exchange.expected()
    until(lambda: count(store) >= len(expected), 120, f"{len(expected)} trades")
    # The filler marks a gap in a transaction after that of its trades: a stop may come between.
    until(lambda: gaps(store, "filled") and not gaps(store, "open", "unfillable"), 120, lambda: f"filled gaps: {gaps(store)}")
    assert process.ask_to_stop() == 0
    assert stored(store) == expected
    assert gaps(store, "filled")
    assert gaps(store, "open", "unfillable") == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_store_is_complete_after_ten_disconnects(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, trades=100_000, speed=None) as (exchange, process):
        play(exchange, [lambda: drop(exchange)] * 10)
        assert exchange.state()["handshakes"] >= 10
        check_completeness(store, exchange, process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_store_is_complete_after_two_kills_of_the_jobs(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, trades=100_000, per_second=20_000, speed=1.0) as (exchange, process):

        def kill() -> None:
            process.kill(signal.SIGKILL)
            process.start()

        play(exchange, [lambda: drop(exchange), kill, lambda: exchange.control("skip", count=50), kill, lambda: drop(exchange)])
        check_completeness(store, exchange, process)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_recording_with_every_fault_of_the_stream_is_stored_unchanged(settings: Settings, store: Store, tmp_path: Path) -> None:
    with exchange_and_jobs(settings, tmp_path, speed=60.0) as (exchange, process):
        faults: list[dict[str, Any]] = [
            {"do": "drop"}, {"do": "skip", "count": 20}, {"do": "half", "count": 3}, {"do": "reorder", "count": 6}, {"do": "shutdown"},
            {"do": "repeat", "count": 5}, {"do": "garbage"}, {"do": "refuse", "status": 429, "count": 2, "retry_after": 1}, {"do": "drop"},
            {"do": "close"}, {"do": "vanish", "seconds": 1.0},
        ]  # fmt: skip
        play(exchange, [lambda fault=fault: exchange.control(**fault) for fault in faults])  # type: ignore[misc]
        check_completeness(store, exchange, process)
