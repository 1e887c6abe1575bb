"""Reports, metrics and acknowledgements of both our clients on a real hub, through its kills."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client
from tickwire_client import (
    Alert,
    AsyncClient,
    Client,
    Closed,
    Correction,
    Fill,
    Heartbeat,
    MetricsSnapshot,
    Order,
    Refused,
    ReportResult,
    RequestTimeout,
    Signal,
)
from tickwire_client.messages import Body
from tickwire_client.sockets import await_event

from config.settings import Settings
from db import topics
from db.alerts import SystemAlert, raise_alert
from db.bus import Bus, Snapshot
from db.postgres import Store
from tests.conftest import until
from tests.support.clients import FxNode, PythonClient, Rejected
from tests.support.observability_events import event_body
from tests.support.processes import ROOT, Running, Web
from tests.support.reports import fill_body
from tests.support.store import select

NOON = "2025-11-18T12:00:00.000000Z"
BOT_RATE = 500  # reports per second and bot
DELAYS = (0.05, 0.2)  # seconds between attempts to connect again


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {"REPORTS_RATE": str(BOT_RATE)}


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture
def client(shared_hub: Web) -> Iterator[Client]:
    with Client(shared_hub.url, bot="mm-1", timeout=60, reconnect_delay=DELAYS) as client:
        yield client


@pytest.fixture
def node(shared_hub: Web) -> Iterator[FxNode]:
    with FxNode(shared_hub.url, bot="js-1", requestTimeout=60_000) as node:
        node.call("connect")
        yield node


def today(number: int, **changes: Any) -> dict[str, Any]:
    return fill_body(number, time=datetime.now(UTC).isoformat(), **changes)


def stored(redis: redis_client.Redis) -> list[dict[str, Any]]:
    """The reports on the bus, oldest first. A report that takes effect twice is there twice."""
    entries: Any = redis.xrange("tickwire:stream:reports")
    return [orjson.loads(fields[b"report"]) for _, fields in entries]


# reports


def test_every_kind_of_report_is_accepted_with_exact_digits_and_once(client: Client, shared_redis: redis_client.Redis) -> None:
    moment = datetime.now(UTC)
    order = Order(
        strategy="trend", id="e-1", time=moment, order_id="o-1", symbol="EUR_USD", side="buy", quantity=1000, order_type="market",
        status="new", arrival_price=Decimal("1.09440"), decision_time=moment - timedelta(seconds=1), metadata={"signal": 7},
    )  # fmt: skip
    fill = Fill(strategy="trend", time=moment, fill_id="f-1", order_id="o-1", symbol="EUR_USD", side="buy", quantity="1000",
                price=Decimal("1.09450"), fee=Decimal("0.020"), fee_currency="USD", liquidity="taker")  # fmt: skip
    signal = Signal(strategy="trend", symbol="EUR_USD", signal="buy", outcome="approved", confidence=0.75)
    heartbeat = Heartbeat(strategy="trend", equity=Decimal("1E+4"), bot="mm-2")
    correction = Correction(strategy="trend", fill_id="f-1", action="replace", fee="0.010")
    reports = (order, fill, signal, heartbeat, correction)
    assert client.report(*reports) == ReportResult(accepted=5)
    assert client.report(*reports) == ReportResult(duplicates=5)
    found = {each["kind"]: each for each in stored(shared_redis)}
    assert len(found) == 5
    assert (found["fill"]["id"], found["fill"]["price"], found["fill"]["fee"], found["fill"]["bot"]) == ("f-1", "1.09450", "0.020", "mm-1")
    assert (found["heartbeat"]["equity"], found["heartbeat"]["bot"]) == ("10000", "mm-2")
    assert (found["order"]["quantity"], found["order"]["metadata"]) == ("1000", {"signal": 7})


def test_single_rejections_are_in_the_result_with_their_places(client: Client, node: FxNode) -> None:
    good = [today(number) for number in range(100, 600)]
    result = client.report(*good, today(600, symbol="NOPE"), {**today(100), "price": "2"})
    assert (result.accepted, result.duplicates) == (500, 0)
    expected = [(500, "f-600", "unknown_instrument"), (501, "f-100", "conflict")]
    assert [(each["index"], each["id"], each["code"]) for each in result.rejected] == expected
    answer = node.call("report", [good[0], today(601, symbol="NOPE")])
    assert (answer["accepted"], answer["duplicates"], answer["rejected"][0]["index"]) == (0, 1, 1)


def test_bad_reports_are_not_sent(client: Client, shared_hub: Web) -> None:
    with pytest.raises(TypeError, match="price is a float"):
        client.report({**today(1), "price": 1.09})
    with pytest.raises(Refused, match="Not Unicode"):
        client.report({**today(1), "id": "\ud800"})
    with Client(shared_hub.url) as other, pytest.raises(ValueError, match="report 0 has no bot"):
        other.report(Heartbeat(strategy="trend"))
    with pytest.raises(Closed):
        other.report(Heartbeat(strategy="trend", bot="mm-1"))
    assert client.report() == ReportResult()


def test_reports_above_the_rate_wait_and_are_all_accepted(client: Client, node: FxNode) -> None:
    count = BOT_RATE + 200
    beats = [Heartbeat(strategy="trend", bot="fast-py") for _ in range(count)]
    assert client.report(*beats) == ReportResult(accepted=count)
    beats_js = [{"kind": "heartbeat", "strategy": "trend", "bot": "fast-js"}] * count
    answer = node.call("report", beats_js)
    assert (answer["accepted"], answer["duplicates"]) == (count, 0)


def test_javascript_client_adds_bot_id_and_time(node: FxNode, shared_redis: redis_client.Redis) -> None:
    fill = {"kind": "fill", "strategy": "trend", "fill_id": "f-1", "order_id": "o-1", "symbol": "EUR_USD", "side": "sell", "quantity": "5",
            "price": "1.09450"}  # fmt: skip
    heartbeat = {"kind": "heartbeat", "strategy": "trend"}
    assert node.call("report", [fill, heartbeat]) == {"accepted": 2, "duplicates": 0, "rejected": []}
    by_kind = {each["kind"]: each for each in stored(shared_redis)}
    assert (by_kind["fill"]["id"], by_kind["fill"]["bot"], by_kind["heartbeat"]["bot"]) == ("f-1", "js-1", "js-1")
    with pytest.raises(Rejected) as caught:
        node.call("report", {**fill, "price": 1.09})
    assert caught.value.error["details"] == {"price": ['Report 0: not text. A decimal is a string such as "1.0945".']}


def test_more_than_100_000_reports_are_not_kept(client: Client, node: FxNode) -> None:
    beats = [{"kind": "heartbeat", "strategy": "trend", "bot": "mm-1", "time": NOON}] * 100_001
    with pytest.raises(Refused, match="of at most 100000; these were not kept") as caught:
        client.report(*beats)
    assert (caught.value.code, client.unacknowledged) == ("too_many_requests", [])
    with pytest.raises(Rejected) as rejected:
        node.call("report", beats)
    assert (rejected.value.error["code"], node.get("unacknowledged")) == ("too_many_requests", [])


def test_unacknowledged_reports_are_kept_and_count_once_after_a_kill(
    client: Client, node: FxNode, shared_hub: Web, shared_redis: redis_client.Redis
) -> None:
    first, second = today(1), today(2, bot="js-1")
    assert client.report(first).accepted == node.call("report", second)["accepted"] == 1
    shared_hub.kill()
    try:
        client.timeout = 0.2
        with pytest.raises(RequestTimeout, match="2 reports are kept"):
            client.report(first, today(3))
        with pytest.raises(RequestTimeout, match="1 reports are kept"):
            client.report(today(4))
        with pytest.raises(Rejected) as caught:
            node.call("report", [second, today(5, bot="js-1")], {"timeout": 200})
        assert caught.value.error["code"] == "timeout"
        assert [each["id"] for each in client.unacknowledged] == ["f-1", "f-3", "f-4"]
        assert [each["id"] for each in node.get("unacknowledged")] == ["f-2", "f-5"]
    finally:
        shared_hub.start()
    until(lambda: client.unacknowledged == node.get("unacknowledged") == [], 60, "all acks")
    assert sorted(each["id"] for each in stored(shared_redis)) == [f"f-{number}" for number in range(1, 6)]


def test_reports_through_kills_of_the_hub_take_effect_once(
    client: Client, node: FxNode, shared_hub: Web, shared_redis: redis_client.Redis
) -> None:
    moment = datetime.now(UTC).isoformat()
    total, size = 600, 20
    results: list[ReportResult] = []

    def run() -> None:
        for first in range(0, total, size):
            results.append(client.report(*(fill_body(number, time=moment, bot="kill-py") for number in range(first, first + size))))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    answers = [
        node.begin(call="report", args=[[fill_body(number, time=moment, bot="kill-js") for number in range(first, first + size)]])
        for first in range(0, total, size)
    ]
    for done in (3, 12):
        until(partial(_has, results, done), 60, "some answers")
        shared_hub.kill()
        shared_hub.start()
    thread.join(120)
    found = [node.result(answer, 120) for answer in answers]
    assert len(results) == total // size
    assert all(each.accepted + each.duplicates == size and not each.rejected for each in results)
    assert all(each["accepted"] + each["duplicates"] == size and not each["rejected"] for each in found)
    ids = sorted((each["bot"], each["id"]) for each in stored(shared_redis))
    assert ids == sorted((bot, f"f-{number}") for bot in ("kill-py", "kill-js") for number in range(total))


def test_client_that_joins_metrics_while_it_connects_is_connected(client: Client, shared_hub: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may run the reader's thread first, which joins `/metrics`."""
    assert client.report(today(1)).accepted == 1
    joined = threading.Event()

    def late(event: threading.Event, sio: Any, seconds: float) -> bool:
        until(lambda: "/metrics" in sio.namespaces, 60, "the namespace")
        joined.set()
        return await_event(event, sio, seconds)

    monkeypatch.setattr("tickwire_client.link.await_event", late)
    shared_hub.kill()
    shared_hub.start()
    assert client.report(today(2)).accepted == 1
    assert joined.wait(60)


