"""Faults of Redis, PostgreSQL, the hub, the jobs and the clients, on servers of the test's own."""

from __future__ import annotations

import gzip
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import orjson
import psycopg2
import pytest
import redis as redis_client
from apscheduler.triggers.cron import CronTrigger
from tickwire_client import Client

from config.settings import Settings
from config.settings import load as load_settings
from db import topics
from db.bus import Bus, BusError, QueuedReport
from db.messages import Tick
from db.postgres import Store
from jobs.runtime.context import JobContext, Timed
from jobs.runtime.runs import run_once
from ops import embedded
from tests.conftest import until
from tests.support.answers import get
from tests.support.clients import NodeClient, PythonClient
from tests.support.hub_variants import variant
from tests.support.processes import ROOT, Breakable, Web, jobs, observer, stopped
from tests.support.reports import fill_body
from tests.support.servers import add_operator, operator_url
from tests.support.store import select
from tests.support.up import copy_data, make_data

RECORDING = ROOT / "data" / "recordings" / "EUR_USD_20140505.csv.gz"

CALENDARS = {"EUR_USD": "fx", "GBP_USD": "fx"}

# TICKWIRE_SILENCE=1: Redis hangs for 40 s, and the hub has its usual times
LONG_SILENCE = "TICKWIRE_SILENCE" in os.environ

# TICKWIRE_REPORTS=1: 100,000 reports, for about 20 minutes
LONG = "TICKWIRE_REPORTS" in os.environ
REPORTS, KILLS = (100_000, 4) if LONG else (1_500, 1)  # KILLS of each of four processes
REPORTS_PER_BATCH = 500 if LONG else 100
FAULT_SECONDS = 1200 if LONG else 120


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Breakable]:
    server = embedded.redis(tmp_path)
    add_operator(server, tmp_path)
    with Breakable(server, tmp_path) as process:
        yield process


