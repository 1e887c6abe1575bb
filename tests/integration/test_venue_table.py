"""The venue table: the hub accepts, builds, fills and reports a venue of two added rows."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.process.duties import duties_of
from config.settings import Settings, SourceSpec, load
from config.venues import VENUES, Venue, trade_venues
from db.admission import Refusals
from db.bus import Bus
from db.instruments import Instrument
from db.messages import Tick, Trade
from db.postgres import Store
from db.timestamps import format_time, utc_now
from jobs.backfill.request import SOURCES
from jobs.duties.holding import Holding
from jobs.duties.works import JobWorks
from jobs.feeding import Feeding
from jobs.feeds.base import Source, TradePage
from jobs.feeds.context import SourceContext
from jobs.gaps.filler import Filling
from jobs.gaps.trades import TradeGaps
from jobs.runtime.context import JobContext
from jobs.scheduler import services
from jobs.venues import VENUE_PARTS, VenueParts, build, configured
from tests.conftest import until
from tests.support.instruments import make_instrument
from tests.support.registry import report_sources
from tests.support.store import stored_trades

COIN = "TOYCOIN"
NOON = datetime.fromisoformat("2025-03-04T12:00:00+00:00")


def trade(number: int) -> Trade:
    return Trade(COIN, number, format_time(NOON + timedelta(seconds=number)), "1.5", "2", "buy")


class ToySource(Source[Sequence[int]]):
    """Trades 1 to 3, then 8 to 10, and one price; connected until it is stopped."""

    name = "toyex"

    def fetch(self, stop: threading.Event) -> Generator[Sequence[int], None, None]:
        yield (1, 2, 3)
        yield (8, 9, 10)
        stop.wait()

    def parse(self, raw: Sequence[int]) -> Sequence[Tick | Trade]:
        time = format_time(NOON + timedelta(seconds=raw[-1]))
        return [*map(trade, raw), Tick(COIN, bid="1.4", ask="1.6", mid="1.5", time=time, source=self.name)]


class ToyHistory:
    """Trades 1 to 12."""

    refused = Refusals()

    def first_id_at(self, symbol: str, moment: datetime, stop: threading.Event) -> int | None:
        return 1

    def trades(self, symbol: str, first_id: int, stop: threading.Event, *, last_id: int | None = None) -> Iterator[TradePage]:
        if page := [trade(number) for number in range(first_id, min(last_id or 12, 12) + 1)]:
            yield TradePage(page, [], page[-1].trade_id)


def instruments(settings: Settings, known: Sequence[Instrument]) -> list[str]:
    return [each.symbol for each in known if each.source == "toyex"]


def source(spec: SourceSpec, context: SourceContext) -> Source[Sequence[int]]:
    assert instruments(context.settings, context.instruments) == [COIN]
    return ToySource()


def filling(context: JobContext, history: ToyHistory) -> Filling:
    return TradeGaps("toyex", [COIN], history, context.store, context.bus, context.clock)


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Venue:
    """One row in each half of the table."""
    row = Venue("toyex", "live", history="trades", ticks_make_candles=False, health_path="/health/toyex", title="Toy Exchange")
    monkeypatch.setitem(VENUES, row.name, row)
    monkeypatch.setitem(VENUE_PARTS, row.name, VenueParts(row, source, instruments, lambda settings, clock: ToyHistory(), filling))
    return row


@pytest.fixture
def context(venue: Venue, settings: Settings, bus: Bus, store: Store) -> JobContext:
    """A JobContext with the added venue as the only source, and its instrument in the store."""
    with store.transaction() as cursor:
        cursor.execute(
            "INSERT INTO instruments (symbol, name, kind, precision, source, currency, calendar)"
            " VALUES (%s, 'Toy', 'crypto', 2, %s, 'USD', 'crypto')",
            (COIN, venue.name),
        )
    return JobContext(replace(settings, sources=(SourceSpec(venue.name),), batch_timeout_ms=20), bus, store, utc_now)


@contextmanager
def running(context: JobContext, *duties: str) -> Iterator[None]:
    """Do the work of these duties, as a process that has won them."""
    feeding = Feeding(context)
    works = JobWorks(context, feeding, services(feeding))
    holdings = [Holding(duty, 0) for duty in duties]
    works.begin(holdings)
    try:
        yield
    finally:
        for holding in holdings:
            holding.stop.set()
        until(lambda: all(map(works.is_over, duties)), 20, "the end of the works")
        works.close()
        assert not context.failed.is_set()


def test_both_halves_have_the_same_names() -> None:
    assert set(VENUES) == set(VENUE_PARTS)


@pytest.mark.parametrize("name", VENUES)
def test_halves_of_a_row_agree(name: str) -> None:
    row = VENUE_PARTS[name]
    assert row.venue is VENUES[name]
    assert row.venue.name == name
    assert (row.history is not None) == (row.gap_filling is not None) == (row.venue.history is not None)


def test_backfill_offers_the_venues_with_a_history_and_files() -> None:
    assert SOURCES == ("oanda", "binance", "file")


def test_added_venue_is_accepted_in_sources(venue: Venue) -> None:
    assert load({"SOURCES": "toyex"}, dotenv=None).sources == (SourceSpec("toyex"),)
    assert "toyex" in trade_venues()


def test_added_venue_is_built(context: JobContext) -> None:
    known = [make_instrument(COIN, "Toy", "crypto", 2, "toyex"), make_instrument("BTCUSDT", "Bitcoin", "crypto", 2, "binance")]
    built = build(SourceSpec("toyex"), SourceContext(context.settings, known, {}, utc_now))
    assert isinstance(built, ToySource)
    assert [row.venue.name for row in configured(context.settings)] == ["toyex"]


def test_added_venue_is_published_stored_and_filled(context: JobContext, store: Store) -> None:
    assert duties_of(context.settings.sources)[:3] == ("source:toyex", "write:0", "gaps:toyex")
    with running(context, "source:toyex", "write:0", "gaps:toyex"):
        until(lambda: len(stored_trades(store)) == 12, what="all trades of the history")
    assert stored_trades(store) == [trade(number) for number in range(1, 13)]


def test_jobs_start_no_source_for_scenarios(context: JobContext) -> None:
    context = replace(context, settings=replace(context.settings, sources=(SourceSpec("scenario"), SourceSpec("toyex"))))
    with running(context, "source:toyex"):
        until(lambda: [each.report()["state"] for each in context.acting.statuses] == ["live"], what="a live source")
        assert [each.name for each in context.acting.statuses] == ["toyex"]
        assert context.bus.fed_by() == {COIN: "toyex"}


@pytest.fixture
def reported(context: JobContext, bus: Bus, store: Store) -> Iterator[FlaskClient]:
    """REST while jobs run with the added venue as the only source."""
    with running(context, "source:toyex"):
        until(lambda: [each.report()["state"] for each in context.acting.statuses] == ["live"], what="a live source")
        report_sources(bus, {each.name: each.report() for each in context.acting.statuses})
        yield create_app(context.settings, bus, store, utc_now, "1").test_client()


def test_added_venue_is_reported_in_health(reported: FlaskClient) -> None:
    assert reported.get("/health").get_json()["sources"]["toyex"]["state"] == "live"


def test_added_venue_has_the_health_route_of_its_row(reported: FlaskClient) -> None:
    assert reported.get("/health/toyex").get_json()["status"] == "live"