def test_connection_that_is_lost_while_alerts_are_set_again_is_made_again(client: Client, shared_hub: Web) -> None:
    """The client does not wait for the answers of the lost connection, for a minute each."""
    for value in ("9.1", "9.2"):
        client.set_alert("EUR_USD", ">", value)
    set_again, killed = client._set, threading.Event()

    def kill_first(payload: Body, own_id: str | None = None) -> Alert:
        if not killed.is_set():
            shared_hub.kill()
            killed.set()
        return set_again(payload, own_id)

    client._set = kill_first  # type: ignore[method-assign]
    shared_hub.kill()
    shared_hub.start()
    assert killed.wait(60)
    shared_hub.start()
    alerts = client._session.alerts
    until(lambda: (last := client._link.connection) >= 3 and not alerts.to_set_again(last), 45, "the alerts on the third connection")


def _has(results: list[ReportResult], count: int) -> bool:
    return len(results) >= count


# metrics


def snapshot(seq: int) -> Snapshot:
    """A snapshot with amounts that lose digits as floats."""
    amount, moment = f"{seq}.10000000000000000001", f'"timestamp":"{NOON}"'
    price = f'{{"bid":"{amount}","vwap":null,"spread_bps":1.83,"time":"{NOON}","state":"live"}}'
    strategy = f'{{"pnl":"{amount}","fees_by_currency":{{"BNB":"{amount}"}},"bots":["5"]}}'
    sections = {
        "market_data": f'{{{moment},"symbols":{{"EUR_USD":{price}}}}}',
        "strategy": f'{{{moment},"strategies":{{"pnl":{strategy}}}}}',
        "execution": f'{{{moment},"orders_today":{seq},"fill_rate":0.5}}',
        "system": "{}",
    }
    return Snapshot(NOON, seq, "e1", sections, sections)