@pytest.fixture
def operator(redis: Breakable) -> Iterator[redis_client.Redis]:
    """A client of that Redis with every right."""
    with redis_client.Redis.from_url(operator_url(redis.url)) as client:
        yield client


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a migrated database."""
    return make_data(tmp_path_factory.mktemp("data") / "var")


@pytest.fixture
def postgres(data: Path, tmp_path: Path) -> Iterator[Breakable]:
    """PostgreSQL on a copy of that data."""
    copy_data(data, tmp_path)
    with Breakable(embedded.postgres(tmp_path), tmp_path) as server:
        yield server


@pytest.fixture
def config(redis: Breakable, postgres: Breakable, tmp_path: Path) -> Settings:
    environ = {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url, "HUB_DATA_DIR": str(tmp_path), "SOURCES": ""}
    return load_settings(environ, dotenv=None)


@pytest.fixture
def ticker(redis: Breakable) -> Iterator[Ticker]:
    ticker = Ticker(redis.url)
    ticker.thread.start()
    yield ticker
    ticker.end()


class Ticker:
    """Publishes prices of EUR_USD one by one; repeats each until it is accepted."""

    def __init__(self, url: str) -> None:
        self.bus = Bus(url, lambda: datetime.now(UTC), timeout=2)
        self.bus.set_instruments(CALENDARS)
        self.accepted: list[int] = []  # seq of every accepted price, in order
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for number in count(1):
            price = f"1.{number:06}"
            tick = Tick("EUR_USD", price, price, price, "2025-11-18T12:30:00.000000Z", "ticker")
            while not self._publish(tick, number):
                if self._stop.wait(0.02):
                    return
            if self._stop.wait(0.005):
                return

    def _publish(self, tick: Tick, number: int) -> bool:
        try:
            self.accepted += [stamp.seq for stamp in self.bus.publish_prices([tick], f"ticker/{number}")]
        except BusError:
            return False
        return True

    def await_more(self, more: int) -> int:
        """Wait until `more` further prices were accepted; return the last seq."""
        goal = len(self.accepted) + more
        until(lambda: len(self.accepted) >= goal, 60, f"{more} more prices")
        return self.accepted[-1]

    def end(self) -> int:
        """Stop; return the number of accepted prices."""
        self._stop.set()
        self.thread.join(60)
        return len(self.accepted)


def without_hole_or_double(seqs: list[int]) -> bool:
    return bool(seqs) and all(after == before + 1 for before, after in pairwise(seqs))


def stored(store: Store) -> list[tuple[int, str]]:
    with store.transaction() as cursor:
        cursor.execute("SELECT seq, bid FROM prices ORDER BY epoch, seq")
        return list(cursor.fetchall())


def test_killed_redis_loses_and_repeats_no_message(config: Settings, redis: Breakable, ticker: Ticker, tmp_path: Path) -> None:
    with Web("hub", config, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client, NodeClient(hub.url) as node:
        client.call("subscribe", {"pairs": "EUR_USD"})
        node.wait("connection_established")
        node.call("subscribe", {"pairs": "EUR_USD"})
        for _ in range(3):
            ticker.await_more(50)
            redis.kill(signal.SIGKILL)
            until(lambda: not client.stats()["redis_connected"], what="the hub noticing")
            redis.start()
            ticker.await_more(50)
        ticker.end()
        last = ticker.accepted[-1]
        for each in (client, node):
            each.wait("price_update", where=lambda body: body["seq"] == last, seconds=60)
            assert without_hole_or_double(each.seqs())
        assert ticker.accepted == list(range(1, last + 1))
        assert len({body["epoch"] for body in client.bodies("price_update")}) == 1
        assert len(client.bodies("connection_established")) == 1  # no client was disconnected


def test_redis_without_its_data_begins_a_new_epoch(config: Settings, redis: Breakable, tmp_path: Path) -> None:
    bus = Bus(redis.url, lambda: datetime.now(UTC))
    bus.set_instruments(CALENDARS)
    price: dict[str, Any] = {"bid": "1", "ask": "1", "mid": "1", "time": "2025-11-18T12:30:00.000000Z"}
    with Web("hub", config, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        old = [bus.cache_price("EUR_USD", **price) for _ in range(5)]
        client.wait("price_update", 5)
        redis.kill(signal.SIGKILL)
        for file in (tmp_path / "redis").glob("appendonly*"):
            file.unlink()
        redis.start()
        new = [until(lambda: _or_none(lambda: bus.cache_price("EUR_USD", **price))) for _ in range(2)]
        client.wait("price_update", 7)
        assert client.seqs() == [1, 2, 3, 4, 5, 1, 2]
        assert [body["epoch"] for body in client.bodies("price_update")] == [stamp.epoch for stamp in (*old, *new)]  # type: ignore[attr-defined]
        client.call("unsubscribe", {"pairs": "all"})
        answer = client.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": {"epoch": old[0].epoch, "seq": 2}}})
        assert answer["recovered"] == {"EUR_USD": False}


def _or_none(call: Callable[[], object]) -> object:
    try:
        return call()
    except BusError:
        return None


def test_dropped_subscription_of_the_hub_loses_no_message(
    config: Settings, operator: redis_client.Redis, ticker: Ticker, tmp_path: Path
) -> None:
    with Web("hub", config, tmp_path / "hub.log") as hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        for _ in range(5):
            ticker.await_more(20)
            operator.client_kill_filter(_type="pubsub")
        ticker.await_more(20)
        ticker.end()
        client.wait("price_update", where=lambda body: body["seq"] == ticker.accepted[-1])
        assert without_hole_or_double(client.seqs())


def test_hub_reconnects_to_a_redis_that_hangs_and_loses_no_message(
    config: Settings, redis: Breakable, ticker: Ticker, tmp_path: Path
) -> None:
    log, least = tmp_path / "hub.log", 30.0 if LONG_SILENCE else 3.0
    hub = Web("hub", config, log) if LONG_SILENCE else variant("with_short_silence", config, log)
    with hub, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        ticker.await_more(20)
        with stopped(redis.pid):
            began = time.monotonic()
            until(lambda: not client.stats()["redis_connected"], 60, "the hub noticing")
            assert time.monotonic() - began > least / 2, "the hub has noticed something else"
            if LONG_SILENCE:
                time.sleep(max(0.0, began + 40 - time.monotonic()))
        ticker.await_more(20)
        ticker.end()
        client.wait("price_update", where=lambda body: body["seq"] == ticker.accepted[-1], seconds=60)
        assert without_hole_or_double(client.seqs())
        assert ticker.accepted == list(range(1, ticker.accepted[-1] + 1))
        assert hub.output().count("relay lost the bus") == 2, "once at the start of the outage and once at its end"
        assert "the bus is silent" in hub.output()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_client_of_a_killed_hub_receives_the_missed_messages_after_its_restart(
    number: signal.Signals, config: Settings, ticker: Ticker, tmp_path: Path
) -> None:
    with Web("hub", config, tmp_path / "hub.log") as hub:
        with PythonClient(hub.url) as client:
            client.call("subscribe", {"pairs": "EUR_USD"})
            client.wait("price_update", 20)
            hub.kill(number)
            client.wait("disconnect")
            before = client.bodies("price_update")
        ticker.await_more(100)
        hub.start()
        with NodeClient(hub.url) as client_again:
            client_again.wait("connection_established")
            position = {"epoch": before[-1]["epoch"], "seq": before[-1]["seq"]}
            answer = client_again.call("subscribe", {"pairs": "EUR_USD", "since": {"EUR_USD": position}})
            assert answer["recovered"] == {"EUR_USD": True}
            ticker.await_more(20)
            ticker.end()
            client_again.wait("price_update", where=lambda body: body["seq"] == ticker.accepted[-1])
            seqs = [body["seq"] for body in before] + client_again.seqs()
            assert without_hole_or_double(seqs)
            assert seqs[-1] == ticker.accepted[-1]


def _more_stored(store: Store, than: int) -> bool:
    return len(stored(store)) > than


@pytest.mark.slow
def test_writer_killed_during_its_batches_stores_every_price_once(config: Settings, ticker: Ticker, tmp_path: Path) -> None:
    store = Store(str(config.database_url))
    process = jobs(config, tmp_path / "jobs.log", BATCH_SIZE="5", BATCH_TIMEOUT="5")
    with process:
        for _ in range(8):
            at = len(stored(store))
            until(partial(_more_stored, store, at), 60, "the writer at work")
            process.kill(signal.SIGKILL)
            ticker.await_more(30)
            process.start()
        total = ticker.end()
        until(lambda: ticker.bus.unstored() == 0, 60, "an empty backlog")
        assert stored(store) == [(number, f"1.{number:06}") for number in range(1, total + 1)]


@pytest.mark.slow
def test_prices_flow_during_an_outage_of_postgres_and_are_stored_after_it(config: Settings, postgres: Breakable, tmp_path: Path) -> None:
    """During twenty seconds health is 503 with the reason; after them the history is complete."""
    store = Store(str(config.database_url))
    bus = Bus(str(config.redis_url), lambda: datetime.now(UTC))
    logs = tmp_path / "hub.log", tmp_path / "rest.log", tmp_path / "jobs.log"
    process = jobs(config, logs[2], SOURCES="synthetic", INGESTION_INTERVAL_SECONDS="0.5")
    with Web("hub", config, logs[0]) as hub, Web("rest", config, logs[1]) as rest, process, PythonClient(hub.url) as client:
        client.call("subscribe", {"pairs": "EUR_USD"})
        until(lambda: get(rest.url, "/health")[0] == 200, 30, "health")
        client.wait("price_update", 2)
        postgres.kill(signal.SIGINT)
        seen = len(client.seqs())
        client.wait("price_update", seen + 40, seconds=90)  # 40 × 0.5 s
        status, body = get(rest.url, "/health")
        assert (status, orjson.loads(body)["status"], orjson.loads(body)["database"]) == (503, "unhealthy", "disconnected")
        assert get(rest.url, "/ticks?symbol=EUR_USD")[0] == 503
        assert get(rest.url, "/health/live")[0] == get(rest.url, "/price/latest?symbol=EUR_USD")[0] == 200
        assert bus.unstored() > 0
        postgres.start()
        until(lambda: get(rest.url, "/health")[0] == 200, 60, "health again")
        assert process.ask_to_stop() == 0
        until(lambda: bus.unstored() == 0, 60, "an empty backlog")
        assert without_hole_or_double(client.seqs())
        with store.transaction() as cursor:
            cursor.execute("SELECT seq, bid FROM prices WHERE instrument = 'EUR_USD' ORDER BY seq")
            rows = dict(cursor.fetchall())
        assert sorted(rows) == list(range(1, max(rows) + 1))
        assert {body["seq"]: body["price"]["bid"] for body in client.bodies("price_update")}.items() <= rows.items()
    assert [line for log in logs for line in log.read_text().splitlines() if "Traceback" in line] == []


def test_run_waits_for_an_unavailable_store_without_using_an_attempt(
    config: Settings, postgres: Breakable, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs the wait once. A run that loses the store midway fails and is retried."""
    begun: list[datetime] = []

    def run(work: JobContext, as_of: datetime) -> int:
        begun.append(as_of)
        if len(begun) == 1:
            postgres.kill(signal.SIGINT)
            work.store.ping()
        return 7

    noon = datetime(2025, 11, 18, 12, tzinfo=UTC)
    store = Store(str(config.database_url))
    work = JobContext(config, Bus(str(config.redis_url), lambda: noon), store, lambda: noon)
    job = Timed("test", "every hour", CronTrigger(minute=0, timezone=UTC), run, retries=1, retry_seconds=0.01)
    with ThreadPoolExecutor(1) as pool:
        rows = pool.submit(run_once, job, work, noon)
        until(lambda: "job waits for the store" in caplog.text)
        postgres.start()
        assert rows.result(120) == 7
    assert begun == [noon, noon]
    assert caplog.text.count("job waits for the store") == caplog.text.count("job failed") == 1
    with store.transaction() as cursor:
        cursor.execute("SELECT outcome, rows FROM job_runs WHERE job = 'test' ORDER BY id")
        assert cursor.fetchall() == [("abandoned", None), ("succeeded", 7)]
    store.close()


