"""Live order books against a local exchange with faults: the source, its limits, and the states.

Every published book is compared with the exchange's own book at the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.books.parts import transitions
from jobs.feeds import base
from jobs.feeds.binance.depth import Pace
from jobs.feeds.binance.request_limits import RequestLimits
from tests.conftest import until
from tests.standins.binance import BinanceStandIn
from tests.support.live_books import LiveBooks, wrong_books

START = ("live", "start")
DISCONNECTED = [("stale", "disconnected"), ("resyncing", "disconnected"), ("live", "disconnected")]
MANY = RequestLimits(most=1_000, refreshes=1_000)
DEPTH_PATHS = {"spot": "/api/v3/depth", "usdm": "/fapi/v1/depth"}


@pytest.fixture(autouse=True)
def _quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_DELAY", 0.1)


@pytest.fixture(params=["spot", "usdm"])
def market(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BinanceStandIn]:
    with BinanceStandIn(tmp_path, market=request.param, symbols=("BTCUSDT",), speed=4) as exchange:
        yield exchange


@pytest.fixture
def spot(tmp_path: Path) -> Iterator[BinanceStandIn]:
    with BinanceStandIn(tmp_path, speed=4) as exchange:
        yield exchange


def requests(exchange: BinanceStandIn) -> int:
    return int(exchange.state()["requests"].get(DEPTH_PATHS[exchange.market], 0))


def goes_on(books: LiveBooks, instrument: str, count: int = 5) -> Callable[[], bool]:
    """True after `count` further messages of a live book."""
    there = len(books.published[instrument])
    return lambda: books.is_live(instrument) and len(books.published[instrument]) >= there + count


# (fault of the snapshot, number of requests until the book is live)
RACE: dict[str, tuple[Callable[[BinanceStandIn], None], int]] = {
    "equal to the u of a buffered diff": (lambda exchange: exchange.control("snapshot", delay=0.2), 1),
    "inside a diff": (lambda exchange: exchange.control("snapshot", inside=True), 1),
    "older than the first diff, twice": (lambda exchange: exchange.control("snapshot", age=20, count=2), 3),
    "30 s old": (lambda exchange: exchange.control("snapshot", age=30), 2),
    "429": (lambda exchange: exchange.control("refuse", what="depth", status=429, retry_after=1), 2),
    "418": (lambda exchange: exchange.control("refuse", what="depth", status=418, retry_after=1), 2),
    "never": (lambda exchange: exchange.control("snapshot", hang=True), 2),
    "no JSON": (lambda exchange: exchange.control("snapshot", body="<html>"), 2),
    "500": (lambda exchange: exchange.control("refuse", what="depth", status=500), 2),
}


def test_snapshot_race_ends_in_a_right_book(market: BinanceStandIn) -> None:
    market.control("jump", position=12_000)  # 30 s and more after the start
    books = LiveBooks(market, pace=Pace(answer=2.0, limits=MANY))
    with books.running():
        until(goes_on(books, "BTCUSDT"))
        for name, (spoil, expected) in RACE.items():
            before, states = requests(market), len(books.states["BTCUSDT"])
            spoil(market)
            market.control("drop")
            until(lambda: books.states["BTCUSDT"][states:] == DISCONNECTED, what=name)  # noqa: B023 - called at once
            until(goes_on(books, "BTCUSDT"))
            assert requests(market) - before == expected, name
    assert books.failures["BTCUSDT"] == [1.0, 1.0, None, None, None]  # 429, 418, never, no JSON, 500
    assert not wrong_books(books, market)


def test_books_of_a_connection_are_independent(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot)
    with books.running():
        until(books.is_live)
        spot.control("skip", kind="diff", symbol="BTCUSDT")
        until(lambda: len(books.states["BTCUSDT"]) > 1)
        until(goes_on(books, "BTCUSDT"))
        until(goes_on(books, "ETHUSDT"))
    missing = [(state, "missing_update") for state in ("gap", "resyncing", "live")]
    assert books.states == {"BTCUSDT": [("syncing", "start"), START, *missing], "ETHUSDT": [("syncing", "start"), START]}
    assert not wrong_books(books, spot)


@pytest.mark.parametrize(
    ("do", "reason"), [("repeat", None), ("reorder", "missing_update"), ("half", "bad_message")], ids=["repeat", "reorder", "half"]
)
def test_spoiled_diff_has_its_state(spot: BinanceStandIn, do: str, reason: str | None) -> None:
    books = LiveBooks(spot)
    with books.running():
        until(books.is_live)
        spot.control(do, kind="diff", symbol="BTCUSDT", count=2)
        if reason is None:
            there = books.diffs["BTCUSDT"]
            until(lambda: books.diffs["BTCUSDT"] > there + 5)
        else:
            until(lambda: ("live", reason) in books.states["BTCUSDT"])
        until(goes_on(books, "BTCUSDT"))
    expected = [] if reason is None else [(state, reason) for state in ("gap", "resyncing", "live")]
    assert books.states["BTCUSDT"][2:] == expected
    assert not wrong_books(books, spot)


def test_garbage_is_counted_and_skipped(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot)
    with books.running():
        until(books.is_live)
        spot.control("garbage")
        until(goes_on(books, "BTCUSDT"))
        spot.control("garbage", text='{"stream":"btcusdt@depth@100ms","data":[]}')
        until(lambda: ("live", "bad_message") in books.states["BTCUSDT"])
    assert books.source.garbage == 10  # without the ticker among them
    assert books.states["ETHUSDT"] == [("syncing", "start"), START]


@pytest.mark.parametrize("end", ["close", "shutdown", "renewal"])
def test_each_end_of_a_connection_is_noted(spot: BinanceStandIn, end: str) -> None:
    books = LiveBooks(spot, pace=Pace(lifetime=1.0, limits=MANY) if end == "renewal" else None)
    with books.running():
        until(books.is_live)
        if end != "renewal":
            spot.control(end)
        until(lambda: ("live", "disconnected") in books.states["ETHUSDT"])
        until(lambda: books.source.status.report()["state"] == "live")
        assert books.source.connections()[0]["count"] > 1
    assert books.states["BTCUSDT"][2:5] == DISCONNECTED
    assert not wrong_books(books, spot)


def test_vanished_exchange_backs_off_and_returns(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot)
    with books.running():
        until(books.is_live)
        spot.control("vanish", seconds=1)
        until(lambda: books.source.status.report()["state"] == "backing_off")
        until(lambda: books.is_live() and len(books.states["BTCUSDT"]) > 2)
        assert books.source.status.report()["state"] == "live"


def test_silent_stream_needs_no_snapshot_if_the_chain_holds(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot, stale_after=1.5)
    with books.running():
        until(books.is_live)
        before = requests(spot)
        spot.control("pause")
        until(lambda: books.states["BTCUSDT"][-1] == ("stale", "silent"))
        spot.control("go")
        until(goes_on(books, "BTCUSDT"))
        assert requests(spot) == before
        assert books.states["BTCUSDT"][2:4] == [("stale", "silent"), ("live", "silent")]
        spot.control("stall")
        until(lambda: books.states["BTCUSDT"][-1] == ("stale", "silent"))
        spot.control("resume")  # diffs were missed
        until(lambda: books.states["BTCUSDT"][-2:] == [("resyncing", "silent"), ("live", "silent")])
        until(goes_on(books, "BTCUSDT"))
    assert not wrong_books(books, spot)


def test_silent_connection_is_replaced(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot, pace=Pace(silence=0.5, limits=MANY))
    with books.running():
        until(books.is_live)
        spot.control("stall")
        until(lambda: ("live", "disconnected") in books.states["BTCUSDT"])
    assert not wrong_books(books, spot)


def test_refresh_leaves_the_state_live(market: BinanceStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "REFRESH_SECONDS", 0.3)
    books = LiveBooks(market, refresh_levels=5_000)  # each new window needs a refresh at once
    with books.running():
        until(lambda: books.refreshed["BTCUSDT"] >= 3)
        # A refresh that is not answered, one that is refused, and one that is older than the book.
        market.control("refuse", what="depth", status=500)
        market.control("snapshot", age=2)
        market.control("snapshot", inside=True)
        there = books.refreshed["BTCUSDT"]
        until(lambda: books.refreshed["BTCUSDT"] >= there + 2)
    assert books.states["BTCUSDT"] == [("syncing", "start"), START]
    assert not wrong_books(books, market)


def test_used_weight_stops_refreshes_alone(spot: BinanceStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "REFRESH_SECONDS", 0.1)
    spot.control("weight", used=3_001)
    books = LiveBooks(spot, refresh_levels=5_000)
    with books.running():
        until(books.is_live)
        until(lambda: bool(books.failures["BTCUSDT"]))
        assert 0 < books.failures["BTCUSDT"][0] <= 60  # type: ignore[operator]
        spot.control("skip", kind="diff", symbol="BTCUSDT")
        until(lambda: ("live", "missing_update") in books.states["BTCUSDT"])
        assert not books.refreshed["BTCUSDT"]
        assert requests(spot) == 3  # two books, and the resync
    assert books.states["ETHUSDT"] == [("syncing", "start"), START]


def test_refusal_of_the_exchange_stops_the_requests_of_all_books(spot: BinanceStandIn) -> None:
    spot.control("refuse", what="depth", status=418, retry_after=3, count=2)  # both may be under way at once
    books = LiveBooks(spot)
    with books.running():
        until(lambda: bool(books.failures["BTCUSDT"] and books.failures["ETHUSDT"]))
        assert requests(spot) <= 2
        until(books.is_live)
        waits: list[Any] = [*books.failures["BTCUSDT"], *books.failures["ETHUSDT"]]
    assert max(waits) == 3.0
    assert min(waits) > 0


def test_at_most_ten_snapshots_a_minute(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot, pace=Pace())
    with books.running():
        until(books.is_live)
        for number in range(8):
            books.source.request_snapshot("BTCUSDT", 1_000 + number, False)
            until(lambda: len(books.answers["BTCUSDT"]) == number + 2)  # noqa: B023 - called at once
        for instrument in ("BTCUSDT", "ETHUSDT"):
            books.source.request_snapshot(instrument, 2_000, False)
            until(lambda: len(books.failures[instrument]) == 1)  # noqa: B023 - called at once
            assert 0 < books.failures[instrument][0] <= 60  # type: ignore[operator]
        assert requests(spot) == 10
    assert books.is_live()


def test_altered_ticker_is_a_divergence(spot: BinanceStandIn) -> None:
    books = LiveBooks(spot)
    with books.running():
        until(books.is_live)
        until(lambda: books.machines["BTCUSDT"].audit.checked > 5)
        spot.control("alter", kind="ticker", symbol="BTCUSDT", count=20)
        until(lambda: ("live", "diverged") in books.states["BTCUSDT"])
    assert books.states["BTCUSDT"][2:4] == [("gap", "diverged"), ("resyncing", "diverged")]
    assert books.machines["ETHUSDT"].audit.failed == 0
    assert not wrong_books(books, spot)


def test_late_tickers_are_no_divergence(tmp_path: Path) -> None:
    with BinanceStandIn(tmp_path, symbols=("BTCUSDT",), speed=4, ticker_delay=0.5) as exchange:
        books = LiveBooks(exchange)
        with books.running():
            until(lambda: books.machines["BTCUSDT"].audit.checked > 100)
        assert books.machines["BTCUSDT"].audit.failed == 0
        assert books.states["BTCUSDT"] == [("syncing", "start"), START]
