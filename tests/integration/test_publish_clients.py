"""Prices from outside on their whole way: both clients, the command, REST, hub, writer, store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from click.testing import CliRunner
from tickwire_client import AsyncClient, Client, ConnectionFailed, PublishResult, Refused, publishing

from api.app import create_app
from config import settings as settings_module
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.postgres import Store
from db.timestamps import parse_time
from jobs.store.queues import PriceQueue
from jobs.store.writer import BatchRule, Writer
from manage import cli
from ops import embedded
from ops.running import RunFile
from ops.supervisor import Supervisor
from tests.conftest import Servers, until
from tests.support.clients import FxNode, PythonClient, Rejected
from tests.support.lost_answers import losing_proxy
from tests.support.processes import ROOT, Web

ONE = PublishResult(accepted=1)
AGAIN = PublishResult(duplicates=1)


@pytest.fixture(scope="module")
def rest(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """REST with the rights of production: it reads the store, and uses Redis as its user may."""
    with Web("rest", shared_settings, tmp_path_factory.mktemp("rest") / "rest.log") as process:
        yield process


@pytest.fixture
def client(rest: Web, shared_bus: Bus) -> Client:
    """Our client with an empty bus. It never connects to a hub."""
    return Client("http://127.0.0.1:1", rest.url)


def published(bus: Bus) -> list[dict[str, Any]]:
    """The messages of the stream, oldest first."""
    return [orjson.loads(entry.body) for entry in bus.backwards(topics.PRICES)][::-1]


def bids(bus: Bus) -> list[str]:
    return [body["price"]["bid"] for body in published(bus)]


def get(rest: Web, path: str) -> Any:
    with urllib.request.urlopen(rest.url + path, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def test_published_price_reaches_clients_and_store(
    rest: Web, shared_hub: Web, shared_bus: Bus, shared_settings: Settings, client: Client
) -> None:
    moment = datetime.now(UTC).replace(microsecond=123456)
    times = [moment + timedelta(milliseconds=number) for number in range(3)]
    rows: list[dict[str, Any]] = [
        {"instrument": "EUR_USD", "bid": f"1.{number}0", "ask": "2", "time": at} for number, at in enumerate(times)
    ]
    rows.append({"instrument": "EUR_USD", "bid": "3", "ask": "2"})
    rows += [{"instrument": "EUR_USD", "mid": "1.5", "time": times[0], "volume": Decimal("7.0")}] * 2
    with PythonClient(shared_hub.url) as listener:
        listener.call("subscribe", {"pairs": ["EUR_USD"]})
        result = client.publish_many(rows)
        listener.wait("price_update", 4)
    assert (result.accepted, result.duplicates) == (4, 1)
    assert [(each["index"], each["code"]) for each in result.rejected] == [(3, "bad_price")]
    assert listener.seqs() == [1, 2, 3, 4]
    assert [body["price"]["mid"] for body in listener.bodies("price_update")] == ["1.50", "1.55", "1.60", "1.5"]
    with closing(Store(str(shared_settings.database_url))) as store:
        write_all(shared_bus, store)
        with store.transaction() as cursor:
            cursor.execute("SELECT count(*) FROM candle_marks WHERE symbol = 'EUR_USD'")
            assert cursor.fetchall()[0][0] >= 1
    ticks = get(rest, "/ticks?symbol=EUR_USD")["ticks"]
    assert [(row["seq"], row["bid"], row["source"], row["volume"]) for row in sorted(ticks, key=lambda row: row["seq"])] == [
        (1, "1.00", "publish", None), (2, "1.10", "publish", None), (3, "1.20", "publish", None), (4, "1.5", "publish", "7.0"),
    ]  # fmt: skip
    assert {row["epoch"] for row in ticks} == {published(shared_bus)[0]["epoch"]}
    health = json.loads(get_error(rest, "/health"))
    assert health["sources"] == {}
    assert not [part for part in health["failing"] if part.startswith("source:")]


def write_all(bus: Bus, store: Store) -> None:
    """Run the writer until the bus holds nothing unstored."""
    stop = threading.Event()
    thread = threading.Thread(target=Writer(bus, store, BatchRule(100, 50), PriceQueue(bus)).run, args=(stop,))
    thread.start()
    until(lambda: bus.unstored() == 0, what="an empty backlog")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def get_error(rest: Web, path: str) -> bytes:
    """The body of an answer with any status: no jobs process runs here."""
    try:
        with urllib.request.urlopen(rest.url + path, timeout=60) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.read()


# the Python client


def test_client_publishes_one_price(client: Client, shared_bus: Bus) -> None:
    before = datetime.now(UTC)
    assert client.publish("EUR_USD", bid="2400.10", ask=Decimal("2400.46")) == ONE
    [body] = published(shared_bus)
    assert body["price"]["bid"] == "2400.10"
    assert before <= parse_time(body["price"]["time"]) <= datetime.now(UTC)
    assert client.publish("EUR_USD", mid="1", time="2025-11-18T12:30:00Z") == ONE
    assert client.publish("EUR_USD", mid="1.0", time=datetime(2025, 11, 18, 12, 30, tzinfo=UTC)) == AGAIN
    assert len(published(shared_bus)) == 2


def test_client_raises_the_refusal_of_a_price(client: Client, shared_bus: Bus) -> None:
    for values, code in (({"bid": "3", "ask": "2"}, "bad_price"), ({"bid": "3"}, "invalid_payload"), ({"mid": "x"}, "not_a_decimal")):
        with pytest.raises(Refused) as caught:
            client.publish("EUR_USD", **values)
        assert (caught.value.code, caught.value.details) == (code, {"instrument": ["EUR_USD"]})
    with pytest.raises(Refused, match="unknown_instrument"):
        client.publish("XAU_EUR", bid="1", ask="2")
    for value in (1.5, 2, True):
        with pytest.raises(TypeError, match="bid is a"):
            client.publish("EUR_USD", bid=value, ask="2")  # type: ignore[arg-type]
    assert published(shared_bus) == []


def test_client_splits_large_batches_and_counts_over_all(client: Client, rest: Web, shared_bus: Bus) -> None:
    rows = [{"instrument": "EUR_USD", "bid": f"1.{number:04}", "ask": "2"} for number in range(1201)]
    for number in (7, 499, 500, 1200):
        rows[number]["bid"] = "9"
    with losing_proxy(rest.port) as proxy:
        result = Client("http://127.0.0.1:1", proxy.url).publish_many(rows)
        assert [len(body.splitlines()) for _, body in proxy.requests] == [500, 500, 201]
        wide = [{"instrument": "EUR_USD", "bid": "1", "ask": "2", "volume": "0" * 1000}] * 400
        assert len(Client("http://127.0.0.1:1", proxy.url).publish_many(wide).rejected) == 400
        assert [len(body) <= 256 * 1024 for _, body in proxy.requests] == [True] * 5
    assert (result.accepted, result.duplicates) == (1197, 0)
    assert [each["index"] for each in result.rejected] == [7, 499, 500, 1200]
    assert bids(shared_bus) == [row["bid"] for row in rows if row["bid"] != "9"]
    assert client.publish_many([]) == PublishResult()


def test_price_is_accepted_once_though_its_answer_is_lost(rest: Web, shared_bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_PAUSE_SECONDS", 0.01)
    with losing_proxy(rest.port, lose=2) as proxy:
        client = Client("http://127.0.0.1:1", proxy.url)
        assert client.publish("EUR_USD", bid="1", ask="2") == AGAIN
        assert len(proxy.requests) == 3
        proxy.lose = 3
        with pytest.raises(ConnectionFailed):
            client.publish("GBP_USD", bid="1", ask="2")
    assert [(body["instrument"], body["seq"]) for body in published(shared_bus)] == [("EUR_USD", 1), ("GBP_USD", 1)]


def test_equal_batches_at_once_are_accepted_once_together(rest: Web, client: Client, shared_bus: Bus) -> None:
    moment = datetime.now(UTC)
    rows = [{"instrument": "EUR_USD", "bid": "1", "ask": "2", "time": moment + timedelta(microseconds=number)} for number in range(300)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(client.publish_many, [rows] * 8))
    assert sum(result.accepted for result in results) == 300
    assert sum(result.duplicates for result in results) == 7 * 300
    assert [body["seq"] for body in published(shared_bus)] == list(range(1, 301))


def test_asyncio_client_publishes(rest: Web, shared_bus: Bus) -> None:
    async def run() -> list[PublishResult]:
        client = AsyncClient("http://127.0.0.1:1", rest.url)
        try:
            one = await client.publish("EUR_USD", bid="1", ask="2")
            return [one, await client.publish_many([{"instrument": "EUR_USD", "mid": "1"}, {"instrument": "EUR_USD", "mid": "1"}])]
        finally:
            await client.close()

    assert asyncio.run(run()) == [ONE, PublishResult(accepted=2)]
    assert [body["seq"] for body in published(shared_bus)] == [1, 2, 3]


# the JavaScript client


def test_javascript_client_publishes(rest: Web, shared_bus: Bus) -> None:
    with FxNode("http://127.0.0.1:1", restUrl=rest.url) as client:
        one = {"accepted": 1, "duplicates": 0, "rejected": []}
        assert client.call("publish", {"instrument": "EUR_USD", "bid": "1.10", "ask": "1.2"}) == one
        timed = {"instrument": "EUR_USD", "mid": "1", "time": "2025-11-18T12:30:00Z"}
        assert client.call("publishMany", [timed, timed]) == {**one, "duplicates": 1}
        rows = [{"instrument": "EUR_USD", "bid": f"1.{number:04}", "ask": "2"} for number in range(1001)]
        result = client.call("publishMany", [*rows, {"instrument": "EUR_USD", "bid": "3", "ask": "2"}])
        assert (result["accepted"], result["duplicates"]) == (1001, 0)
        assert [(each["index"], each["code"]) for each in result["rejected"]] == [(1001, "bad_price")]
        assert bids(shared_bus) == ["1.10", "1", *(row["bid"] for row in rows)]
        for price, code in (({"bid": "3", "ask": "2"}, "bad_price"), ({"bid": 1.5, "ask": "2"}, "invalid_payload")):
            with pytest.raises(Rejected) as caught:
                client.call("publish", {"instrument": "EUR_USD", **price})
            assert caught.value.error["code"] == code
        until(lambda: len(client.bodies("onError")) == 2, what="both errors at onError")


def test_javascript_client_repeats_after_a_lost_answer(rest: Web, shared_bus: Bus) -> None:
    with losing_proxy(rest.port, lose=1) as proxy, FxNode("http://127.0.0.1:1", restUrl=proxy.url) as client:
        answer = client.call("publish", {"instrument": "EUR_USD", "bid": "1", "ask": "2"})
        assert answer == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert len(published(shared_bus)) == 1


# the command


def run(*arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and output of `manage.py publish` in this process."""
    result = CliRunner().invoke(cli, ["publish", *arguments], env=variables)
    return result.exit_code, result.output


