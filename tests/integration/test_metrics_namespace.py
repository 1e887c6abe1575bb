"""The namespace `/metrics` on a real hub, with stock clients and with the raw one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Any

import pytest

from config.settings import Settings
from db import topics
from db.alerts import SystemAlert, raise_alert, resolve_alerts
from db.bus import Bus, Snapshot
from db.bus.observability.snapshots import SECTIONS
from db.postgres import Store
from tests.conformance.http_client import Server
from tests.conformance.websocket_client import WebSocket
from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient
from tests.support.observability_events import alert_event
from tests.support.processes import Web
from tests.support.reports import fill_body

SPACE = "/metrics"
NOON = "2025-11-18T12:00:00.000000Z"
ALERT = {
    "alert_id": "system:disk:critical:1", "type": "system", "subject": "disk", "severity": "critical", "state": "firing", "active": True,
    "value": 96.1, "threshold": 95, "message": "Disk usage 96.1 % is above 95 %.", "time": NOON, "acknowledged_at": None,
}  # fmt: skip


def snapshot(seq: int) -> Snapshot:
    """A snapshot whose decimals would lose digits as floats."""
    decimal = f"{seq}.10000000000000000001"
    numbers = f'{{"timestamp":"{NOON}","pnl":{decimal}}}'
    strings = f'{{"timestamp":"{NOON}","pnl":"{decimal}"}}'
    return Snapshot(NOON, seq, "e1", dict.fromkeys(SECTIONS, numbers), dict.fromkeys(SECTIONS, strings))


def today(number: int, **changes: Any) -> dict[str, Any]:
    return fill_body(number, time=datetime.now(UTC).isoformat(), **changes)


@pytest.fixture
def client(shared_hub: Web) -> Iterator[PythonClient]:
    with PythonClient(shared_hub.url, namespace=SPACE) as client:
        yield client


def test_client_receives_the_sections_that_it_holds(client: PythonClient, shared_hub: Web, shared_bus: Bus) -> None:
    shared_bus.publish_snapshot(snapshot(1))
    asked = {"channels": ["execution", "strategy"]}
    until(lambda: client.call("subscribe", asked)["snapshot"])
    answer = client.call("subscribe", asked)
    assert (answer["channels"], answer["max_rate"]) == (["strategy", "execution"], None)
    section = {"timestamp": NOON, "pnl": "1.10000000000000000001"}
    assert answer["snapshot"] == {"timestamp": NOON, "seq": 1, "epoch": "e1", "strategy": section, "execution": section}
    assert client.bodies("subscription_confirmed")[-1] == answer
    with PythonClient(shared_hub.url, ["polling"], namespace=SPACE) as other:
        assert other.call("subscribe", {"channels": "all"})["channels"] == [*SECTIONS, "alerts", "events"]
        shared_bus.publish_snapshot(snapshot(2))
        assert list(client.wait("metrics_update")) == ["timestamp", "seq", "epoch", "strategy", "execution"]
        assert list(other.wait("metrics_update")) == ["timestamp", "seq", "epoch", *SECTIONS]
        assert other.call("unsubscribe", {"channels": ["strategy", "alerts"]})["removed"] == ["strategy", "alerts"]
        shared_bus.publish_snapshot(snapshot(3))
        assert list(other.wait("metrics_update", 2)) == ["timestamp", "seq", "epoch", "market_data", "execution", "system"]
    held = client.call("get_subscriptions")
    assert (held["channels"], held["max_rate"]) == (["strategy", "execution"], None)
    assert client.call("unsubscribe", {"channels": "all"})["channels"] == []


def test_rate_limits_snapshots_and_keeps_the_newest(client: PythonClient, shared_bus: Bus) -> None:
    assert client.call("subscribe", {"channels": ["system"], "max_rate": 0.3})["max_rate"] == 0.2
    for seq in range(10, 30):
        shared_bus.publish_snapshot(snapshot(seq))
    client.wait("metrics_update")
    assert client.call("subscribe", {"channels": ["alerts"]})["max_rate"] == 0.2, "alerts have no rate"
    assert len(client.bodies("metrics_update")) < 5


def test_alert_goes_to_alerts_and_every_event_to_events(client: PythonClient, shared_hub: Web, shared_bus: Bus) -> None:
    with PythonClient(shared_hub.url, namespace=SPACE) as other:
        client.call("subscribe", {"channels": ["alerts"]})
        other.call("subscribe", {"channels": ["events"]})
        shared_bus.publish_events([{"event_id": "1", "event_type": "trade_executed", "source": "mm-1", "metadata": {}, "price": "1.09450"}])
        shared_bus.publish(topics.OBSERVABILITY_EVENTS, topics.EVENTS_TOPIC, alert_event("observer", ALERT))
        assert client.wait("alert") == ALERT
        assert other.wait("observability_event")["price"] == "1.09450"
        event = other.wait("observability_event", 2)
        assert (event["event_type"], event["severity"], event["details"]) == ("system_alert", "critical", ALERT)
        first, second = (each["seq"] for each in other.bodies("observability_event"))
        assert second == first + 1
        assert client.bodies("observability_event") == other.bodies("alert") == []


def test_reports_in_doubles_over_two_sockets_count_once(client: PythonClient, shared_hub: Web, shared_bus: Bus) -> None:
    before = shared_bus.unprocessed_reports()
    moment = datetime.now(UTC).isoformat()
    batches = [[fill_body(number, time=moment) for number in range(start, start + 50)] for start in range(0, 500, 50)]
    with PythonClient(shared_hub.url, namespace=SPACE) as other:
        for batch in batches:
            client.emit("report", {"reports": batch})
            other.emit("report", {"reports": batch[::-1]})
        for each in (client, other):
            each.wait("report_accepted", len(batches))
        answers = [body for each in (client, other) for body in each.bodies("report_accepted")]
    assert sum(each["accepted"] for each in answers) == sum(each["duplicates"] for each in answers) == 500
    assert all(each["rejected"] == [] for each in answers)
    assert shared_bus.unprocessed_reports() == before + 500


def test_bad_reports_are_rejected_one_by_one(client: PythonClient) -> None:
    bad = [{"kind": "fill"}, 5, today(1, symbol="NOPE"), today(2, metadata=[1]), {**today(3), "é": 1}]
    answer = client.call("report", {"reports": [today(1000), *bad]})
    assert (answer["accepted"], answer["duplicates"]) == (1, 0)
    codes = [(each["index"], each["id"], each["code"]) for each in answer["rejected"]]
    invalid = "invalid_payload"
    assert codes == [(1, None, invalid), (2, None, invalid), (3, "f-1", "unknown_instrument"), (4, "f-2", invalid), (5, "f-3", invalid)]
    assert client.call("report", {"reports": bad})["accepted"] == 0, "answered at once"
    assert client.call("report", {"reports": [today(1000, price="2")]})["rejected"][0]["code"] == "conflict"


@pytest.mark.parametrize(
    "metadata", ['{"x":NaN}', '{"x":"\\ud83d"}', '{"x":1e999}', '{"x":1.0000000000000000001}', '{"x":1180591620717411303424}']
)
def test_metadata_that_cannot_be_given_back_is_rejected(metadata: str, shared_hub: Web) -> None:
    with WebSocket(Server("127.0.0.1", shared_hub.port), "/socket.io/") as socket:
        socket.send("40/metrics,")
        socket.packet()
        report = json.dumps(["report", {"reports": [today(1, metadata={"here": 1})]}])
        socket.send("42/metrics," + report.replace('{"here": 1}', metadata))
        answer = json.loads(str(socket.packet()).removeprefix("42/metrics,"))[1]
        rejected = {"index": 0, "id": "f-1", "code": "invalid_payload", "message": "metadata: Must be an object."}
        assert answer["rejected"] == [rejected]


@pytest.mark.parametrize(
    ("event", "payload", "code"),
    [
        ("subscribe", {"channels": ["prices"]}, "invalid_payload"),
        ("subscribe", {}, "invalid_payload"),
        ("subscribe", {"channels": "all", "max_rate": 0}, "invalid_payload"),
        ("report", {"reports": []}, "invalid_payload"),
        ("report", {"reports": [{}] * 501}, "invalid_payload"),
        ("request_price", {"instrument": "EUR_USD"}, "invalid_payload"),
        ("acknowledge_alert", {"alert_id": "system:disk:critical:1"}, "not_found"),
        ("acknowledge_alert", {"alert_id": 5}, "invalid_payload"),
    ],
)
def test_bad_request_is_refused(event: str, payload: dict[str, Any], code: str, client: PythonClient) -> None:
    answer = client.call(event, payload)
    assert (answer["code"], answer["event"]) == (code, event)
    assert client.bodies("error")[-1] == answer


def test_namespaces_of_one_session_have_their_own_sids_rooms_and_acks(shared_hub: Web, shared_bus: Bus) -> None:
    with WebSocket(Server("127.0.0.1", shared_hub.port), "/socket.io/") as socket:
        socket.send("40")
        first = json.loads(str(socket.packet())[2:])["sid"]
        socket.packet()  # connection_established
        socket.send("40/metrics,")
        packet = str(socket.packet())
        assert packet.startswith("40/metrics,")
        assert json.loads(packet[11:])["sid"] != first
        socket.send('42/metrics,7["ping",{"timestamp":5}]')
        event, ack = str(socket.packet()), str(socket.packet())
        assert event.startswith('42/metrics,["pong",{"timestamp":5,')
        assert ack.startswith('43/metrics,7[{"timestamp":5,')
        report = json.dumps(["report", {"reports": [today(2000)]}])
        socket.send(f"42/metrics,8{report}")
        event, ack = str(socket.packet()), str(socket.packet())
        assert event.startswith('42/metrics,["report_accepted",{"accepted":1,')
        assert json.loads(ack.removeprefix("43/metrics,8"))[0] == json.loads(event.removeprefix("42/metrics,"))[1]
        socket.send('42/metrics,["subscribe",{"channels":"alerts"}]')
        assert str(socket.packet()).startswith('42/metrics,["subscription_confirmed"')
        socket.send('420["get_subscriptions"]')
        assert json.loads(str(socket.packet())[2:])[1]["pairs"] == []


def test_hundred_clients_receive_each_snapshot_and_their_acks(shared_hub: Web, shared_bus: Bus) -> None:
    server = Server("127.0.0.1", shared_hub.port)
    with ExitStack() as stack:
        sockets = [stack.enter_context(WebSocket(server, "/socket.io/")) for _ in range(100)]
        for socket in sockets:
            socket.send("40/metrics,")
        for number, socket in enumerate(sockets):
            assert str(socket.packet()).startswith("40/metrics,")
            channels = json.dumps(["subscribe", {"channels": [SECTIONS[number % 4], "events"]}])
            socket.send(f"42/metrics,{channels}")
        for socket in sockets:
            assert "subscription_confirmed" in str(socket.packet())
        for number, socket in enumerate(sockets):
            report = json.dumps(["report", {"reports": [today(3000 + number)]}])
            socket.send(f"42/metrics,1{report}")
        for socket in sockets:
            assert '"accepted":1,' in str(socket.packet())
            assert str(socket.packet()).startswith("43/metrics,1[")
        shared_bus.publish_snapshot(snapshot(99))
        for number, socket in enumerate(sockets):
            body = json.loads(str(socket.packet()).removeprefix("42/metrics,"))[1]
            assert list(body) == ["timestamp", "seq", "epoch", SECTIONS[number % 4]]
            assert body["seq"] == 99


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
def test_largest_batch_is_one_message(transports: list[str], shared_hub: Web) -> None:
    first = 10_000 + 1_000 * len("".join(transports))
    with PythonClient(shared_hub.url, transports, namespace=SPACE) as client:
        reports = [today(first + number, metadata={"note": "x" * 300}) for number in range(500)]
        assert len(json.dumps(reports)) > 250_000
        answer = client.call("report", {"reports": reports})
        assert answer["accepted"] + answer["duplicates"] == 500


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


def test_acknowledgements_over_two_sockets_change_one_row(client: PythonClient, shared_hub: Web, store: Store) -> None:
    alert = SystemAlert("system", "disk", "critical", datetime.now(UTC), 96.1, 95, "Disk usage 96.1 % is above 95 %.")
    with store.transaction() as cursor:
        raise_alert(cursor, alert)
    with PythonClient(shared_hub.url, ["polling"], namespace=SPACE) as other:
        for number, each in enumerate((client, other)):
            each.emit("acknowledge_alert", {"alert_id": alert.alert_id, "by": f"ada-{number}", "comment": "on it"})
        first, second = (each.wait("alert_acknowledged") for each in (client, other))
    assert first == second
    assert first["acknowledged_by"] in ("ada-0", "ada-1")
    with store.transaction() as cursor:
        cursor.execute("SELECT state, acknowledged_by, comment FROM alerts WHERE alert_id = %s", (alert.alert_id,))
        assert cursor.fetchall() == [("acknowledged", first["acknowledged_by"], "on it")]
        resolve_alerts(cursor, [alert.key], datetime.now(UTC))
    answer = client.call("acknowledge_alert", {"alert_id": alert.alert_id})
    assert (answer["code"], answer["details"]) == ("conflict", {"alert_id": [alert.alert_id]})


def test_slow_client_gets_the_newest_snapshot_and_a_gap_notice(shared_hub: Web, shared_bus: Bus) -> None:
    """The stock JavaScript client, which is stopped until the hub has dropped snapshots."""
    large = dict.fromkeys(SECTIONS, f'{{"padding":"{"x" * 20_000}"}}')
    seq = 0
    with PythonClient(shared_hub.url) as watcher, NodeClient(f"{shared_hub.url}{SPACE}") as stuck:
        stuck.wait("connect")
        assert stuck.call("subscribe", {"channels": "all"})["channels"] == [*SECTIONS, "alerts", "events"]
        before = watcher.stats()["messages_conflated"]
        os.kill(stuck.pid, signal.SIGSTOP)
        try:
            while watcher.stats()["messages_conflated"] < before + 20:
                for _ in range(20):
                    seq += 1
                    shared_bus.publish_snapshot(Snapshot(NOON, seq, "slow", {}, large))
        finally:
            os.kill(stuck.pid, signal.SIGCONT)
        notice = stuck.wait("gap_notice", seconds=60)
        assert (list(notice["dropped"]), notice["reason"]) == (["metrics"], "slow_consumer")
        # The hub may still have snapshots to read from the bus.
        stuck.wait("metrics_update", where=lambda body: (body["epoch"], body["seq"]) == ("slow", seq))
        seen = [body["seq"] for body in stuck.bodies("metrics_update") if body["epoch"] == "slow"]
        assert seen[-1] == seq
        until(lambda: len(seen) + sum(each["dropped"]["metrics"] for each in stuck.bodies("gap_notice")) == seq)
