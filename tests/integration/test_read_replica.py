"""Requests that change nothing read from a replica, as long as it is close behind the primary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from db.postgres import Cursor, Store, StoreError
from db.prices import PriceRow, insert_prices
from db.replicas import Reads, Replica
from ops import startup
from tests.conftest import Servers, until
from tests.support.examined import examined
from tests.support.replica import Pair, primary_and_replica

NOW = datetime(2025, 11, 18, 12, tzinfo=UTC)
_numbers = iter(range(1, 1_000_000))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    folder.chmod(0o755)
    with primary_and_replica(folder) as found:
        yield found


def test_replica_that_has_replayed_no_change_yet_has_an_unknown_lag(pair: Pair) -> None:
    """SQL's `greatest` would make 0 of an unknown lag."""
    if pair.on_replica("SELECT pg_last_xact_replay_timestamp()") != [(None,)]:
        pytest.skip("not the first test of the file: the replica has replayed a change")
    with closing(Store(pair.replica_url)) as store, closing(Replica(pair.replica_url, store, 1.5)) as replica:
        with pair.paused():
            pair.on_primary("CREATE TABLE later ()", "DROP TABLE later")
            positions = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()"
            until(lambda: pair.on_replica(positions) == [(True, None)], what="a change that is not replayed")
            replica.look()
            assert (replica.lag, replica.usable) == (None, False)
        pair.await_replay()
        until(lambda: (replica.look(), replica.usable)[1], what="the replica close behind")  # type: ignore[func-returns-value]


class Rest:
    """The app with its replica; nothing looks at the lag by itself."""

    def __init__(self, pair: Pair, servers: Servers, bus: Bus, folder: Path) -> None:
        environ = {
            "DATABASE_URL": pair.url, "DATABASE_READ_URL": pair.replica_url, "READ_MAX_LAG_SECONDS": "1.5",
            "REDIS_URL": servers.redis_url, "HUB_DATA_DIR": str(folder), "SOURCES": "",
        }  # fmt: skip
        settings = settings_module.load(environ, dotenv=None, service="rest")
        replica = startup.open_replica(settings, "rest")
        assert replica is not None
        self.pair, self.replica = pair, replica
        self.store = startup.open_store(settings, "rest")
        self.app = create_app(settings, bus, self.store, lambda: NOW, "1", replica=replica)
        self.client: FlaskClient = self.app.test_client()
        self.reads: Reads = self.app.extensions["tickwire"].reads

    def await_look(self, *, usable: bool) -> None:
        def looked() -> bool:
            self.replica.look()
            return self.replica.usable is usable

        until(looked, what=lambda: f"usable {usable}, with a lag of {self.replica.lag}")

    def served_by(self, call: Callable[[], object]) -> set[str]:
        """Return the servers whose counts rise during the call."""
        before = self.reads.counts.values()
        call()
        return {server for (server,), count in self.reads.counts.values().items() if count > before[(server,)]}

    def ticks(self) -> tuple[int, set[str]]:
        """Return the number of stored prices, and the server that has counted them."""
        found: list[int] = []

        def read() -> None:
            answer = self.client.get("/ticks?symbol=EUR_USD&limit=1000")
            assert answer.status_code == 200, answer.text
            found.append(len(answer.get_json()["ticks"]))

        servers = self.served_by(read)
        return found[0], servers

    def put_price(self) -> None:
        number = next(_numbers)
        time = f"2025-11-18T11:{number // 60:02d}:{number % 60:02d}.000000Z"
        with self.store.transaction() as cursor:
            insert_prices(cursor, [PriceRow("EUR_USD", time, time, "1.09380", "1.09390", "1.09385", None, "oanda", "e", number)])

    def metrics(self) -> str:
        return self.client.get("/metrics?format=prometheus").text


@pytest.fixture
def rest(pair: Pair, servers: Servers, bus: Bus, tmp_path: Path) -> Iterator[Rest]:
    found = Rest(pair, servers, bus, tmp_path)
    pair.await_replay()
    found.await_look(usable=True)
    with closing(found.store), closing(found.replica):
        yield found