def test_jobs_and_hub_wait_for_servers_that_start_later(config: Settings, redis: Breakable, postgres: Breakable, tmp_path: Path) -> None:
    redis.kill(signal.SIGTERM)
    postgres.kill(signal.SIGINT)
    process = jobs(config, tmp_path / "jobs.log", SOURCES="synthetic", INGESTION_INTERVAL_SECONDS="0.2")
    hub = Web("hub", config, tmp_path / "hub.log")
    with process, hub.popen_only() as waiting:
        until(lambda: all("no connection to PostgreSQL" in each.output() for each in (waiting, process)), 30)
        redis.start()
        postgres.start()
        hub.await_ready()
        with PythonClient(hub.url) as client:
            client.call("subscribe", {"pairs": "EUR_USD"})
            client.wait("price_update", 3)


def test_replayed_recording_keeps_every_digit_on_its_way(config: Settings, tmp_path: Path) -> None:
    """From the file over the bus to a client, the store and REST."""
    with gzip.open(RECORDING, "rt") as text:
        lines = [line.strip().split(",") for line in text][1:]
    bus = Bus(str(config.redis_url), lambda: datetime.now(UTC))
    process = jobs(config, tmp_path / "jobs.log", SOURCES=f"replay:{RECORDING}@max")
    with (
        # Room for all prices: @max does not wait for clients.
        Web("hub", config, tmp_path / "hub.log", OUTBOX_LIMIT_BYTES=str(2**24)) as hub,
        Web("rest", config, tmp_path / "rest.log") as rest,
        PythonClient(hub.url) as client,
    ):
        client.call("subscribe", {"pairs": "EUR_USD"})
        with process:
            client.wait("price_update", len(lines), seconds=90)
            until(lambda: bus.unstored() == 0, 60, "an empty backlog")
        live = [(body["price"]["time"], body["price"]["bid"], body["price"]["ask"]) for body in client.bodies("price_update")]
        recorded = [(time.replace("Z", "000Z"), bid, ask) for time, bid, ask in lines]
        assert live == recorded
        assert client.seqs() == list(range(1, len(lines) + 1))
        status, export = get(rest.url, "/ticks?symbol=EUR_USD&format=ndjson", seconds=60)
        assert status == 200
        ticks = sorted(map(orjson.loads, export.splitlines()), key=lambda tick: tick["seq"])
        assert [(tick["time"], tick["bid"], tick["ask"]) for tick in ticks] == recorded


