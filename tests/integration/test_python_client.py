"""The Python client against the real hub, REST, writer, Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

import pytest
from tickwire_client import (
    AlertTriggered,
    AsyncClient,
    CandleUpdate,
    Client,
    Closed,
    ConnectionFailed,
    DataReady,
    Disconnected,
    Gap,
    Position,
    Problem,
    Refused,
    RequestTimeout,
    Tick,
    VolatilityAlert,
    rest,
)

from config.settings import Settings
from db.bus import Bus
from db.correlations import write_correlations
from db.messages import Tick as BusTick
from db.postgres import Store
from db.timestamps import format_time
from db.volatility import VolatilityRow, write_volatility
from tests.conftest import Servers, until
from tests.support.ports import free_port
from tests.support.processes import ROOT, Web, books, jobs, observer

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
DELAYS = (0.05, 0.2)  # seconds between attempts to connect again


class Ticker:
    """Publishes prices, half a second of source time apart, from `start()` to `end()`."""

    def __init__(self, redis_url: str, instrument: str = "EUR_USD") -> None:
        self.bus = Bus(redis_url, lambda: datetime.now(UTC))
        self.instrument = instrument
        self.sent = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def publish(self, number: int) -> None:
        """Publish `number` prices at once."""
        with self._lock:
            self._publish(number)

    def _publish(self, number: int) -> None:
        moments = [NOON + timedelta(seconds=each / 2) for each in range(self.sent, self.sent + number)]
        ticks = [
            BusTick(self.instrument, "1.0", "1.2", f"1.{self.sent + each:06}", format_time(at), "ticker") for each, at in enumerate(moments)
        ]
        self.sent += len(self.bus.publish_prices(ticks, f"ticker/{self.sent}"))

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.publish(1)

    def await_more(self, more: int) -> None:
        goal = self.sent + more
        until(lambda: self.sent >= goal, 60, f"{more} more prices")

    def end(self) -> int:
        """Stop, and return the number of published prices, which is the last seq."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join(60)
        return self.sent


@pytest.fixture
def ticker(servers: Servers, bus: Bus) -> Iterator[Ticker]:
    yield from running(Ticker(servers.redis_url))


@pytest.fixture(scope="module")
def instruments() -> Iterator[str]:
    """Instruments of the shared hub; a test takes the next one."""
    return iter(["EUR_USD", "USD_CHF", "USD_CAD", "NZD_USD", "EUR_GBP", "EUR_JPY", "EUR_CHF", "EUR_AUD", "EUR_CAD"])


@pytest.fixture
def shared_ticker(shared_settings: Settings, shared_bus: Bus, instruments: Iterator[str]) -> Iterator[Ticker]:
    """A ticker of an instrument without a price on the shared hub."""
    yield from running(Ticker(str(shared_settings.redis_url), next(instruments)))


def running(ticker: Ticker) -> Iterator[Ticker]:
    """Yield the ticker and end it."""
    yield ticker
    ticker.end()
    ticker.bus.close()


@contextmanager
def reading(read: Callable[[list[Any]], object]) -> Iterator[list[Any]]:
    """Run `read` in a thread that appends to the yielded list, and re-raise its exception.

    `read` must end by itself.
    """
    got: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            read(got)
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield got
    thread.join(60)
    if failed:
        raise failed[0]
    assert not thread.is_alive(), got[-3:]


class Last:
    """The last price, after which readers end. Its seq is set by `publish`."""

    seq = 0

    def is_it(self, got: list[Any], item: Any) -> bool:
        got.append(item)
        return isinstance(item, Tick) and item.seq == self.seq

    def publish(self, ticker: Ticker) -> None:
        self.seq = ticker.end() + 1
        ticker.publish(1)


def numbers(items: list[Any]) -> list[Any]:
    return [item.seq if isinstance(item, Tick) else item for item in items]


