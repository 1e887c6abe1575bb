"""The OANDA source and its history against a server with the answers and faults of OANDA."""

from __future__ import annotations

import csv
import gzip
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import psycopg2
import pytest

from config.pacing import Stopped
from config.settings import Settings
from db import topics
from db.admission import Window, market_window
from db.bus import Bus
from db.candles import CandleRow
from db.messages import Tick
from db.partitions import make_months
from db.postgres import Store
from db.prices import PriceRow, insert_prices
from db.timestamps import format_time, parse_time, utc_now
from jobs.feeding import source_context
from jobs.feeds.base import SourceError
from jobs.feeds.http_json import JsonClient
from jobs.feeds.ingest import Ingest, Ingestion
from jobs.feeds.oanda.history import OandaHistory, oanda_history
from jobs.feeds.oanda.stream import OandaSource
from jobs.feeds.oanda.wire import request_headers
from jobs.feeds.source_admission import SourceAdmission
from jobs.feeds.status import Reporter, Status
from jobs.gaps.candles import complete_so_far
from jobs.runtime.context import JobContext
from tests.conftest import until
from tests.standins.oanda import OandaStandIn
from tests.support.bus import source_changes
from tests.support.instruments import make_instrument
from tests.support.processes import jobs

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
HOURLY = RECORDINGS / "EUR_USD_H1.csv.gz"
Quoted = tuple[str, str, str]  # time in contract form, bid, ask


def rows(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def quotes() -> list[Quoted]:
    return [(row["time"].replace("Z", "000Z"), row["bid"], row["ask"]) for row in rows(RECORDINGS / "EUR_USD_20140505.csv.gz")]


@pytest.fixture
def market(tmp_path: Path, quotes: list[Quoted]) -> Callable[[int], dict[str, Path]]:
    """The first quotes of the recording, as a recording of their own."""

    def first(count: int) -> dict[str, Path]:
        file = tmp_path / "EUR_USD.csv"
        file.write_text("time,bid,ask\n" + "".join(f"{','.join(quote)}\n" for quote in quotes[:count]))
        return {"EUR_USD": file}

    return first


CALENDARS = {"EUR_USD": "fx", "USD_JPY": "fx"}


def window() -> Window:
    return market_window("live", "fx", utc_now())


def source(oanda: OandaStandIn, *, token: str | None = None, silence: float = 15.0) -> OandaSource:
    return OandaSource(
        oanda.url, oanda.account, token or oanda.token, ["EUR_USD", "USD_JPY"], latest_times={}, window=window, silence=silence
    )


@contextmanager
def running(feed: OandaSource, bus: Bus, max_attempts: int = 10) -> Iterator[Ingestion]:
    ingestion = Ingestion([feed], bus, calendars=CALENDARS, max_attempts=max_attempts, clock=lambda: datetime.now(UTC))
    ingestion.start()
    try:
        yield ingestion
    finally:
        assert ingestion.stop(20)


def taken(bus: Bus) -> list[Quoted]:
    """What the bus has of the market, oldest first."""
    prices = [orjson.loads(entry.body)["price"] for entry in bus.backwards(topics.PRICES)]
    return [(price["time"], price["bid"], price["ask"]) for price in reversed(prices)]


def changes(bus: Bus) -> list[tuple[str, str | None]]:
    return [(change["state"], change["detail"]) for change in source_changes(bus)]


def has_state(bus: Bus, state: str) -> Callable[[], bool]:
    return lambda: state in [name for name, _ in changes(bus)]


@pytest.mark.slow
def test_every_price_is_published_once_despite_every_fault(
    bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted]
) -> None:
    with OandaStandIn(quotes=market(700), heartbeat=0.1) as oanda:
        for at, command in (
            (100, {"do": "drop"}),
            (200, {"do": "half"}),
            (300, {"do": "end"}),
            (400, {"do": "stall"}),
            (500, {"do": "refuse", "status": 429, "retry_after": 1}),
            (500, {"do": "drop"}),
            (600, {"do": "refuse", "status": 503}),
            (600, {"do": "drop"}),
        ):
            oanda.control(after=at, **command)
        with running(source(oanda, silence=3), bus) as ingestion:
            until(lambda: oanda.state()["over"], 60)
            until(lambda: taken(bus)[-1:] == [quotes[699]])
            until(lambda: changes(bus)[-1:] == [("live", None)])
            assert ingestion.statuses[0].report()["state"] == "live"
        state = oanda.state()
    assert taken(bus) == quotes[:700]
    assert (state["streams"], state["stream_requests"]) == (7, 9)
    assert state["snapshots"] == 6  # each reconnection told the current price again
    details = [detail for name, detail in changes(bus) if name == "backing_off"]
    assert [detail for detail in details if detail and "incomplete" not in detail] == [
        "the server closed the stream",
        "silent for 3 s",
        "HTTP 429: Too Many Requests",
        "HTTP 503: Service Unavailable",
    ]
    assert len(details) == 8
    assert set(changes(bus)) - {("connecting", None), ("live", None)} == {("backing_off", detail) for detail in details}


