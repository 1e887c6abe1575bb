"""Alerts of clients at the hub: stock clients, prices from the bus, volatility from the store."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import redis as redis_client

from config.settings import Settings
from db.bus import Bus
from db.messages import Stamp, Tick
from db.postgres import Store, StoreError
from db.timestamps import format_time
from db.volatility import VolatilityRow, latest_volatilities, write_volatility
from tests.conftest import Servers, until
from tests.support.clients import NodeClient, PythonClient
from tests.support.databases import closed_database
from tests.support.processes import Web

Client = PythonClient | NodeClient
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def instruments() -> Iterator[str]:
    """Instruments of the shared hub that only `unpriced` hands out."""
    return iter(["USD_CHF", "USD_CAD", "NZD_USD", "EUR_GBP", "EUR_JPY", "EUR_CHF", "EUR_AUD", "EUR_CAD"])


@pytest.fixture
def unpriced(instruments: Iterator[str]) -> str:
    """An instrument without a price on the shared hub."""
    return next(instruments)


def price(bus: Bus, *mids: str, instrument: str = "EUR_USD") -> Stamp:
    """Publish prices; return the stamp of the last one."""
    for mid in mids:
        last = bus.cache_price(instrument, bid="1", ask="9", mid=mid, time=NOON)
    return last


def arrived(client: Client, stamp: Stamp, instrument: str = "EUR_USD") -> None:
    """Wait until the price with this stamp is the latest one of the hub."""

    def latest() -> bool:
        body = client.call("request_price", {"instrument": instrument})
        return (body.get("seq"), body.get("epoch")) == (stamp.seq, stamp.epoch)

    until(latest, what=f"{instrument} with {stamp}")


def figure(store: Store, bus: Bus, hour: int, *, estimator: str = "alert", **values: float) -> None:
    """Store volatilities of that hour and publish that they are ready, as the hourly job does."""
    rows = [VolatilityRow(name, estimator, NOON + timedelta(hours=hour), value, value * 90, 24) for name, value in values.items()]
    with store.transaction() as cursor:
        write_volatility(cursor, rows)
    bus.publish_data_ready("volatility", list(values), NOON + timedelta(hours=hour))


def answers(client: Client, event: str, answer_event: str, *payload: Any) -> Any:
    """Return the body of the ack, after the check that the event has the same body."""
    before = len(client.bodies(answer_event))
    ack = client.call(event, *payload)
    assert client.wait(answer_event, before + 1) == ack
    return ack


def set_alert(client: Client, op: str, value: Any, *, instrument: str = "EUR_USD", metric: str = "price", **more: Any) -> dict[str, Any]:
    """Set an alert and return it in its listed form."""
    asked = {"instrument": instrument, "metric": metric, "op": op, "value": value, **more}
    body = answers(client, "set_alert", "alert_set", asked)
    assert list(body) == ["alert", "count", "timestamp"]
    listed = {**asked, "value": str(value)} if metric == "price" else asked
    assert body["alert"] == {"id": body["alert"]["id"], "once": True, **listed}
    alert: dict[str, Any] = body["alert"]
    return alert


def relayed(client: Client, count: int) -> None:
    """Wait until the hub has relayed this number of messages."""
    until(lambda: client.stats()["messages_relayed"] >= count, what=f"{count} messages relayed")


def fired(client: Client) -> list[tuple[str, Any]]:
    """Return (id, current) of the alerts that the client has received."""
    return [(body["id"], body["current"]) for body in client.bodies("alert_triggered")]


def test_alerts_are_set_fire_and_are_deleted(shared_client: Client, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    arrived(client, price(bus, "1.5"))
    above, crosses = set_alert(client, ">", "1.6"), set_alert(client, "crosses", "1.55", once=False)
    below, other = set_alert(client, "<", "1.4"), set_alert(client, ">", "1.6", instrument="GBP_USD")
    assert len({alert["id"] for alert in (above, crosses, below, other)}) == 4
    listed = answers(client, "list_alerts", "alerts_list")
    assert (listed["alerts"], listed["count"], set(listed)) == ([above, crosses, below, other], 4, {"alerts", "count", "timestamp"})

    price(bus, "1.6", "1.600001", "1.7", "1.5", "1.6", "1.7")  # no subscription is needed
    client.wait("alert_triggered", 4)
    assert fired(client) == [(crosses["id"], "1.6"), (above["id"], "1.600001"), (crosses["id"], "1.5"), (crosses["id"], "1.6")]
    second = client.bodies("alert_triggered")[1]
    epoch = second.pop("epoch")
    assert epoch == client.call("request_price", {"instrument": "EUR_USD"})["epoch"]
    assert second.pop("timestamp").endswith("Z")
    assert second == {**above, "current": "1.600001", "time": format_time(NOON), "seq": 3}

    gone = answers(client, "delete_alert", "alert_deleted", {"id": crosses["id"]})
    assert (gone["deleted"], gone["count"], set(gone)) == ([crosses["id"]], 2, {"deleted", "count", "timestamp"})
    price(bus, "1.5", "1.6")
    assert answers(client, "delete_alert", "alert_deleted", {"id": "all"})["deleted"] == [below["id"], other["id"]]
    assert answers(client, "list_alerts", "alerts_list")["alerts"] == []
    last = price(bus, "1.3")
    assert last.seq == 10
    arrived(client, last)
    assert len(fired(client)) == 4
    assert client.bodies("price_update") == []


def test_alert_that_is_true_when_set_fires_at_the_next_price(shared_client: Client, shared_bus: Bus, unpriced: str) -> None:
    client, bus = shared_client, shared_bus
    arrived(client, price(bus, "1.5"))
    above, first = set_alert(client, ">", 1.1, once=False)["id"], set_alert(client, "<", "2", instrument=unpriced)["id"]
    assert fired(client) == []
    price(bus, "1.5", "1.6", "1.10000", "1.2")
    price(bus, "1.9", instrument=unpriced)
    client.wait("alert_triggered", 3)
    assert fired(client) == [(above, "1.5"), (above, "1.2"), (first, "1.9")]


def test_alert_follows_its_price_directly(shared_client: Client, shared_bus: Bus) -> None:
    client, bus = shared_client, shared_bus
    client.call("subscribe", {"pairs": ["EUR_USD"]})
    set_alert(client, ">", "1.5", once=False)
    mids = ["1.4", "1.6", "1.6", "1.3", "1.7"] * 20
    bus.publish_prices([Tick("EUR_USD", "1", "9", mid, format_time(NOON), "test") for mid in mids])
    client.wait("price_update", 100)
    client.wait("alert_triggered", 40)
    received = [(name, body["seq"]) for name, body in list(client.received) if name in ("price_update", "alert_triggered")]
    expected = []
    for seq, mid in enumerate(mids, start=1):
        expected.append(("price_update", seq))
        if mid == "1.7" or (mid == "1.6" and mids[seq - 2] == "1.4"):
            expected.append(("alert_triggered", seq))
    assert received == expected


def test_invalid_alert_is_refused_with_code_and_field(shared_client: Client) -> None:
    client = shared_client
    good = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.5"}
    wrong: list[tuple[str, Any]] = [
        ("value", "1e3"), ("value", 0), ("value", -1.5), ("value", None), ("value", "0.0"), ("metric", "mid"), ("op", ">="), ("once", 1),
        ("instrument", 7),
    ]  # fmt: skip
    for name, value in wrong:
        error = answers(client, "set_alert", "error", {**good, name: value})
        assert (error["code"], error["event"], set(error["details"])) == ("invalid_payload", "set_alert", {name})
    for name in good:
        error = answers(client, "set_alert", "error", {key: value for key, value in good.items() if key != name})
        assert (error["code"], set(error["details"])) == ("invalid_payload", {name})
    error = answers(client, "set_alert", "error", {**good, "metric": "volatility"})
    assert (error["code"], set(error["details"])) == ("invalid_payload", {"value"})
    error = answers(client, "set_alert", "error", {**good, "instrument": "XXX_YYY"})
    assert (error["code"], set(error["details"])) == ("unknown_instrument", {"instrument"})
    for payload in ({"id": "nope"}, {"id": 1}, {}):
        error = answers(client, "delete_alert", "error", payload)
        assert (error["code"], set(error["details"])) == ("invalid_payload", {"id"})
    assert answers(client, "list_alerts", "alerts_list")["count"] == 0


def test_alerts_belong_to_one_client_and_end_with_it(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as watcher:
        with PythonClient(hub.url) as one, NodeClient(hub.url) as two:
            two.wait("connection_established")
            mine, theirs = set_alert(one, ">", "1.5"), set_alert(two, ">", "1.6", once=False)
            set_alert(two, ">", 0.02, metric="volatility")
            error = answers(one, "delete_alert", "error", {"id": theirs["id"]})
            assert (error["code"], set(error["details"])) == ("invalid_payload", {"id"})
            assert one.call("delete_alert", {"id": "all"})["deleted"] == [mine["id"]]
            assert two.call("list_alerts")["count"] == 2
            set_alert(one, ">", "1.7")
            price(bus, "1.5", "1.65")
            two.wait("alert_triggered")
            assert watcher.stats()["alerts_set"] == 3
            assert fired(one) == fired(watcher) == []
        until(lambda: watcher.stats()["alerts_set"] == 0, what="the end of the alerts of disconnected clients")
        price(bus, "1.4", "1.8")
        relayed(watcher, 4)
        assert "Traceback" not in hub.output()


def test_foreign_price_triggers_an_alert(shared_client: Client, shared_bus: Bus, shared_redis: redis_client.Redis, unpriced: str) -> None:
    client, bus = shared_client, shared_bus
    alert = set_alert(client, "crosses", "1.500", instrument=unpriced, once=False)
    for mid in ("1.4", "1.5000"):
        body = {"instrument": unpriced, "price": {"bid": "1", "ask": "2", "mid": mid, "time": "2025-11-18T13:00:00+01:00"}, "by": "us"}
        shared_redis.publish("price_updates", orjson.dumps(body))
    got = client.wait("alert_triggered")
    assert {key: got[key] for key in ("id", "current", "time", "seq", "epoch")} == {
        "id": alert["id"], "current": "1.5000", "time": "2025-11-18T13:00:00+01:00", "seq": None, "epoch": None,
    }  # fmt: skip
    price(bus, "1.5", "1.4", "1.6", instrument=unpriced)
    client.wait("alert_triggered", 2)
    assert fired(client) == [(alert["id"], "1.5000"), (alert["id"], "1.6")]


def test_price_of_a_catch_up_triggers_an_alert(hub: Web, bus: Bus, raw_redis: redis_client.Redis) -> None:
    with PythonClient(hub.url) as client:
        alert = set_alert(client, ">", "1.5", once=False)
        for number in range(60):
            if number % 20 == 10:
                raw_redis.client_kill_filter(_type="pubsub")
            price(bus, "1.4", "1.6")
        client.wait("alert_triggered", 60)
        assert [body["seq"] for body in client.bodies("alert_triggered")] == list(range(2, 121, 2))
        assert set(fired(client)) == {(alert["id"], "1.6")}


def test_volatility_alert_reads_the_store_after_data_ready(hub: Web, bus: Bus, store: Store, raw_redis: redis_client.Redis) -> None:
    figure(store, bus, 0, EUR_USD=0.01, GBP_USD=0.03)  # before the hub starts again
    hub.kill()
    hub.start()
    with PythonClient(hub.url) as one, NodeClient(hub.url) as two:
        two.wait("connection_established")
        crosses = set_alert(one, "crosses", 0.02, metric="volatility", once=False)["id"]
        above = set_alert(two, ">", 0.02, metric="volatility", instrument="GBP_USD", once=False)["id"]
        price(bus, "0.03")  # another metric
        bus.publish_data_ready("hourly_candles", ["EUR_USD"], NOON)
        raw_redis.publish("data_ready", b'{"data_type": "volatility"}')  # no new figure
        figure(store, bus, 1, EUR_USD=0.025)
        first = one.wait("alert_triggered")
        assert (first["id"], first["metric"], first["value"], first["current"]) == (crosses, "volatility", 0.02, 0.025)
        assert (first["time"], first["seq"], first["epoch"]) == (format_time(NOON + timedelta(hours=1)), None, None)
        figure(store, bus, 2, estimator="yang_zhang", EUR_USD=0.001, GBP_USD=0.001)  # alerts do not use this estimator
        figure(store, bus, 2, EUR_USD=0.0125, GBP_USD=0.03)  # GBP_USD: a new hour with an equal figure
        one.wait("alert_triggered", 2)
        two.wait("alert_triggered")
        assert fired(one) == [(crosses, 0.025), (crosses, 0.0125)]
        assert fired(two) == [(above, 0.03)]


def test_outage_of_the_store_does_not_delay_price_alerts(
    hub: Web, bus: Bus, store: Store, settings: Settings, servers: Servers, raw_redis: redis_client.Redis
) -> None:
    with PythonClient(hub.url) as client:
        priced, volatile = set_alert(client, ">", "1.5")["id"], set_alert(client, ">", 0.02, metric="volatility")["id"]
        figure(store, bus, 0, EUR_USD=0.01)
        with closed_database(servers.database_url, str(settings.database_url).rsplit("/", 1)[1]):
            raw_redis.publish("data_ready", b'{"data_type": "volatility"}')
            until(lambda: "volatility for alerts of clients was not read" in hub.output(), what="a log line")
            price(bus, "1.6")
            client.wait("alert_triggered")
        until(lambda: _works(store), what="the store is back")
        figure(store, bus, 1, EUR_USD=0.03)
        client.wait("alert_triggered", 2)
        assert fired(client) == [(priced, "1.6"), (volatile, 0.03)]
    assert "Traceback" not in hub.output()


def test_latest_volatilities_are_the_newest_of_the_estimator(store: Store) -> None:
    rows = [
        VolatilityRow(symbol, estimator, NOON + timedelta(hours=hour), hour / 100, 1.0, 24)
        for symbol in ("EUR_USD", "BTCUSDT")
        for estimator in ("alert", "parkinson")
        for hour in range(5 if symbol == "EUR_USD" else 3)
    ]
    with store.transaction() as cursor:
        assert latest_volatilities(cursor, "alert") == {}
        write_volatility(cursor, rows)
        latest = latest_volatilities(cursor, "alert")
        assert latest == {
            "EUR_USD": VolatilityRow("EUR_USD", "alert", NOON + timedelta(hours=4), 0.04, 1.0, 24),
            "BTCUSDT": VolatilityRow("BTCUSDT", "alert", NOON + timedelta(hours=2), 0.02, 1.0, 24),
        }


def test_slow_client_receives_every_alert(hub: Web, bus: Bus) -> None:
    with PythonClient(hub.url) as healthy, NodeClient(hub.url) as stuck:
        for client in (healthy, stuck):
            client.wait("connection_established")
            client.call("subscribe", {"pairs": ["EUR_USD"]})
        set_alert(stuck, ">", "1.5", once=False)
        # One alert in 500 prices: far below the limit of waiting alerts.
        batch = [Tick("EUR_USD", "1", "9", "1.6" if number == 499 else "1.4", format_time(NOON), "test") for number in range(500)]
        batches = 0
        os.kill(stuck.pid, signal.SIGSTOP)
        try:
            while not healthy.stats()["messages_conflated"]:
                bus.publish_prices(batch)  # more at once would conflate at the healthy client too
                batches += 1
                healthy.wait("price_update", 500 * batches, seconds=60)
            for _ in range(4):
                bus.publish_prices(batch)
            batches += 4
        finally:
            os.kill(stuck.pid, signal.SIGCONT)
        stuck.wait("gap_notice", seconds=60)
        stuck.wait("alert_triggered", batches, seconds=60)
        assert [body["seq"] for body in stuck.bodies("alert_triggered")] == [500 * number for number in range(1, batches + 1)]


def _works(store: Store) -> bool:
    try:
        store.ping()
    except StoreError:
        return False
    return True