def test_snapshots_have_exact_decimals_and_continue_after_a_kill(client: Client, node: FxNode, shared_hub: Web, shared_bus: Bus) -> None:
    published = threading.Event()

    def publish() -> None:
        seq = 0
        while not published.wait(0.02):
            seq += 1
            shared_bus.publish_snapshot(snapshot(seq))

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        with client.metrics() as everything, client.metrics("strategy", max_rate=10) as strategies:
            first, second = islice(everything, 2)
            _check(first)
            assert second.seq > first.seq
            only = next(strategies)
            assert (only.market_data, only.execution, only.system) == (None, None, None)
            assert only.strategy is not None
            bodies = node.result(node.begin(metrics={"channels": ["market_data"]}, count=3))
            assert [list(each) for each in bodies] == [["timestamp", "seq", "epoch", "market_data"]] * 3
            assert bodies[0]["market_data"]["symbols"]["EUR_USD"]["bid"].endswith(".10000000000000000001")
            running = node.begin(metrics={}, count=200)
            node.result(node.begin(events=True))
            _await_event(node, shared_bus, "e-1")
            shared_hub.kill()
            shared_hub.start()
            last = next(everything).seq
            until(lambda: next(everything).seq > last + 100, 60, "snapshots after the kill")
            assert next(strategies).seq > only.seq
            seqs = [each["seq"] for each in node.result(running, 60)]
            assert seqs == sorted(set(seqs))
            _await_event(node, shared_bus, "e-2")
        until(lambda: not client._held, 30, "no section is subscribed any more")
        asyncio.run(_first_snapshots(shared_hub))
    finally:
        published.set()
        thread.join(60)
    everything.take()  # the newest one may wait
    with pytest.raises(StopIteration):
        next(everything)
    with pytest.raises(ValueError, match="no such section: prices"):
        client.metrics("prices")