@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)])
def test_restart_of_the_hub_under_load_loses_no_price(number: signal.Signals, times: int, hub: Web, ticker: Ticker) -> None:
    """Blocking and asyncio clients receive each price once, over WebSocket and long-polling."""
    last, ups, problems, downs = Last(), list[Any](), list[Problem](), list[Disconnected]()

    def block(transport: str) -> Callable[[list[Any]], None]:
        def read(got: list[Any]) -> None:
            with Client(hub.url, transports=[transport], reconnect_delay=DELAYS) as client:
                client.on_connect(ups.append)
                client.on_disconnect(downs.append)
                client.on_error(problems.append)
                next(item for item in client.prices("EUR_USD", gaps=True) if last.is_it(got, item))

        return read

    def read_async(got: list[Any]) -> None:
        async def go() -> None:
            async with AsyncClient(hub.url, reconnect_delay=DELAYS) as client:
                client.on_connect(ups.append)
                async for item in client.prices("EUR_USD", gaps=True):
                    if last.is_it(got, item):
                        return

        asyncio.run(go())

    ticker.publish(3)
    with Client(hub.url) as client:
        # Else a client may subscribe before the hub has a price for its snapshot.
        until(lambda: client.request_all_prices() and client.request_price("EUR_USD").seq == 3, what="the prices in the hub")
    ticker.start()
    with reading(block("websocket")) as one, reading(block("polling")) as two, reading(read_async) as three:
        everybody = (one, two, three)
        until(lambda: all(len(each) > 20 for each in everybody), what="prices for everybody")
        for each in range(1, times + 1):
            hub.kill(number)
            ticker.await_more(50)
            hub.start()
            until(lambda each=each: len(ups) >= 3 * each, what="everybody connected again")  # type: ignore[misc]
            ticker.await_more(20)
        last.publish(ticker)
    assert all(up.again for up in ups)
    assert {down.reason for down in downs} >= {"connection lost"}
    assert [problem.code for problem in problems] == (["unavailable"] * 2 if number == signal.SIGTERM else [])
    assert all(1 <= problem.details["retry_after"] <= 5 for problem in problems)
    for got in everybody:
        assert numbers(got) == list(range(got[0].seq, last.seq + 1))
        assert got[0].snapshot
        assert not any(tick.snapshot for tick in got[1:])
        assert [tick.mid for tick in got] == [Decimal(f"1.{tick.seq - 1:06}") for tick in got]


def stored(store: Store) -> list[tuple[str, int, str]]:
    with store.transaction() as cursor:
        cursor.execute("SELECT epoch, seq, mid FROM prices WHERE instrument = 'EUR_USD' AND time >= %s ORDER BY seq", (NOON,))
        return [(epoch, seq, str(mid)) for epoch, seq, mid in cursor.fetchall()]


def test_stitch_over_a_long_outage_equals_the_store(settings: Settings, hub: Web, ticker: Ticker, store: Store, tmp_path: Path) -> None:
    """The outage exceeds the memory of the hub, so both clients read the rest from the store."""
    last = Last()
    with Web("rest", settings, tmp_path / "rest.log") as served, jobs(settings, tmp_path / "jobs.log", BATCH_TIMEOUT="100"):

        def read(got: list[Any]) -> None:
            with Client(hub.url, served.url, reconnect_delay=DELAYS) as client:
                next(item for item in client.stitch("EUR_USD", NOON + timedelta(seconds=5), gaps=True) if last.is_it(got, item))

        def read_async(got: list[Any]) -> None:
            async def go() -> None:
                async with AsyncClient(hub.url, served.url, reconnect_delay=DELAYS) as client:
                    async for item in client.stitch("EUR_USD", "2025-11-18T12:00:00Z", gaps=True):
                        if last.is_it(got, item):
                            return

            asyncio.run(go())

        ticker.publish(400)
        ticker.start()
        with reading(read) as one, reading(read_async) as two:
            until(lambda: all(len(each) > 450 for each in (one, two)), 60, "history and live")
            hub.kill()
            for _ in range(3):
                ticker.publish(500)  # the hub restarts with the last 1,000 of them
            hub.start()
            ticker.await_more(20)
            last.publish(ticker)
        until(lambda: len(stored(store)) == ticker.sent, what="everything stored")
        rows = stored(store)
        assert [(tick.epoch, tick.seq, str(tick.mid)) for tick in two] == rows
        assert [(tick.epoch, tick.seq, str(tick.mid)) for tick in one] == rows[10:]