# every route that reads rows of the store
PATHS = (
    "/ticks?symbol=EUR_USD", "/market/trades?symbol=BTCUSDT", "/candles?symbol=EUR_USD&interval=1h", "/volatility?symbol=EUR_USD",
    "/volatility/latest", "/correlation/history?symbol1=EUR_USD&symbol2=GBP_USD", "/alerts", "/gaps", "/sessions", "/symbols",
    "/market", "/book/history?symbol=BTCUSDT", "/book/snapshots?symbol=BTCUSDT", "/orders", "/fills", "/api/trades",
    "/api/trades/stats/summary", "/api/trades/execution/quality", "/positions",
    "/positions/statement?bot=b&strategy=s&symbol=EUR_USD", "/scenarios/runs", "/api/metrics/symbols",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_route_reads_from_the_replica(rest: Rest, path: str) -> None:
    def get() -> None:
        answer = rest.client.get(path)
        assert answer.status_code == 200, answer.text

    assert rest.served_by(get) == {"replica"}


def test_history_of_metrics_reads_from_the_replica(rest: Rest) -> None:
    body = {"metric_types": ["system"], "start_time": "2025-11-18T00:00:00Z", "end_time": "2025-11-18T01:00:00Z", "interval": "1m"}

    def post() -> None:
        answer = rest.client.post("/api/metrics/history", json=body)
        assert answer.status_code == 200, answer.text

    assert rest.served_by(post) == {"replica"}
    assert rest.served_by(lambda: rest.client.get("/correlation")) == {"replica"}  # 404: there is no matrix yet


def test_state_and_writes_use_the_primary(rest: Rest, pair: Pair) -> None:
    for path in ("/jobs", "/health", "/health/ready"):
        assert rest.served_by(lambda path=path: rest.client.get(path)) == set(), path  # type: ignore[misc]
    with pair.paused():
        written = rest.client.delete("/api/metrics/symbols/EUR_USD").get_json()
        read = rest.client.get("/api/metrics/symbols").get_json()
        assert ("EUR_USD" in written["symbols"], "EUR_USD" in read["symbols"]) == (False, True)
    assert rest.client.post("/api/metrics/symbols/EUR_USD").get_json() == read


def test_reads_leave_a_paused_replica_and_return(rest: Rest, pair: Pair) -> None:
    before, servers = rest.ticks()
    assert servers == {"replica"}
    with pair.paused():
        rest.put_price()
        assert rest.ticks() == (before, {"replica"})  # within the permitted lag
        rest.await_look(usable=False)
        assert rest.ticks() == (before + 1, {"primary"})
        assert rest.replica.lag is not None
        assert rest.replica.lag > 1.5
        assert f"tickwire_read_replica_lag_seconds {rest.replica.lag}"[:40] in rest.metrics()
        rest.replica.lag = None
        rest.replica.look()
        assert not rest.replica.usable
    rest.await_look(usable=True)
    assert rest.ticks() == (before + 1, {"replica"})
    assert rest.replica.lag == 0  # both positions are equal, however old the last change is


def test_replica_without_a_connection_to_the_primary_is_left(rest: Rest, pair: Pair) -> None:
    """It replays everything that it has received, so that both of its positions are equal."""
    [(conninfo,)] = pair.on_replica("SELECT current_setting('primary_conninfo')")
    pair.configure("primary_conninfo", "")
    try:
        until(lambda: pair.on_replica("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)], what="the end of the receiver")
        rest.put_price()
        rest.await_look(usable=False)
        assert rest.ticks()[1] == {"primary"}
    finally:
        pair.configure("primary_conninfo", conninfo.replace("'", "''"))
    until(lambda: pair.on_replica("SELECT count(*) FROM pg_stat_wal_receiver") == [(1,)], what="the receiver")
    rest.await_look(usable=True)


IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tickwire-rest' AND xact_start IS NOT NULL"


@pytest.mark.parametrize("idle", [False, True], ids=["a statement", "between statements"])
def test_conflict_with_recovery_is_repeated_once_on_the_primary(rest: Rest, pair: Pair, *, idle: bool) -> None:
    """A running statement is cancelled, and an idle session is ended."""
    calls: list[bool] = []
    begun, ended = threading.Event(), threading.Event()

    def query(cursor: Cursor) -> bool:
        cursor.execute("SELECT pg_is_in_recovery(), (SELECT count(*) FROM gaps)")
        [(in_recovery, _)] = cursor.fetchall()
        calls.append(in_recovery)
        if in_recovery:
            begun.set()
            assert not idle or ended.wait(60)
            cursor.execute("SELECT pg_sleep(60)")
        return bool(in_recovery)

    pair.configure("max_standby_streaming_delay", "0")
    try:
        with ThreadPoolExecutor(1) as threads:
            found = threads.submit(rest.reads.read, query)
            assert begun.wait(60)
            pair.on_primary("BEGIN", "LOCK TABLE gaps IN ACCESS EXCLUSIVE MODE", "COMMIT")
            until(lambda: pair.on_replica(IN_TRANSACTION) == [(0,)], what="the end of the transaction")
            ended.set()
            assert found.result(60) is False
        assert calls == [True, False]
        assert rest.replica.usable  # a conflict says nothing about the next read
        assert rest.ticks()[1] == {"replica"}
    finally:
        pair.configure("max_standby_streaming_delay", "30s")


def test_statement_that_takes_too_long_is_not_repeated(rest: Rest) -> None:
    calls: list[bool] = []

    def query(cursor: Cursor) -> None:
        calls.append(True)
        cursor.execute("SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)")

    with pytest.raises(StoreError, match="statement timeout"):
        rest.reads.read(query)
    assert (len(calls), rest.replica.usable) == (1, True)


def test_replica_that_is_killed_is_left_at_once_and_used_again(rest: Rest, pair: Pair) -> None:
    count, servers = rest.ticks()
    assert servers == {"replica"}
    pair.kill_replica()
    try:
        for _ in range(2):  # the session of the pool is lost, then a connection is refused
            assert rest.ticks() == (count, {"primary"})  # before any look
        assert not rest.replica.usable
        rest.replica.look()
        assert rest.replica.lag is None
        assert "tickwire_read_replica_lag_seconds " not in rest.metrics()
    finally:
        pair.replica.start()
    rest.await_look(usable=True)
    assert rest.ticks() == (count, {"replica"})


def test_replica_that_hangs_blocks_no_request(rest: Rest, pair: Pair) -> None:
    count, _ = rest.ticks()
    with ThreadPoolExecutor(1) as threads, pair.hanging():
        found = threads.submit(rest.ticks)
        until(lambda: rest.replica.store.measures.in_use == 1, what="a read that waits")
        rest.replica.look()
        assert found.result(60) == (count, {"primary"})
    rest.await_look(usable=True)


def test_replica_that_lags_most_decides(rest: Rest, pair: Pair) -> None:
    """A URL may name several hosts; those that do not answer are not used by libpq either."""
    ports = [urlsplit(url).port for url in (pair.url, pair.replica_url)]
    base = f"{pair.replica_url.split('@')[0]}@/tickwire?host=127.0.0.1,127.0.0.1&load_balance_hosts=random&port="

    def lag_at(first: int | None, second: int | None) -> float | None:
        url = f"{base}{first},{second}"
        with closing(Store(url)) as store, closing(Replica(url, store, 1.5)) as replica:
            replica.look()
            assert replica.usable is (replica.lag is not None and replica.lag < 1)
            return replica.lag

    assert [lag_at(*ports), lag_at(1, ports[1]), lag_at(1, 2)] == [0, 0, None]
    with pair.paused():
        rest.put_price()
        until(lambda: (lag_at(*ports) or 0) > 1.5, what="the lag of the second host")


def test_doctor_examines_each_host(pair: Pair, servers: Servers, tmp_path: Path) -> None:
    port = urlsplit(pair.replica_url).port
    several = f"{pair.replica_url.split('@')[0]}@/tickwire?host=127.0.0.1,127.0.0.1,127.0.0.1&port={port},{urlsplit(pair.url).port},1"

    def found(url: str) -> list[str]:
        with system.in_environ(DATABASE_READ_URL=url):
            return [f"{each.status}: {each.detail}" for each in system.results()["read replica"].problems]

    pair.await_replay()
    with examined(servers, tmp_path) as system:
        assert system.results()["read replica"].detail == "not used: DATABASE_READ_URL is not set"
        assert found(pair.replica_url) == [f"warning: `hot_standby_feedback` of 127.0.0.1:{port} is off: it cancels more reads"]
        pair.configure("hot_standby_feedback", "on")
        try:
            assert found(pair.replica_url) == []
            first, second = found(several)
            assert first.startswith("failure: DATABASE_READ_URL: 127.0.0.1:1: ")
            assert second.endswith("is no replica")
            pair.configure("max_standby_streaming_delay", "1s")
            with pair.paused():
                pair.on_primary("CREATE TABLE later ()", "DROP TABLE later")
                until(lambda: len(found(pair.replica_url)) == 2, what="the lag")
                assert "the lag of" in found(pair.replica_url)[0]
                assert "is 1000 ms: 30 s are needed" in found(pair.replica_url)[1]
        finally:
            pair.configure("max_standby_streaming_delay", "30s")
            pair.configure("hot_standby_feedback", "off")


def test_without_the_setting_everything_reads_from_the_primary(servers: Servers, bus: Bus, settings: Settings, store: Store) -> None:
    app = create_app(settings, bus, store, lambda: NOW, "1")
    assert app.test_client().get("/symbols").status_code == 200
    reads: Reads = app.extensions["tickwire"].reads
    assert reads.counts.values()[("replica",)] == 0
    assert reads.counts.values()[("primary",)] > 0