def _await_event(node: FxNode, bus: Bus, event_id: str) -> None:
    """Publish an event until a handler has received it, which joins the channel on its own."""

    def received() -> list[Any]:
        bus.publish_events([event_body("position_closed", "observer", {"timestamp": NOON, "symbol": "EUR_USD"}, event_id)])
        return [body for body in node.bodies("onObservabilityEvent") if body["event_id"] == event_id]

    until(received, 30, f"event {event_id}")
    body = received()[0]
    assert (body["event_type"], body["symbol"]) == ("position_closed", "EUR_USD")
    assert {"seq", "epoch"} <= body.keys()


def _check(found: MetricsSnapshot) -> None:
    assert found.market_data is not None
    assert found.strategy is not None
    amount = Decimal(f"{found.seq}.10000000000000000001")
    price = found.market_data["symbols"]["EUR_USD"]
    assert price == {"bid": amount, "vwap": None, "spread_bps": 1.83, "time": datetime(2025, 11, 18, 12, tzinfo=UTC), "state": "live"}
    assert found.strategy["strategies"]["pnl"] == {"pnl": amount, "fees_by_currency": {"BNB": amount}, "bots": ["5"]}
    assert (found.execution or {})["fill_rate"] == 0.5
    assert found.system == {}


async def _first_snapshots(hub: Web) -> None:
    async with AsyncClient(hub.url, bot="aio-1") as client:
        result = await client.report(Heartbeat(strategy="trend"))
        assert (result.accepted, client.unacknowledged) == (1, [])
        stream = client.metrics("market_data")
        first, second = await anext(stream), await anext(stream)
        assert second.seq > first.seq
        assert first.strategy is None
        stream.close()
        with pytest.raises(Refused, match="no such alert"):
            await client.acknowledge_alert("system:disk:critical:1")


# alerts


def test_alert_is_acknowledged_once_by_either_client(client: Client, node: FxNode, store: Store) -> None:
    noon = datetime(2025, 11, 18, 12, tzinfo=UTC)
    alerts = [SystemAlert("system", subject, "critical", noon, 96.1, 95, f"{subject} is full.") for subject in ("disk", "memory")]
    with store.transaction() as cursor:
        assert all(raise_alert(cursor, alert) for alert in alerts)
    disk, memory = (alert.alert_id for alert in alerts)
    done = client.acknowledge_alert(disk, by="ada", comment="on it")
    assert (done.alert_id, done.acknowledged_by) == (disk, "ada")
    again = node.call("acknowledgeAlert", disk, {"by": "bob"})
    assert (again["status"], again["acknowledged_by"]) == ("acknowledged", "ada")
    assert node.call("acknowledgeAlert", memory, {"by": "bob"})["acknowledged_by"] == "bob"
    rows = select(store, "SELECT alert_id, state, acknowledged_by, comment FROM alerts ORDER BY subject")
    assert rows == [(disk, "acknowledged", "ada", "on it"), (memory, "acknowledged", "bob", None)]
    with pytest.raises(Refused) as caught:
        client.acknowledge_alert("nope")
    assert caught.value.code == "not_found"
    with pytest.raises(Rejected) as rejected:
        node.call("acknowledgeAlert", "nope")
    assert rejected.value.error["code"] == "not_found"