def test_stitch_without_a_writer_reports_a_gap(shared_settings: Settings, shared_hub: Web, shared_ticker: Ticker, tmp_path: Path) -> None:
    """Without a writer, the history has none of the earlier prices."""
    ticker, pair = shared_ticker, shared_ticker.instrument
    ticker.publish(5)
    with Web("rest", shared_settings, tmp_path / "rest.log") as served, Client(shared_hub.url, served.url) as client:
        gaps: list[Gap] = []
        client.on_gap(gaps.append)
        series = client.stitch(pair, timedelta(days=4000), settle=0.1, gaps=True)
        assert next(series) == Gap(pair, None, "not_stored")
        ticker.publish(2)
        assert numbers(list(islice(series, 2))) == [6, 7]
        until(lambda: gaps == [Gap(pair, None, "not_stored")])


def test_prices_since_a_position_resume_after_it(shared_hub: Web, shared_ticker: Ticker) -> None:
    ticker, pair = shared_ticker, shared_ticker.instrument
    ticker.publish(5)
    with Client(shared_hub.url) as client:
        until(lambda: client.request_all_prices().get(pair) and client.request_price(pair).seq == 5, what="the five prices in the hub")
        position = client.request_price(pair).position
        assert position is not None
    ticker.publish(3)
    with Client(shared_hub.url) as client:
        prices = client.prices(pair, since={pair: position}, gaps=True)
        assert numbers(list(islice(prices, 3))) == [6, 7, 8]
    with Client(shared_hub.url) as client:
        other = Position("another epoch", 3)
        first, second = islice(client.prices(pair, since={pair: other}, gaps=True), 2)
        assert first == Gap(pair, None, "new_epoch")
        assert numbers([second]) == [8]


def test_requests_return_their_answers_or_raise_refused(hub: Web, bus: Bus) -> None:
    bus.cache_price("EUR_USD", bid="1.0944", ask="1.09460", mid="1.0945", time=NOON)
    with Client(hub.url) as client:
        assert client.connected
        until(client.request_all_prices, what="the price in the hub")
        price = client.request_price("EUR_USD")
        assert (price.bid, str(price.ask), price.time, price.seq) == (Decimal("1.0944"), "1.09460", NOON, 1)
        assert client.request_all_prices()["EUR_USD"].mid == price.mid
        answer = client.subscribe(["EUR_USD", "EURUSD"], max_rate=5)
        assert (answer["pairs"], answer["rejected"][0]["code"], answer["max_rate"]) == (["EUR_USD"], "unknown_instrument", 5.0)
        client.subscribe("GBP_USD")
        assert client.get_subscriptions()["pairs"] == ["EUR_USD", "GBP_USD"]
        assert client.unsubscribe("EUR_USD")["pairs"] == ["GBP_USD"]
        client.subscribe("all")
        assert client.unsubscribe("all")["pairs"] == []
        assert client.get_server_stats()["connected_clients"] == 1
        assert 0 < client.ping() < 10
        refused(lambda: client.request_price("EURUSD"), "unknown_instrument")
        refused(lambda: client.request_price("GBP_USD"), "no_price")
        refused(lambda: client.prices("GBP_USD", "nonsense"), "unknown_instrument")
        refused(lambda: client.subscribe([]), "invalid_payload")
        refused(lambda: client.delete_alert("nope"), "invalid_payload")
        assert client.get_subscriptions()["pairs"] == []
    with pytest.raises(Closed):
        client.ping()
    with pytest.raises(Closed):
        client.connect()
    with pytest.raises(Closed):
        Client(hub.url).ping()


def refused(call: Callable[[], object], code: str) -> None:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.code == code