def test_client_that_stops_reading_for_a_while_receives_a_gap_notice(config: Settings, redis: Breakable, tmp_path: Path) -> None:
    """Its prices conflate to the latest. Each is received or counted; other clients miss none."""
    bus = Bus(redis.url, lambda: datetime.now(UTC))
    bus.set_instruments(CALENDARS)
    pairs = ("EUR_USD", "GBP_USD")
    # About 150 KB: a burst above OUTBOX_LIMIT_BYTES would conflate at healthy clients too.
    batch = [Tick(pair, "1.1", "1.2", "1.15", "2025-11-18T12:30:00.000000Z", "flood") for pair in pairs] * 250
    with Web("hub", config, tmp_path / "hub.log") as hub, PythonClient(hub.url) as healthy, NodeClient(hub.url) as stuck:
        for client in (healthy, stuck):
            client.wait("connection_established")
            client.call("subscribe", {"pairs": list(pairs)})
        published = 0
        with stopped(stuck.pid):
            while not healthy.stats()["messages_conflated"]:
                published += len(bus.publish_prices(batch))
                healthy.wait("price_update", published, seconds=60)
            bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        dropped = stuck.wait("gap_notice", seconds=60)
        assert dropped["reason"] == "slow_consumer"
        stuck.wait("volatility_alert")
        for pair in pairs:
            seqs = stuck.seqs(pair)
            assert seqs == sorted(set(seqs))
            assert seqs[-1] == published // 2  # the last value always arrives
            assert len(seqs) + dropped["dropped"].get(pair, 0) == published // 2
            assert healthy.seqs(pair) == list(range(1, published // 2 + 1))
        assert healthy.stats()["slow_clients"] == 0


def test_client_that_stops_reading_for_good_is_disconnected_and_delays_no_other(config: Settings, redis: Breakable, tmp_path: Path) -> None:
    bus = Bus(redis.url, lambda: datetime.now(UTC))
    bus.set_instruments(CALENDARS)
    batch = [Tick("EUR_USD", "1.1", "1.2", "1.15", "2025-11-18T12:30:00.000000Z", "flood")] * 150  # less than the limit
    web = Web("hub", config, tmp_path / "hub.log", OUTBOX_TIMEOUT="1", OUTBOX_LIMIT_BYTES="65536")
    with web as hub, PythonClient(hub.url) as healthy, NodeClient(hub.url) as stuck:
        healthy.call("subscribe", {"pairs": "EUR_USD"})
        stuck.wait("connection_established")
        stuck.call("subscribe", {"pairs": "EUR_USD"})
        published = 0
        with stopped(stuck.pid):
            while not healthy.stats()["slow_clients"]:
                published += len(bus.publish_prices(batch))
                healthy.wait("price_update", published, seconds=60)
                assert healthy.stats()["outbox_bytes"] <= 65536
            assert healthy.stats()["connected_clients"] == 1
        assert healthy.seqs() == list(range(1, published + 1))
        stuck.wait("disconnect", seconds=60)


def test_refusal_of_the_database_hides_the_password(config: Settings) -> None:
    wrong = str(config.database_url).replace("tickwire_owner:", "tickwire_owner:Wrong-", 1)
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(wrong)
    assert "Wrong-" not in str(caught.value)


class ReportingBot:
    """Sends every batch until the hub has accepted it, and each third one twice."""

    def __init__(self, client: PythonClient, batches: list[list[dict[str, Any]]]) -> None:
        self._client = client
        self._batches = batches
        self.sent = 0  # batches with an ack
        self.new = self.repeated = self.refused = 0  # reports, reports, batches
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for number, batch in enumerate(self._batches):
            for _ in range(1 + (number % 3 == 0)):
                self._deliver(batch)
            self.sent += 1

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        while (answer := self._client.call("report", {"reports": batch})).get("code") == "unavailable":
            self.refused += 1
            threading.Event().wait(0.1)
        assert answer["accepted"] + answer["duplicates"] == len(batch), answer
        self.new += answer["accepted"]
        self.repeated += answer["duplicates"]


def test_acknowledged_reports_survive_kills_of_redis_and_count_once(config: Settings, redis: Breakable, tmp_path: Path) -> None:
    moment = datetime.now(UTC).isoformat()
    batches = [[fill_body(20 * batch + number, time=moment) for number in range(20)] for batch in range(60)]
    with (
        Web("hub", config, tmp_path / "hub.log", REPORTS_RATE="100000", RATE_EVENTS="5000/s") as hub,
        PythonClient(hub.url, namespace="/metrics") as client,
        closing(Bus(redis.url, lambda: datetime.now(UTC))) as bus,
    ):
        bot = ReportingBot(client, batches)
        bot.thread.start()
        for sent in (15, 40):
            until(lambda sent=sent: bot.sent >= sent)  # type: ignore[misc]
            refused = bot.refused
            redis.kill()
            until(lambda refused=refused: bot.refused > refused)  # type: ignore[misc]
            redis.start()
        bot.thread.join(60)
        assert bot.sent == len(batches)
        kept = Counter(queued.report.id for queued in read_all(bus))
    # A kill may come between the write and the ack: the repeated batch consists of duplicates then.
    assert kept == Counter(report["id"] for batch in batches for report in batch)
    assert bot.new <= 1200
    assert bot.new + bot.repeated == 1200 + 20 * 20


def read_all(bus: Bus) -> list[QueuedReport]:
    bus.open_reports()
    found: list[QueuedReport] = []
    while part := bus.read_reports(1000, 0):
        found += part
    return found


class ReportingClient:
    """Sends reports in batches with our client, which repeats each batch until it has an ack."""

    def __init__(self, url: str, reports: list[dict[str, Any]]) -> None:
        self._client = Client(url, timeout=FAULT_SECONDS, reconnect_delay=(0.05, 0.2))
        self._reports = reports
        self.sent = self.accepted = self.duplicates = 0  # reports with an ack
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with self._client as client:
            for start in range(0, len(self._reports), REPORTS_PER_BATCH):
                batch = self._reports[start : start + REPORTS_PER_BATCH]
                result = client.report(*batch)
                assert not result.rejected
                self.accepted += result.accepted
                self.duplicates += result.duplicates
                self.sent += len(batch)


def random_fills(count: int) -> list[dict[str, Any]]:
    """Fills of five bots and two instruments, one per second, that end today."""
    source = random.Random(15)
    begin = datetime.now(UTC) - timedelta(seconds=count)
    return [
        fill_body(
            number, bot=f"kill-{number % 5}", time=(begin + timedelta(seconds=number)).isoformat(), side=source.choice(("buy", "sell")),
            quantity=str(source.randint(1, 99)), price=f"1.{source.randint(1000, 9999)}", fee=f"0.{source.randint(0, 99):02}",
            symbol=source.choice(("EUR_USD", "GBP_USD")),
        )
        for number in range(count)
    ]  # fmt: skip


def plain_sums(fills: list[dict[str, Any]]) -> dict[tuple[str, str], list[Decimal]]:
    """(bot, symbol) -> number, signed quantity, fees and cash flow without fees: a dictionary."""
    found: dict[tuple[str, str], list[Decimal]] = {}
    for each in fills:
        signed = Decimal(each["quantity"]) * (1 if each["side"] == "buy" else -1)
        values = (Decimal(1), signed, Decimal(each["fee"]), -signed * Decimal(each["price"]))
        sums = found.setdefault((each["bot"], each["symbol"]), [Decimal(0)] * 4)
        sums[:] = [before + value for before, value in zip(sums, values, strict=True)]
    return found


@pytest.mark.timeout(2 * FAULT_SECONDS)
def test_reports_count_once_although_hub_observer_redis_and_postgres_are_killed(
    config: Settings, redis: Breakable, postgres: Breakable, tmp_path: Path
) -> None:
    """Each report is sent twice, shuffled, to the hub; the four processes are killed in turn."""
    fills = random_fills(REPORTS)
    sent = [*fills, *fills]
    random.Random(16).shuffle(sent)
    with (
        Web("hub", config, tmp_path / "hub.log", REPORTS_RATE="1000000", RATE_EVENTS="5000/s") as hub,
        observer(config, tmp_path / "observer.log") as process,
        closing(Bus(redis.url, lambda: datetime.now(UTC), timeout=1.0)) as bus,
        closing(Store(postgres.url)) as store,
    ):
        bus.set_instruments(CALENDARS)
        until(lambda: "active" in process.output(), 60, "the observer active")
        began = time.monotonic()
        bot = ReportingClient(hub.url, sent)
        bot.thread.start()
        victims = (process, redis, postgres, hub) * KILLS
        for number, victim in enumerate(victims):
            goal = len(sent) * (number + 1) // (len(victims) + 1)
            until(lambda goal=goal: bot.sent >= goal, FAULT_SECONDS, "more acknowledged reports")  # type: ignore[misc]
            victim.kill(signal.SIGKILL)
            victim.start()
        bot.thread.join(FAULT_SECONDS)
        assert (bot.sent, bot.accepted + bot.duplicates) == (len(sent), len(sent))
        assert bot.accepted <= REPORTS  # the ack of an accepted batch can be lost
        until(lambda: _or_none(bus.unprocessed_reports) == 0, FAULT_SECONDS, lambda: process.output()[-2000:])
        print(f"{len(sent)} reports with {len(victims)} kills took {time.monotonic() - began:.0f} s")
        expected = plain_sums(fills)
        counts = {(bot, symbol): count for bot, symbol, count in select(store, "SELECT bot, symbol, count(*) FROM fills GROUP BY 1, 2")}
        assert counts == {key: int(sums[0]) for key, sums in expected.items()}
        rows = select(store, "SELECT bot, symbol, quantity, fees->>'USD', gross, average FROM positions")
        assert {(bot, symbol): (Decimal(quantity), Decimal(fees)) for bot, symbol, quantity, fees, *_ in rows} == {
            key: (sums[1], sums[2]) for key, sums in expected.items()
        }
        if not LONG:  # the stream keeps 20,000 events
            events = [orjson.loads(entry.body) for entry in bus.backwards(topics.OBSERVABILITY_EVENTS)]
            sent_ids = {each["event_id"] for each in events if each["event_type"] == "trade_executed"}
            assert sent_ids == {f"{each['bot']}:fill:{each['id']}" for each in fills}, "each fill has its event"
        for bot_name, symbol, quantity, _, gross, average in rows:  # realised + what is left at cost is the cash flow
            cash = expected[bot_name, symbol][3]
            assert abs(Decimal(gross) - cash - Decimal(quantity) * Decimal(average)) < Decimal("1e-12")