def test_prices_of_one_time_are_all_published_but_not_repeated(bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD.csv"
    moment = "2014-05-05T00:00:00.000Z"
    file.write_text(f"time,bid,ask\n{moment},1.1,1.3\n{moment},1.2,1.3\n{moment},1.2,1.4\n2014-05-05T00:00:01Z,1.2,1.4\n")
    with OandaStandIn(quotes={"EUR_USD": file}, heartbeat=0.1) as oanda:
        for after in (1, 2, 3, 4):
            oanda.control(do="drop", after=after)
        with running(source(oanda), bus):
            until(lambda: oanda.state()["streams"] == 5, 60)
            until(lambda: len(taken(bus)) == 4)
    assert [bid + ask for _, bid, ask in taken(bus)] == ["1.11.3", "1.21.3", "1.21.4", "1.21.4"]


def test_changed_instruments_are_requested_on_a_new_connection(bus: Bus, market: Callable[[int], dict[str, Path]]) -> None:
    euro, yen, gold = (make_instrument(symbol, symbol, "fx", 5, "oanda") for symbol in ("EUR_USD", "USD_JPY", "XAU_USD"))
    with OandaStandIn(quotes=market(5), heartbeat=0.1) as oanda:
        feed = source(oanda)
        with running(feed, bus):
            until(lambda: oanda.state()["asked"] == ["EUR_USD", "USD_JPY"])
            feed.set_instruments([euro, yen, gold])
            until(lambda: oanda.state()["asked"] == ["EUR_USD", "USD_JPY", "XAU_USD"])
            feed.set_instruments([yen])
            until(lambda: oanda.state()["asked"] == ["USD_JPY"])
            feed.set_instruments([yen])  # no change
            until(has_state(bus, "live"))
        assert oanda.state()["streams"] == 3
    assert "backing_off" not in [name for name, _ in changes(bus)]


class Hasty(threading.Event):
    """A stop event whose waits between attempts are cut short."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(min(timeout or 0.0, 0.05))


@contextmanager
def alone(feed: OandaSource, bus: Bus, max_attempts: int) -> Iterator[tuple[threading.Thread, Callable[[], dict[str, Any]]]]:
    """The source in a thread that hardly waits between attempts, and a way to report it.

    It publishes the changes of the state and returns the report.
    """
    stop, changed = Hasty(), threading.Event()
    status = Status("oanda", lambda: datetime.now(UTC), changed)
    admission = SourceAdmission(status, CALENDARS, lambda: datetime.now(UTC))
    reporter = Reporter(bus, [status], changed)

    def report() -> dict[str, Any]:
        reporter.report()
        return status.report()

    thread = threading.Thread(target=Ingest(feed, bus, status, admission, max_attempts=max_attempts).run, args=(stop,))
    thread.start()
    try:
        yield thread, report
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def test_bad_token_makes_the_source_down_without_revealing_it(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    with OandaStandIn() as oanda, caplog.at_level(logging.DEBUG):
        with alone(source(oanda, token="wrong-but-secret"), bus, max_attempts=10) as (thread, report):
            thread.join(60)
            assert not thread.is_alive()  # it does not try again
            reported = report()
        assert oanda.state()["stream_requests"] == 1
    # The broker's own text stands in the log only.
    assert changes(bus) == [("down", "HTTP 401: Unauthorized")]
    assert reported["detail"] == "HTTP 401: Unauthorized"
    lines = [(record.name, f"{record.getMessage()} {record.__dict__}") for record in caplog.records]
    assert any("Insufficient authorization" in line for _, line in lines)
    assert not any("wrong-but-secret" in line for _, line in lines)
    assert not any(oanda.account in line for name, line in lines if name != "httpx")  # which `config.logs` silences


@pytest.mark.parametrize(
    ("status", "account", "reason"),
    [
        (None, "101-004-9-001", "HTTP 403: Forbidden: The provided request was forbidden."),
        (None, "5271115", "HTTP 400: Bad Request: Invalid value specified for 'accountID'"),
        (404, None, "HTTP 404: Not Found: Not found."),
    ],
)
def test_refusal_that_needs_an_operator_is_fatal(status: int | None, account: str | None, reason: str) -> None:
    with OandaStandIn() as oanda:
        if status is not None:
            oanda.control(do="refuse", status=status)
        feed = OandaSource(oanda.url, account or oanda.account, oanda.token, ["EUR_USD"], latest_times={}, window=window)
        with pytest.raises(SourceError) as caught:
            list(feed.fetch(threading.Event()))
    assert (caught.value.explanation, caught.value.fatal) == (reason, True)
    assert caught.value.__cause__ is caught.value.__context__ is None  # httpx's own words have the URL


def test_retry_after_of_the_server_is_waited_out(bus: Bus) -> None:
    with OandaStandIn(heartbeat=0.1) as oanda:
        oanda.control(do="refuse", status=429, retry_after=2)
        begun = time.monotonic()
        with running(source(oanda), bus):
            until(has_state(bus, "live"))
        assert time.monotonic() - begun >= 2
    assert changes(bus)[0] == ("backing_off", "HTTP 429: Too Many Requests")


def test_source_is_down_after_the_attempts_and_live_again_later(
    bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted]
) -> None:
    with OandaStandIn(quotes=market(10), heartbeat=0.1) as oanda:
        oanda.control(do="refuse", status=500, times=5)
        with alone(source(oanda), bus, max_attempts=2) as (_, report):
            until(lambda: taken(bus) == quotes[:10])

            # The source counts a batch, and is live, shortly after the bus has accepted it.
            def reported() -> bool:
                state = report()
                return (state["state"], state["ticks"]) == ("live", 10)

            until(reported)
        assert oanda.state()["refused"] == 5
    assert [name for name, _ in changes(bus)] == [*["backing_off", "connecting"] * 2, "down", "live"]
    assert report()["ticks"] == 10


def test_unavailable_server_is_waited_for(bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted]) -> None:
    with OandaStandIn(quotes=market(20), heartbeat=0.1) as oanda:
        feed = source(oanda)
        oanda.kill()
        with running(feed, bus):
            until(has_state(bus, "backing_off"))
            oanda.start()
            until(lambda: taken(bus) == quotes[:20], 60)


def test_silent_stream_is_stale_and_stops_at_once(bus: Bus) -> None:
    feed = source(OandaStandIn())
    with OandaStandIn(heartbeat=0.1) as oanda:
        feed = source(oanda, silence=600)
        feed.stale_after = 0.5
        with running(feed, bus):  # which ends long before the 600 s
            until(has_state(bus, "live"))
            oanda.control(do="stall")
            until(has_state(bus, "stale"))
    assert changes(bus)[-1][0] == "stale"


def test_garbage_on_the_stream_loses_no_price(bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted]) -> None:
    with OandaStandIn(quotes=market(50), heartbeat=0.1) as oanda:
        for after, text in ((10, "\n"), (20, "{nonsense\n"), (30, '{"type":"PRICE","instrument":"EUR_USD"}\n')):
            oanda.control(do="say", text=text, after=after)
        with running(source(oanda), bus):
            until(lambda: taken(bus) == quotes[:50])
    assert [name for name, _ in changes(bus)] == ["live"]


def test_offers_in_no_order_give_the_best_prices(bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted]) -> None:
    with OandaStandIn(quotes=market(50), heartbeat=0.1) as oanda:
        oanda.control(do="buckets")
        with running(source(oanda), bus):
            until(lambda: taken(bus) == quotes[:50])


def test_killed_jobs_process_repeats_no_price_and_logs_no_secret(
    settings: Settings, bus: Bus, market: Callable[[int], dict[str, Path]], quotes: list[Quoted], tmp_path: Path
) -> None:
    log = tmp_path / "jobs.log"
    with OandaStandIn(quotes=market(300), heartbeat=0.2) as oanda:
        oanda.control(do="pause", after=100)
        with jobs(settings, log, SOURCES="oanda", LOG_LEVEL="DEBUG", **oanda.environ) as process:
            until(lambda: stored(settings) == quotes[:100], 60)
            assert len(oanda.state()["asked"]) == 20
            process.kill(signal.SIGKILL)
        until(lambda: oanda.state()["open"] == 0)
        with jobs(settings, log, SOURCES="oanda", LOG_LEVEL="DEBUG", **oanda.environ) as process:
            until(lambda: oanda.state()["snapshots"] == 1, 60)
            oanda.control(do="resume")
            until(lambda: stored(settings) == quotes[:300], 60)
            assert process.ask_to_stop() == 0
            said = process.output()
    assert taken(bus) == quotes[:300]
    assert "source is live" in said
    assert oanda.token not in said
    assert oanda.account not in said


def test_source_continues_from_the_newest_price_of_store_and_bus(
    settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime]
) -> None:
    def row(instrument: str, seconds: int, source: str) -> PriceRow:
        moment = f"2025-01-01T00:00:{seconds:02}.000000Z"
        return PriceRow(instrument, moment, moment, "1.1", "1.3", "1.2", None, source, "e", seconds)

    def tick(instrument: str, seconds: int) -> Tick:
        return Tick(instrument, "1.1", "1.3", "1.2", f"2025-01-01T00:00:{seconds:02}.000000Z", "oanda")

    with store.transaction() as cursor:
        insert_prices(cursor, [row("EUR_USD", 1, "oanda"), row("EUR_USD", 5, "oanda"), row("USD_JPY", 7, "oanda")])
        insert_prices(cursor, [row("GBP_USD", 9, "synthetic")])
        # Rows with wild times, which an older version has stored, are no last price.
        wild = [replace(row("USD_JPY", 7, "oanda"), time=time, mid="9.9") for time in ("2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z")]
        insert_prices(cursor, wild)
        make_months(cursor, "candles", ["2099-01"])
        cursor.execute(
            "INSERT INTO candles (symbol, interval, start_time, end_time, open, high, low, close, volume, complete, source)"
            " VALUES ('AUD_USD', '1m', '2099-01-01T00:00Z', '2099-01-01T00:01Z', 9.9, 9.9, 9.9, 9.9, 1, true, 'ticks')"
        )
    bus.publish_prices([tick("EUR_USD", 6), tick("USD_JPY", 2), tick("GBP_USD", 9)])
    context = source_context(JobContext(settings, bus, store, clock), threading.Event())
    assert context is not None
    assert context.latest_times == {"EUR_USD": "2025-01-01T00:00:06.000000Z", "USD_JPY": "2025-01-01T00:00:07.000000Z"}
    assert context.latest == {"EUR_USD": "1.2", "USD_JPY": "1.2", "GBP_USD": "1.2"}


def stored(settings: Settings) -> list[Quoted]:
    with psycopg2.connect(str(settings.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT time, bid::text, ask::text FROM prices ORDER BY time, seq")
        return [(format_time(moment), bid, ask) for moment, bid, ask in cursor.fetchall()]


# history

START, END = datetime(2021, 3, 1, tzinfo=UTC), datetime(2021, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def hourly() -> list[CandleRow]:
    """The recording as rows."""

    def side(row: dict[str, str], name: str) -> tuple[str, str, str, str]:
        return row[f"{name}_o"], row[f"{name}_h"], row[f"{name}_l"], row[f"{name}_c"]

    made = []
    for row in rows(HOURLY):
        end = parse_time(row["time"]) + timedelta(hours=1)
        times = row["time"].replace("Z", ".000000Z"), f"{end:%Y-%m-%dT%H:%M:%S.%f}Z"
        quotes = int(row["volume"])
        sides = side(row, "mid"), side(row, "bid"), side(row, "ask")
        made.append(CandleRow("EUR_USD", "1h", *times, *sides, row["volume"], quotes, True, "oanda"))
    return made


@pytest.fixture(scope="module")
def past() -> Iterator[OandaStandIn]:
    with OandaStandIn(candles={("EUR_USD", "H1"): HOURLY}) as oanda:
        yield oanda


def history(oanda: OandaStandIn, page: int = 5000) -> OandaHistory:
    return OandaHistory(JsonClient(oanda.url, headers=request_headers(oanda.token)), page=page)


def candles(given: OandaHistory, interval: str = "1h", start: datetime = START, end: datetime = END) -> list[CandleRow]:
    pages = given.candles("EUR_USD", interval, start, end, threading.Event())
    return [row for page in complete_so_far(pages) for row in page.candles]


def test_whole_history_fits_one_page(past: OandaStandIn, settings: Settings, hourly: list[CandleRow]) -> None:
    config = replace(settings, oanda_rest_url=past.url, oanda_api_token=past.token)
    assert candles(oanda_history(config, utc_now)) == hourly


@pytest.mark.parametrize("page", [1, 7, 700, 4000])
def test_pages_together_are_the_whole_history(past: OandaStandIn, hourly: list[CandleRow], page: int) -> None:
    wanted = hourly if page >= 700 else hourly[100:150]
    end = parse_time(wanted[-1].end_time)
    asked = past.state()["candles_requests"]
    pages = list(history(past, page).candles("EUR_USD", "1h", parse_time(wanted[0].start_time), end, threading.Event()))
    assert [row for each in pages for row in each.candles] == wanted
    assert all(0 < len(each.candles) <= page for each in pages)
    assert past.state()["candles_requests"] - asked >= len(wanted) / page


def test_history_of_more_than_five_thousand_candles_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "EUR_USD_M1.csv"
    header = "time,volume," + ",".join(f"{side}_{part}" for side in ("mid", "bid", "ask") for part in "ohlc")
    begin = datetime(2021, 3, 1, tzinfo=UTC)
    starts = [begin + timedelta(minutes=minute) for minute in range(12_001)]
    file.write_text(header + "\n" + "".join(f"{start:%Y-%m-%dT%H:%M:%SZ},1{',1.1' * 12}\n" for start in starts))
    with OandaStandIn(candles={("EUR_USD", "M1"): file}) as oanda:
        pages = list(history(oanda).candles("EUR_USD", "1m", begin, END, threading.Event()))
    assert [len(page.candles) for page in pages] == [5000, 5000, 2001]
    assert [parse_time(row.start_time) for page in pages for row in page.candles] == starts


def test_history_is_cut_exactly_at_start_and_end(past: OandaStandIn, hourly: list[CandleRow]) -> None:
    start, end = parse_time(hourly[10].start_time), parse_time(hourly[20].start_time)
    assert candles(history(past), start=start, end=end) == hourly[10:20]
    inside = timedelta(minutes=1)
    assert candles(history(past), start=start + inside, end=end + inside) == hourly[11:21]
    assert candles(history(past, 1), start=start + inside, end=end + inside) == hourly[11:21]
    assert candles(history(past), start=start, end=start) == []


def test_forming_candle_is_left_out(past: OandaStandIn, hourly: list[CandleRow]) -> None:
    past.control(do="now", time="2021-10-01T12:30:00Z")
    try:
        complete = [row for row in hourly if row.end_time <= "2021-10-01T12:30:00"]
        assert candles(history(past)) == complete
        assert candles(history(past, 500)) == complete
        assert candles(history(past), start=datetime(2021, 10, 1, 13, tzinfo=UTC)) == []  # which OANDA calls an error
    finally:
        past.control(do="now", time=None)


def test_history_survives_faults_between_pages(past: OandaStandIn, hourly: list[CandleRow]) -> None:
    pages = history(past, 2000).candles("EUR_USD", "1h", START, END, threading.Event())
    found = next(pages)
    past.control(do="refuse", status=429, retry_after=1, path="candles")
    past.control(do="refuse", status=500, path="candles")
    assert [*found.candles, *(row for page in pages for row in page.candles)] == hourly


def test_repeated_page_of_candles_is_an_error(past: OandaStandIn) -> None:
    pages = history(past, 1000).candles("EUR_USD", "1h", START, END, threading.Event())
    next(pages)
    past.control(do="repeat_page")
    with pytest.raises(SourceError, match="again and again") as caught:
        next(pages)
    assert not caught.value.fatal


def test_stop_ends_the_wait_for_a_retry(past: OandaStandIn) -> None:
    stop = threading.Event()
    stop.set()
    past.control(do="refuse", status=429, retry_after=3600, path="candles")
    with pytest.raises(Stopped):
        list(history(past).candles("EUR_USD", "1h", START, END, stop))


def test_history_with_a_bad_token_is_a_fatal_error(past: OandaStandIn) -> None:
    given = OandaHistory(JsonClient(past.url, headers=request_headers("wrong")))
    with pytest.raises(SourceError, match=r"^HTTP 401: Unauthorized$") as caught:
        candles(given)
    assert caught.value.server_text == "Insufficient authorization to perform request."
    assert caught.value.fatal


@pytest.mark.parametrize("interval", ["4h", "1d"])
def test_days_begin_at_five_in_new_york(past: OandaStandIn, hourly: list[CandleRow], interval: str) -> None:
    found = candles(history(past, 50), interval)
    assert {parse_time(row.start_time).hour for row in found} <= ({21, 1, 5, 9, 13, 17} if interval == "4h" else {21})
    assert sum(int(row.volume) for row in found) == sum(int(row.volume) for row in hourly)
    first = [row for row in hourly if found[1].start_time <= row.start_time < found[1].end_time]
    assert (found[1].mid[0], found[1].mid[3]) == (first[0].mid[0], first[-1].mid[3])
    assert all(one.end_time <= other.start_time for one, other in pairwise(found))


def test_missed_minutes_are_in_the_history(market: Callable[[int], dict[str, Path]], quotes: list[Quoted]) -> None:
    with OandaStandIn(quotes=market(500), wait=False) as oanda:
        until(lambda: oanda.state()["over"])
        found = candles(history(oanda), "1m", datetime(2014, 5, 5, tzinfo=UTC), datetime(2014, 5, 6, tzinfo=UTC))
    minutes: dict[str, list[Quoted]] = {}
    for quote in quotes[:500]:
        minutes.setdefault(quote[0][:16], []).append(quote)
    assert [row.start_time[:16] for row in found] == list(minutes)
    for row, inside in zip(found, minutes.values(), strict=True):
        bids = [bid for _, bid, _ in inside]
        assert row.bid == (bids[0], max(bids), min(bids), bids[-1])
        assert (row.volume, row.trades) == (str(len(inside)), len(inside))


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("EUR_USD", {"count": "5001"}, "Maximum value for 'count' exceeded"),
        ("EUR_USD", {"from": "2021-01-01T00:00:00Z", "to": "2021-11-01T00:00:00Z"}, "Maximum value for 'count' exceeded"),
        ("EUR_USD", {"from": "2999-01-01T00:00:00Z"}, "Invalid value specified for 'from'. Time is in the future"),
        ("EURUSD", {}, "Invalid value specified for 'instrument'"),
        ("EUR_USD", {"granularity": "H5"}, "Invalid value specified for 'granularity'"),
    ],
)
def test_stand_in_refuses_the_requests_that_the_real_service_refuses(
    past: OandaStandIn, path: str, query: dict[str, Any], message: str
) -> None:
    url, headers = f"{past.url}/v3/instruments/{path}/candles", request_headers(past.token)
    answer = httpx.get(url, params={"granularity": "H1", **query}, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()) == (400, {"errorMessage": message})