# the example bot


class Bot(Running):
    """The example bot on GBP_USD, which reports as `demo`."""

    def __init__(self, hub: Web, rest: Web, folder: Path) -> None:
        argv = [sys.executable, str(ROOT / "clients/examples/mean_reversion_bot.py"), "GBP_USD", "--hub", hub.url, "--rest", rest.url]
        argv += ["--window", "20", "--stop", "1000000", "--state", str(folder / "state.json"), "--bot", "demo"]
        super().__init__(argv, {"PYTHONPATH": str(ROOT / "clients/python")}, folder / "bot.log")

    def await_line(self, words: str, count: int) -> None:
        until(lambda: self.output().count(words) >= count, 60, lambda: self.output()[-2000:])


def test_bot_that_is_killed_between_trade_and_report_reports_each_trade_once(
    shared_hub: Web, shared_redis: redis_client.Redis, shared_bus: Bus, shared_settings: Settings, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"

    def price(mid: str) -> None:
        bid, ask = (str(Decimal(mid) + half) for half in (Decimal("-0.00002"), Decimal("0.00002")))
        shared_bus.cache_price("GBP_USD", bid=bid, ask=ask, mid=mid, time=datetime.now(UTC))

    def quiet() -> None:
        with PythonClient(shared_hub.url) as client:
            until(lambda: client.stats()["subscriptions_by_pair"].get("GBP_USD"), 60, "the bot's subscription")
        for number in range(20):
            price(("1.29995", "1.30005")[number % 2])

    def waiting() -> int:
        return len(json.loads(state.read_text())["reports"]["waiting"]) if state.exists() else 0

    with Web("rest", shared_settings, tmp_path / "rest.log") as rest, Bot(shared_hub, rest, tmp_path) as bot:
        quiet()
        price("1.29000")  # a dip: the bot buys
        bot.await_line(" open +10000 at 1.29002", 1)
        until(lambda: len(trades(shared_redis)) == 3, 60, "order, fill, filled order")
        until(lambda: waiting() == 0, 60, "the ack in the state file")
        shared_redis.hset(
            topics.report_rate_key("demo"), mapping={"tokens": -100_000, "at": time.time() - 1}
        )  # the hub refuses its next reports
        price("1.30000")
        bot.await_line(" close -10000 at 1.29998", 1)
        until(lambda: waiting() == 3, 60, "reports in the state file")
        bot.kill()
        before = state.read_text()
        assert len(trades(shared_redis)) == 3
        shared_redis.delete(topics.report_rate_key("demo"))
        for number in range(2):  # the second time, the reports were accepted, but the bot does not have the ack
            state.write_text(before)
            bot.start()
            until(lambda: waiting() == 0, 60, "the acks")
            assert [each["id"] for each in trades(shared_redis)] == [
                *("o-1-new", "f-1", "o-1-filled"),
                *("o-2-new", "f-2", "o-2-filled"),
            ], number
            bot.kill()
        fills = [each for each in trades(shared_redis) if each["kind"] == "fill"]
        assert [(each["side"], each["quantity"], each["price"]) for each in fills] == [
            ("buy", "10000", "1.29002"),
            ("sell", "10000", "1.29998"),
        ]
        assert json.loads(state.read_text())["GBP_USD"] == {"units": 0, "entry": "1.29998", "earned": "99.60000"}
        assert [each["kind"] for each in stored(shared_redis)].count("heartbeat") == 3, "one per start"


def trades(redis: redis_client.Redis) -> list[dict[str, Any]]:
    return [each for each in stored(redis) if each["bot"] == "demo" and each["kind"] != "heartbeat"]
