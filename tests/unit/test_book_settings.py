"""The settings of order books and scenarios: defaults, markets, and errors with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.books.checks import scenario_names
from config.books.fields import DELAY_MS_RANGE, QUEUE_RANGE
from config.settings import Settings, SettingsError, load
from config.venues import VENUES, SourceSpec, with_prices
from db.scenarios.checks import MAX_DELAY_MS, MAX_QUEUE
from db.scenarios.model import SHIPPED


def settings(**environ: str) -> Settings:
    return load(environ, dotenv=None)


def problem(name: str, **environ: str) -> str:
    """Return the only problem of these settings, which is that of `name`."""
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    assert set(caught.value.problems) == {name}
    return caught.value.problems[name]


def test_defaults_are_those_of_the_contract() -> None:
    chosen = settings()
    assert (chosen.book_symbols, chosen.book_market) == ((), "spot")
    assert (chosen.book_ws_url, chosen.book_rest_url) == ("wss://stream.binance.com:9443", "https://api.binance.com")
    assert (chosen.book_snapshot_limit, chosen.book_refresh_levels, chosen.book_stale_after) == (5000, 150, 5)
    assert (chosen.book_buffer_max, chosen.book_audit) == (5000, "on")
    assert (chosen.book_history_seconds, chosen.book_depth_seconds, chosen.retention_books) == (1, 0, 90)
    assert (chosen.scenario, chosen.scenario_queue_max, chosen.scenario_processing_delay_ms) == ("stable-mode", 2000, None)
    assert (chosen.heartbeat_interval, chosen.plays_scenarios) == (1, False)


def test_addresses_and_limit_follow_the_market_unless_they_are_set() -> None:
    spot = settings(BINANCE_WS_URL="ws://127.0.0.1:1", BINANCE_REST_URL="http://127.0.0.1:2")
    assert (spot.book_ws_url, spot.book_rest_url) == ("ws://127.0.0.1:1", "http://127.0.0.1:2")
    futures = settings(BOOK_MARKET="usdm", BINANCE_WS_URL="ws://127.0.0.1:1")
    assert (futures.book_ws_url, futures.book_rest_url) == ("wss://fstream.binance.com", "https://fapi.binance.com")
    assert futures.book_snapshot_limit == 1000
    own = settings(BOOK_MARKET="usdm", BOOK_WS_URL="ws://127.0.0.1:3", BOOK_REST_URL="http://127.0.0.1:4", BOOK_SNAPSHOT_LIMIT="500")
    assert (own.book_ws_url, own.book_rest_url, own.book_snapshot_limit) == ("ws://127.0.0.1:3", "http://127.0.0.1:4", 500)


def test_symbols_are_a_part_of_those_of_binance() -> None:
    assert settings(BOOK_SYMBOLS="btcusdt, ETHUSDT,BTCUSDT").book_symbols == ("BTCUSDT", "ETHUSDT")
    assert settings(BOOK_SYMBOLS="LTCUSDT", BINANCE_SYMBOLS="ltcusdt").book_symbols == ("LTCUSDT",)
    text = problem("BOOK_SYMBOLS", BOOK_SYMBOLS="BTCUSDT,DOGEUSDT,LTCUSDT")
    assert text == "DOGEUSDT, LTCUSDT are not in BINANCE_SYMBOLS: add to that list, or remove from this one."


def test_live_and_simulated_books_exclude_each_other() -> None:
    text = problem("BOOK_SYMBOLS", SOURCES="synthetic,scenario", BOOK_SYMBOLS="BTCUSDT")
    assert text == "Live and simulated books never mix: leave it empty, or remove scenario from SOURCES."


def test_scenario_is_a_source_without_prices() -> None:
    chosen = settings(SOURCES="synthetic,scenario", SCENARIO="burst-mode")
    assert chosen.sources == (SourceSpec("synthetic"), SourceSpec("scenario"))
    assert (chosen.plays_scenarios, with_prices(chosen.sources)) == (True, (SourceSpec("synthetic"),))
    assert VENUES["scenario"].kind == "scenario"
    assert problem("SOURCES", SOURCES="scenario:burst-mode") == "scenario takes no argument, got 'burst-mode'"


def test_unknown_scenario_names_the_known_ones() -> None:
    assert all(settings(SCENARIO=name).scenario == name for name in SHIPPED)
    text = problem("SCENARIO", SCENARIO="nightmare-mode")
    assert text.startswith("'nightmare-mode' is not one of ")
    assert all(name in text for name in (*SHIPPED, "data/scenarios"))


def test_scenario_has_the_name_of_its_file(tmp_path: Path) -> None:
    for name in ("b-data.json", "a.json", "c-data.json", ".hidden.json", "README.md"):
        (tmp_path / name).write_text("")
    assert scenario_names(tmp_path) == ["a", "b", "c"]
    assert scenario_names(tmp_path / "absent") == []
    assert set(scenario_names()) == set(SHIPPED)


@pytest.mark.parametrize(
    ("name", "environ", "text"),
    [
        ("BOOK_MARKET", {"BOOK_MARKET": "coinm"}, "spot, usdm"), ("BOOK_AUDIT", {"BOOK_AUDIT": "off"}, "on, count"),
        ("BOOK_WS_URL", {"BOOK_WS_URL": "https://example.com"}, "wss://"), ("BOOK_REST_URL", {"BOOK_REST_URL": "ws://example.com"}, "https://"),
        ("BOOK_SNAPSHOT_LIMIT", {"BOOK_SNAPSHOT_LIMIT": "5001"}, "from 50 to 5000 for the market spot"),
        ("BOOK_SNAPSHOT_LIMIT", {"BOOK_SNAPSHOT_LIMIT": "49"}, "from 50 to 5000 for the market spot"),
        ("BOOK_SNAPSHOT_LIMIT", {"BOOK_MARKET": "usdm", "BOOK_SNAPSHOT_LIMIT": "5000"}, "usdm accepts 1000, 500, 100, 50."),
        ("BOOK_REFRESH_LEVELS", {"BOOK_MARKET": "usdm", "BOOK_SNAPSHOT_LIMIT": "100"}, "below BOOK_SNAPSHOT_LIMIT, which is 100"),
        ("BOOK_STALE_AFTER", {"BOOK_STALE_AFTER": "0"}, ""), ("BOOK_BUFFER_MAX", {"BOOK_BUFFER_MAX": "0"}, ""),
        ("BOOK_HISTORY_SECONDS", {"BOOK_HISTORY_SECONDS": "-1"}, ""), ("BOOK_DEPTH_SECONDS", {"BOOK_DEPTH_SECONDS": "nan"}, ""),
        ("RETENTION_BOOKS", {"RETENTION_BOOKS": "-1"}, ""), ("SCENARIO_QUEUE_MAX", {"SCENARIO_QUEUE_MAX": "0"}, ""),
        ("SCENARIO_PROCESSING_DELAY_MS", {"SCENARIO_PROCESSING_DELAY_MS": "60001"}, "60000"),
        ("HEARTBEAT_INTERVAL", {"HEARTBEAT_INTERVAL": "0.01"}, "0.1"),
    ],
)  # fmt: skip
def test_invalid_value_is_named(name: str, environ: dict[str, str], text: str) -> None:
    assert text in problem(name, **environ)


def test_bounds_are_those_of_scenario_files() -> None:
    assert (QUEUE_RANGE.max, DELAY_MS_RANGE.max) == (MAX_QUEUE, MAX_DELAY_MS)
    assert settings(SCENARIO_PROCESSING_DELAY_MS="0").scenario_processing_delay_ms == 0