def test_failed_connection_raises_the_cause(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="no connection"):
        Client(f"http://127.0.0.1:{free_port()}").connect()
    with Web("rest", settings, tmp_path / "rest.log") as served, pytest.raises(ConnectionFailed):
        Client(served.url).connect()
    with Web("hub", settings, tmp_path / "full.log", WEBSOCKET_MAX_CLIENTS="1") as full, Client(full.url):
        with pytest.raises(ConnectionFailed, match="holds its 1 clients") as caught:
            Client(full.url).connect()
        assert caught.value.code == "server_full"


def test_request_during_an_outage_waits_until_its_timeout(hub: Web, bus: Bus) -> None:
    bus.cache_price("EUR_USD", bid="1", ask="1", mid="1", time=NOON)
    with Client(hub.url, reconnect_delay=DELAYS, timeout=60) as hasty, Client(hub.url, reconnect_delay=DELAYS, timeout=60) as patient:
        hub.kill()
        hasty.timeout = 0.3
        with pytest.raises(RequestTimeout):
            hasty.ping()
        with reading(lambda got: got.append(patient.request_price("EUR_USD"))) as got:
            hub.start()
        assert got[0].mid == 1


def test_own_alerts_after_a_restart_keep_their_ids_and_fire(hub: Web, bus: Bus) -> None:
    with Client(hub.url, reconnect_delay=DELAYS) as client:
        fired: list[tuple[AlertTriggered, int]] = []
        client.on_alert(lambda alert: fired.append((alert, len(client.list_alerts()))))
        alerts = client.alert_updates()
        above = client.set_alert("EUR_USD", ">", "1.5")
        below = client.set_alert("EUR_USD", "<", Decimal("0.5"), once=False)
        calm = client.set_alert("EUR_USD", "crosses", 0.02, metric="volatility")
        hub.kill()
        hub.start()
        until(lambda: client.connected and [each.id for each in client.list_alerts()] == [above.id, below.id, calm.id])
        bus.cache_price("EUR_USD", bid="1", ask="2", mid="1.6", time=NOON)
        triggered = next(alerts)
        assert isinstance(triggered, AlertTriggered)
        assert (triggered.id, triggered.current, triggered.value, triggered.seq) == (above.id, Decimal("1.6"), Decimal("1.5"), 1)
        until(lambda: fired == [(triggered, 2)])
        assert client.delete_alert(below) == [below.id]
        assert client.list_alerts() == [calm]
        assert client.delete_alert("all") == [calm.id]
        client.subscribe("EUR_USD")
        bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        bus.publish_data_ready("volatility", ["EUR_USD"], NOON)
        kinds = [next(alerts), next(alerts)]
        assert [type(each) for each in kinds] == [VolatilityAlert, DataReady]


def candle(minute: int) -> dict[str, Any]:
    times = {"start_time": format_time(NOON + timedelta(minutes=minute)), "end_time": format_time(NOON + timedelta(minutes=minute + 1))}
    return {**times, "open": "1", "high": "2", "low": "1", "close": "1.50", "volume": "7", "trades": 7, "complete": False}


def test_candles_after_a_restart_continue_with_a_gap(hub: Web, bus: Bus) -> None:
    bus.publish_candles([("EUR_USD", "1m", candle(0))])
    with Client(hub.url, reconnect_delay=DELAYS) as client:
        updates = client.candle_updates(("EUR_USD", "1m"), gaps=True)
        bus.publish_candles([("EUR_USD", "1m", candle(1)), ("EUR_USD", "5m", candle(1))])
        first, second = next(updates), next(updates)
        assert isinstance(first, CandleUpdate)
        assert isinstance(second, CandleUpdate)
        assert (first.seq, second.seq, second.close, second.start_time) == (1, 2, Decimal("1.50"), NOON + timedelta(minutes=1))
        hub.kill()
        bus.publish_candles([("EUR_USD", "1m", candle(minute)) for minute in (2, 3, 4)])
        hub.start()
        third, fourth = next(updates), next(updates)
        assert third == Gap("EUR_USD", 2, "not_recovered", "1m")
        assert isinstance(fourth, CandleUpdate)
        assert fourth.seq == 5
        refused(lambda: client.candle_updates(("EUR_USD", "2m")), "invalid_payload")