def test_command_publishes_one_price_with_the_key_of_the_environment(rest: Web, shared_bus: Bus) -> None:
    with losing_proxy(rest.port) as proxy:
        arguments = ("EUR_USD", "1.0945", "1.0947", "--time", "2025-11-18T12:30:00Z", "--url", proxy.url)
        assert run(*arguments, TICKWIRE_API_KEY="k1") == (0, "EUR_USD 1.0945 1.0947: accepted\n")
        assert run(*arguments) == (0, "EUR_USD 1.0945 1.0947: a duplicate, published in the last 15 minutes\n")
        assert [headers.get("x-api-key") for headers, _ in proxy.requests] == ["k1", None]
    assert bids(shared_bus) == ["1.0945"]
    assert run("EUR_USD", "3", "2", "--url", rest.url) == (1, "Error: bid 3 is above ask 2 (bad_price)\n")
    assert run("EUR_USD", "1", "2", "--url", f"{rest.url}/x")[1].endswith("(not_found)\n")


def test_command_names_the_remedy(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:1/a/"):
        assert run("EUR_USD", "1", "2", "--url", url) == (1, f"Error: no connection to {url} (refused): --url names another REST\n")
    for arguments, text in ((("--api-key", "k1"), "set TICKWIRE_API_KEY"), (("--url", "127.0.0.1:5000"), "such as http://127.0.0.1:5000")):
        code, output = run("EUR_USD", "1", "2", *arguments)
        assert (code, text in output) == (2, True), output


def test_command_uses_the_running_system(rest: Web, shared_bus: Bus, tmp_path: Path) -> None:
    def manage() -> tuple[int, str, str]:
        argv = [sys.executable, "manage.py", "publish", "EUR_USD", "1.5", "2"]
        env = {**os.environ, "HUB_DATA_DIR": str(tmp_path)}
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    assert manage() == (1, "", f"Error: nothing runs on HUB_DATA_DIR={tmp_path}; set HUB_DATA_DIR as for make run, or --url\n")
    RunFile(rest.url, "http://127.0.0.1:1", "", "", {}).write(tmp_path)
    assert manage() == (0, "EUR_USD 1.5 2: accepted\n", "")
    assert bids(shared_bus) == ["1.5"]


# Redis away


def test_without_redis_nothing_is_accepted(servers: Servers, clock: Callable[[], datetime], tmp_path: Path) -> None:
    """Redis is killed and started again, then paused: its answer is lost, and the price is not."""
    server = embedded.redis(tmp_path)
    nothing = settings_module.load({"SOURCES": ""}, dotenv=None)
    with Supervisor() as supervisor, closing(Bus(server.url, clock, timeout=2)) as bus:
        supervisor.start(server)
        bus.set_instruments(servers.calendars)
        client = create_app(nothing, bus, Store("postgresql://127.0.0.1:1/none"), clock, "1").test_client()

        def post(bid: str) -> Any:
            price = {"instrument": "EUR_USD", "bid": bid, "ask": "2", "time": "2025-11-18T12:30:00Z"}
            return client.post("/prices", json={"prices": [price]})

        assert post("1").json == {"accepted": 1, "duplicates": 0, "rejected": []}
        psutil.Process(supervisor.pids["redis"]).kill()
        answer = post("1.1")
        assert answer.json is not None
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        with Supervisor() as second:
            second.start(server)
            assert bids(bus) == ["1"]
            assert post("1.1").json["accepted"] == 1
            redis = psutil.Process(second.pids["redis"])
            redis.send_signal(signal.SIGSTOP)
            try:
                assert post("1.2").status_code == 503
            finally:
                redis.send_signal(signal.SIGCONT)
            until(lambda: len(bids(bus)) == 3, what="the price that Redis had received")
            assert post("1.2").json == {"accepted": 0, "duplicates": 1, "rejected": []}
            assert bids(bus) == ["1", "1.1", "1.2"]
