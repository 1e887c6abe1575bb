"""The contract of all sources, and their shared functions."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import SourceSpec, load, parse_source
from config.venues import VENUES
from db.messages import Tick
from jobs.feeds.base import LONGEST_DELAY, BadInput, Source, SourceError, as_source_error, retry_delay
from jobs.feeds.context import SourceContext
from jobs.venues import VENUE_PARTS, build, feeds
from tests.support.fake_time import FakeTime
from tests.support.instruments import make_instrument

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
INSTRUMENTS = [
    make_instrument("EUR_USD", "Euro / US Dollar", "fx", 5, "oanda"),
    make_instrument("USD_JPY", "US Dollar / Japanese Yen", "fx", 3, "oanda"),
    make_instrument("BTCUSDT", "Bitcoin / Tether", "crypto", 2, "binance"),
    make_instrument("AAPL", "Apple", "equity", 2, "synthetic"),
]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PRICE = re.compile(r"\d+(\.\d+)?")


def source_context(**changes: Any) -> SourceContext:
    settings = replace(load({}, dotenv=None), synthetic_seed=7, **changes)
    return SourceContext(settings, INSTRUMENTS, {}, FakeTime().utc)


def mixed_recording(folder: Path) -> Path:
    file = folder / "mixed.csv"
    file.write_text("time,instrument,bid,ask\n2025-01-01T00:00:00Z,EUR_USD,1.10,1.11\n2025-01-01T00:00:00.5Z,USD_JPY,150.1,150.12\n")
    return file


# One entry of SOURCES per kind of source; every test with the fixture `source` runs for each.
WAYS: dict[str, Callable[[Path], str]] = {
    "synthetic": lambda folder: "synthetic",
    "ticks": lambda folder: f"replay:{RECORDINGS / 'EUR_USD_20140505.csv.gz'}@max",
    "ticks, paced": lambda folder: f"replay:{RECORDINGS / 'EUR_USD_20140505.csv.gz'}",
    "candles": lambda folder: f"replay:{RECORDINGS / 'EUR_USD_H1.csv.gz'}@max@loop",
    "several instruments": lambda folder: f"replay:{mixed_recording(folder)}@max",
}


@pytest.fixture(params=WAYS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source[Any]:
    """A source that waits: for ten minutes after its first step, or as long as its recording."""
    return build(parse_source(WAYS[request.param](tmp_path)), source_context(ingestion_interval_seconds=600.0))


def test_ticks_are_in_contract_form(source: Source[Any]) -> None:
    raw = next(source.fetch(threading.Event()))
    ticks = [said for said in source.parse(raw) if isinstance(said, Tick)]
    assert ticks
    for tick in ticks:
        assert tick.instrument in {instrument.symbol for instrument in INSTRUMENTS}
        assert tick.source == source.name
        assert TIME.fullmatch(tick.time)
        assert all(PRICE.fullmatch(text) for text in (tick.bid, tick.mid, tick.ask))
        assert 0 < Decimal(tick.bid) <= Decimal(tick.mid) <= Decimal(tick.ask)
        assert tick.volume is None or PRICE.fullmatch(tick.volume)


def test_parse_is_pure(source: Source[Any]) -> None:
    raw = next(source.fetch(threading.Event()))
    first = source.parse(raw)
    list(islice(source.fetch(FakeTime(until=10)), 2))
    assert source.parse(raw) == first


def test_nothing_is_fetched_after_stop(source: Source[Any]) -> None:
    stop = threading.Event()
    stop.set()
    assert list(source.fetch(stop)) == []


def test_stop_is_honoured_while_waiting(source: Source[Any]) -> None:
    stop, begun = threading.Event(), threading.Event()

    def take() -> None:
        for _ in source.fetch(stop):
            begun.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert begun.wait(60)
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_stop_ends_a_source_that_was_started(source: Source[Any]) -> None:
    stop = threading.Event()
    raws = source.fetch(stop)
    next(raws)
    stop.set()
    assert list(raws) == []


def test_every_kind_of_sources_has_a_row() -> None:
    assert set(VENUE_PARTS) == set(VENUES)


def test_missing_file_is_a_fatal_source_error(tmp_path: Path) -> None:
    source = build(SourceSpec("replay", tmp_path / "EUR_USD.csv"), source_context())
    with pytest.raises(SourceError, match=r"EUR_USD\.csv") as caught:
        next(source.fetch(threading.Event()))
    assert caught.value.fatal


def fed(source: Source[Any]) -> set[str]:
    return {tick.instrument for tick in source.parse(next(source.fetch(threading.Event()))) if isinstance(tick, Tick)}


def test_synthetic_source_feeds_every_instrument_by_default() -> None:
    assert fed(build(SourceSpec("synthetic"), source_context())) == {instrument.symbol for instrument in INSTRUMENTS}


def test_synthetic_source_skips_instruments_of_other_sources() -> None:
    walk = SourceSpec("synthetic")
    others = (walk, SourceSpec("replay", Path("EUR_USD_20140505.csv.gz")), SourceSpec("replay", Path("anything.csv")))
    assert fed(build(walk, source_context(sources=others))) == {"USD_JPY", "BTCUSDT", "AAPL"}
    assert fed(build(walk, source_context(sources=(walk, SourceSpec("oanda"))))) == {"BTCUSDT", "AAPL"}


def test_scenario_has_no_prices_and_leaves_all_instruments_to_the_others() -> None:
    scenario = SourceSpec("scenario")
    context = source_context(sources=(scenario, SourceSpec("synthetic")))
    assert set(feeds(context.settings, INSTRUMENTS).values()) == {"synthetic"}
    assert fed(build(SourceSpec("synthetic"), context)) == {instrument.symbol for instrument in INSTRUMENTS}
    assert feeds(source_context(sources=(scenario,)).settings, INSTRUMENTS) == {}
    with pytest.raises(ValueError, match="no prices"):
        build(scenario, context)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_retry_delay_doubles_up_to_its_limit(attempt: int, jitter: float) -> None:
    delay = retry_delay(attempt, jitter)
    assert 0 < delay <= LONGEST_DELAY
    assert retry_delay(1, jitter) < 1
    assert retry_delay(attempt + 1, jitter) in (pytest.approx(2 * delay), pytest.approx(LONGEST_DELAY * (1 + jitter) / 2))


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (BadInput("unknown format"), True),
        (FileNotFoundError("gone"), True),
        (PermissionError("no"), True),
        (ConnectionResetError("reset"), False),
        (OSError("I/O"), False),
        (ZeroDivisionError(), False),
        (SourceError("said so", fatal=True), True),
        (SourceError("said so", fatal=False), False),
    ],
)
def test_translated_error_is_fatal_or_transient(error: Exception, fatal: bool) -> None:
    translated = as_source_error(error)
    assert translated.fatal is fatal
    assert str(translated)