def test_slow_program_receives_a_slow_reader_gap(shared_hub: Web, shared_ticker: Ticker) -> None:
    ticker, pair = shared_ticker, shared_ticker.instrument
    with Client(shared_hub.url, buffer=10) as client:
        received: list[Gap] = []
        client.on_gap(received.append)
        prices, beside = client.prices(pair, gaps=True), client.prices(pair)
        ticker.publish(30)
        assert next(item for item in beside if item.seq == 30)
        until(lambda: client.request_price(pair).seq == 30)
        first, *others = islice(prices, 11)
        assert first == Gap(pair, 20, "slow_reader")
        assert numbers(others) == list(range(21, 31))
        until(lambda: sum(gap.missed or 0 for gap in received) >= 20)  # includes gaps of the other iterator


def test_iterators_of_one_client_receive_their_own_instruments(shared_hub: Web, shared_bus: Bus, instruments: Iterator[str]) -> None:
    """An iterator that starts later begins with the current price."""
    one, two = next(instruments), next(instruments)
    give = {"bid": "1", "ask": "1", "mid": "1", "time": NOON}
    with Client(shared_hub.url) as client:
        first, second = client.prices(one), client.prices(two)
        for instrument in (one, two, one):
            shared_bus.cache_price(instrument, **give)  # type: ignore[arg-type]
        assert [(tick.instrument, tick.seq) for tick in islice(first, 2)] == [(one, 1), (one, 2)]
        assert next(second).instrument == two
        assert next(client.prices(one)).seq == 2
    assert list(first) == []  # closed with the client


def fill(store: Store) -> None:
    """Write the volatility of three hours and a correlation matrix."""
    with store.transaction() as cursor:
        for each in range(3):
            hour, volatility = NOON + timedelta(hours=each), 0.01 + each / 100
            write_volatility(cursor, [VolatilityRow(name, "alert", hour, volatility, 0.9, 24) for name in ("EUR_USD", "GBP_USD")])
        write_correlations(cursor, NOON, "pearson", [("EUR_USD", "GBP_USD")], [0.5], [700])


def test_history_returns_rows_by_page_and_equal_frames(
    settings: Settings, bus: Bus, ticker: Ticker, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both clients read the history without a hub."""
    pandas = pytest.importorskip("pandas")
    ticker.publish(120)
    fill(store)
    monkeypatch.setattr(rest, "ROWS_PER_PAGE", 50)
    with Web("rest", settings, tmp_path / "rest.log") as served, jobs(settings, tmp_path / "jobs.log", BATCH_TIMEOUT="100"):
        client = Client(rest_url=served.url)
        until(lambda: sum(1 for _ in client.ticks("EUR_USD")) == 120, 60, "the prices stored")
        rows = list(client.ticks("EUR_USD", start=NOON + timedelta(seconds=5), end="2025-11-18T12:00:55Z"))
        assert [row["seq"] for row in rows] == list(range(11, 111))
        assert [row["seq"] for row in client.ticks("EUR_USD", order="desc", limit=3)] == [120, 119, 118]
        assert [row["seq"] for row in client.ticks("EUR_USD", limit=70)] == list(range(1, 71))
        frame = client.ticks("EUR_USD", as_frame=True)
        assert len(frame) == 120
        assert frame["mid"].iloc[3] == 1.000003
        assert frame.index[2] == pandas.Timestamp(NOON + timedelta(seconds=1))
        until(lambda: list(client.candles("EUR_USD", "1m")), 60, "candles")
        candles = client.candles("EUR_USD", "1m", start=NOON, as_frame=True)
        assert list(candles.columns[:4]) == ["end_time", "open", "high", "low"]
        assert candles["open"].iloc[0] == 1.0
        assert client.candles("GBP_USD", as_frame=True).empty
        assert [row["volatility"] for row in client.volatility("EUR_USD", estimator="alert")] == pytest.approx([0.01, 0.02, 0.03])
        assert client.volatility("GBP_USD", as_frame=True)["volatility"].sum() == pytest.approx(0.06)
        assert set(client.latest_volatility(["EUR_USD"])) == {"EUR_USD"}
        assert [row["correlation"] for row in client.correlation_history("GBP_USD", "EUR_USD")] == [0.5]
        assert client.correlation()["symbols"] == ["EUR_USD", "GBP_USD"]
        assert client.correlation(symbols=["GBP_USD", "EUR_USD"], as_frame=True).loc["GBP_USD", "EUR_USD"] == 0.5
        assert list(client.alert_log(symbol="EUR_USD")) == list(client.trades("BTCUSDT")) == []
        assert "EUR_USD" in [each["symbol"] for each in client.symbols()]
        assert client.health()["status"] == "healthy"
        with pytest.raises(Refused) as caught:
            list(client.ticks("EURUSD"))
        assert (caught.value.status, caught.value.code) == (404, "unknown_instrument")
        refused(lambda: client.correlation(method="ewma"), "no_data")
        refused(lambda: list(client.candles("EUR_USD", "2m")), "invalid_payload")
        asyncio.run(read_history(served.url))
    with pytest.raises(ConnectionFailed):
        client.symbols()
    with pytest.raises(ValueError, match="rest_url"):
        Client("http://127.0.0.1:8080").symbols()


async def read_history(url: str) -> None:
    client = AsyncClient(rest_url=url)
    assert [row["seq"] async for row in client.ticks("EUR_USD")] == list(range(1, 121))
    assert len(await client.ticks("EUR_USD", as_frame=True)) == 120
    assert len([row async for row in client.volatility("EUR_USD", limit=2)]) == 2
    assert [row async for row in client.candles("GBP_USD", "1d")] == []
    assert len(await client.symbols()) > 20
    with pytest.raises(Refused):
        await client.correlation(method="ewma")


def test_asyncio_client_matches_the_blocking_client(shared_hub: Web, shared_bus: Bus, instruments: Iterator[str]) -> None:
    pair = next(instruments)
    give = {"bid": "1", "ask": "1", "mid": "1.5", "time": NOON}

    async def go() -> None:
        async with AsyncClient(shared_hub.url, reconnect_delay=DELAYS) as client:
            received: list[Any] = []
            loop = asyncio.get_running_loop()

            @client.on_price
            async def _ask(tick: Tick) -> None:
                assert asyncio.get_running_loop() is loop
                received.append((tick.seq, (await client.request_price(tick.instrument)).seq))

            with pytest.raises(Refused):
                await anext(client.prices("nonsense"))
            prices, alerts = client.prices(pair), client.alert_updates()
            alert = await client.set_alert(pair, "crosses", "1.2")
            assert await client.list_alerts() == [alert]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(prices), 0.2)
            shared_bus.cache_price(pair, **{**give, "mid": "1"})  # type: ignore[arg-type]
            shared_bus.cache_price(pair, **give)  # type: ignore[arg-type]
            assert [(await anext(prices)).seq, (await anext(prices)).seq] == [1, 2]
            assert getattr(await anext(alerts), "id", None) == alert.id
            while len(received) < 2:
                await asyncio.sleep(0.01)
            assert sorted(seq for seq, _ in received) == [1, 2]
            assert all(asked >= seq for seq, asked in received)
            assert (await client.request_all_prices())[pair].mid == Decimal("1.5")
            assert (await client.get_subscriptions())["pairs"] == [pair]
            assert (await client.unsubscribe(pair))["pairs"] == []
            assert await client.ping() > 0
        assert [tick async for tick in prices] == []
        assert not client.connected

    asyncio.run(asyncio.wait_for(go(), 60))


# the command


@contextmanager
def watching(hub: Web, *arguments: str, stderr: int | IO[str] = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tickwire_client", "watch", "--url", hub.url, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_watch_over_a_restart_prints_all_prices_as_json_lines(hub: Web, ticker: Ticker, tmp_path: Path) -> None:
    ticker.publish(2)
    error_file = tmp_path / "errors"
    with error_file.open("w") as stderr, watching(hub, "EUR_USD", "GBP_USD", "--json", stderr=stderr) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["price"] == {"bid": "1.0", "ask": "1.2", "mid": "1.000001", "time": "2025-11-18T12:00:00.500000Z"}
        assert (first["instrument"], first["seq"], len(first["epoch"]) > 3) == ("EUR_USD", 2, True)
        hub.kill()
        ticker.publish(3)
        hub.start()
        assert [json.loads(process.stdout.readline())["seq"] for _ in range(3)] == [3, 4, 5]
        # The handler that writes this runs in another thread, possibly after the prices.
        until(lambda: "connected again" in error_file.read_text(), what="connected again")
        process.send_signal(signal.SIGINT)
        rest_, _ = process.communicate(timeout=60)
        errors = error_file.read_text()
        assert (process.returncode, rest_) == (0, "")
        assert "connected again" in errors
        assert "Traceback" not in errors


def test_watch_prints_text_errors_and_help(hub: Web, ticker: Ticker) -> None:
    ticker.publish(1)
    with watching(hub, "all", "--count", "1") as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.split() == ["12:00:00.000000", "EUR_USD", "1.0", "1.2"]
    with watching(hub, "EURUSD") as process:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (1, "")
        assert errors == "There is no instrument 'EURUSD': did you mean EUR_USD? (unknown_instrument; pair: EURUSD)\n"
    with watching(hub, "--help") as process:
        assert "--json" in process.communicate(timeout=60)[0]
    with watching(hub, "--count", "1") as process:  # of the default instruments
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output.split()[1]) == (0, "EUR_USD")


def test_watch_with_a_closed_pipe_exits_without_output(shared_hub: Web, shared_ticker: Ticker) -> None:
    ticker, pair = shared_ticker, shared_ticker.instrument
    ticker.publish(1)
    with watching(shared_hub, pair, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        for _ in count():
            ticker.publish(1)
            try:
                process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                continue
        assert (process.returncode, process.stderr.read()) == (0, "")
        process.stdout = None


def test_readme_examples_print_their_results(settings: Settings, bus: Bus, hub: Web, ticker: Ticker, tmp_path: Path) -> None:
    """Each block runs as a program, all at the same time, with the addresses of the test."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "clients" / "python" / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 13
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python"), "PYTHONUNBUFFERED": "1"}
    ticker.publish(5)
    with ExitStack() as stack:
        served = stack.enter_context(Web("rest", settings, tmp_path / "rest.log"))
        stack.enter_context(jobs(settings, tmp_path / "jobs.log", BATCH_TIMEOUT="100"))
        stack.enter_context(observer(settings, tmp_path / "observer.log"))
        stack.enter_context(books(settings, tmp_path / "books.log", SOURCES="scenario"))
        until(lambda: bus.latest_book("BTCUSDT", 20), 60, "a book")
        history = Client(rest_url=served.url)
        until(lambda: list(history.candles("EUR_USD", "1m")), 60, "candles")
        ticker.start()
        printed = []
        for number, block in enumerate(blocks):
            program = tmp_path / f"example{number}.py"
            program.write_text(re.sub(r"Client\((auth=)?", rf'Client("{hub.url}", "{served.url}", \1', block))
            output = (tmp_path / f"example{number}.txt").open("w+")
            process = subprocess.Popen([sys.executable, program], stdout=output, stderr=output, env=environ)
            stack.callback(output.close)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            printed.append(tmp_path / f"example{number}.txt")
        wanted = [
            "EUR_USD 1.0 1.2",
            "unknown_instrument {",
            "31",
            "alert: EUR_USD >",
            "live verified",
            "3 0 []",
            "'fills_today':",
            "2025-11-18T12:00:00.000000Z 1.0",
            "1.0  1.2",
            "symbol ",
            "2 0 [{'index': 2, 'code': 'not_a_decimal'",
            "2 1.000001",
            "EUR_USD 1.0",
        ]
        for file, text in zip(printed, wanted, strict=True):
            until(lambda file=file, text=text: text in file.read_text(), 60, f"{text} in {file.name}")  # type: ignore[misc]
        until(lambda: re.search(r"candle: 2025-11-18 12:\d\d:00\+00:00 1\.0", printed[3].read_text()), 60, "a candle")
        assert not any("Traceback" in file.read_text() for file in printed)
