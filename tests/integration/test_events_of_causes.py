"""Real causes, as bots and the machine have them, arrive on both sockets: hub and observer run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from marshmallow import EXCLUDE

from api.schemas import observability
from config.settings import Settings
from db import topics
from db.alerts import acknowledge
from db.postgres import Store
from tests.conftest import until
from tests.support.clients import PythonClient
from tests.support.plain import Plain
from tests.support.processes import Web, observer
from tests.support.reports import fill_body

# type of an event -> its class, by the page "Observability", section 3
CLASSES = {
    "metric_threshold": observability.MetricEventSchema,
    "trade_executed": observability.TradeEventSchema,
    **dict.fromkeys(("order_placed", "order_filled", "order_cancelled", "order_rejected"), observability.OrderEventSchema),
    **dict.fromkeys(("signal_generated", "signal_approved", "signal_rejected"), observability.StrategyEventSchema),
    **dict.fromkeys(("position_opened", "position_closed"), observability.StrategyEventSchema),
    "system_alert": observability.AlertEventSchema,
    **dict.fromkeys(("component_error", "connection_lost", "connection_restored"), observability.SystemEventSchema),
}


def report(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat()
    return {"kind": kind, "bot": "mm-1", "strategy": "mean_reversion", "symbol": "EUR_USD", "id": name, "time": moment, **fields}


def order(name: str, status: str, **fields: Any) -> dict[str, Any]:
    more = {"order_id": name, "side": "buy", "quantity": "1000.00", "order_type": "limit", "status": status}
    return report("order", f"{name}-{status}", **more, **fields)


def fill(number: int, side: str, quantity: str, price: str, **fields: Any) -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat()
    return fill_body(number, side=side, quantity=quantity, price=price, time=moment, **fields)


REPORTS = [
    *(order("o-1", status, client_order_id="c-1") for status in ("new", "accepted", "partially_filled", "filled")),
    *(order("o-2", status) for status in ("new", "expired")),
    order("o-3", "cancelled", reason="the bot ends"),
    order("o-4", "rejected", reason="margin"),
    *(report("signal", outcome, signal="buy", outcome=outcome, confidence=0.5) for outcome in ("generated", "approved", "rejected")),
    fill(1, "buy", "1000.00", "1.09450", fee="0.020", liquidity="taker"),
    fill(2, "sell", "1500.00", "1.09400", fee=None),  # a flip
]
# Each status and each turn of the position: an expired order is a cancelled one.
NUMBERS = {
    "order_placed": 2, "order_filled": 1, "order_cancelled": 2, "order_rejected": 1, "signal_generated": 1, "signal_approved": 1,
    "signal_rejected": 1, "trade_executed": 2, "position_opened": 2, "position_closed": 1, "component_error": 1, "metric_threshold": 2,
    "system_alert": 2,
}  # fmt: skip


@pytest.fixture
def plain(shared_hub: Web) -> Iterator[Plain]:
    with Plain(shared_hub.port, "channels=system&max_rate=0.1") as client:
        assert client.body()["type"] == "connected"
        assert client.ask("subscribe:alerts,trades")["channels"] == ["system", "alerts", "trades"]
        yield client


def of_disk(event: dict[str, Any]) -> bool:
    return "disk" in (event.get("metric_name"), event.get("details", {}).get("subject"))


def test_every_cause_is_an_event_of_its_class_on_the_sockets(
    shared_hub: Web, plain: Plain, shared_settings: Settings, shared_redis: redis_client.Redis, tmp_path: Path
) -> None:
    with PythonClient(shared_hub.url, namespace="/metrics") as client:
        client.call("subscribe", {"channels": ["events", "alerts"]})
        assert client.call("report", {"reports": REPORTS})["accepted"] == len(REPORTS)

        def found(kind: str) -> list[dict[str, Any]]:
            events = [each for each in client.bodies("observability_event") if each["event_type"] == kind]
            return [each for each in events if each["source"] == "mm-1" or kind == "component_error" or of_disk(each)]

        with observer(shared_settings, tmp_path / "observer.log", ALERT_DISK="1/2") as process:
            until(lambda: len(found("position_opened")) == 2, 40, lambda: process.output()[-3000:])
            check_trades(plain)
            shared_redis.delete(topics.report_key("mm-1", "fill", "f-1"))  # the store finds the other content
            client.call("report", {"reports": [fill(1, "buy", "7", "1.09450")]})
            alert_id = client.wait("alert", where=of_alert_of_disk, seconds=40)["alert_id"]
            with closing(Store(str(shared_settings.database_url))) as store, store.transaction() as cursor:
                acknowledge(cursor, alert_id, "ada", None, datetime.now(UTC))
            until(lambda: {kind: len(found(kind)) for kind in NUMBERS} == NUMBERS, 20, lambda: str({kind: found(kind) for kind in NUMBERS}))
    for event in client.bodies("observability_event"):
        CLASSES[event["event_type"]](unknown=EXCLUDE).load(event)
    check_turns(found)
    check_alerts(plain, client, alert_id)


def of_alert_of_disk(alert: dict[str, Any]) -> bool:
    return bool(alert["subject"] == "disk" and alert["severity"] == "critical")


def check_trades(plain: Plain) -> None:
    texts = [next_text(plain, "trade_notification") for _ in range(2)]
    assert '"quantity":1000.00,"price":1.09450,' in texts[0]
    assert '"fee":0.020,"fee_currency":"USD","currency":"USD","liquidity":"taker",' in texts[0]
    flip = json.loads(texts[1])["data"]
    # (1.09400 - 1.09450) * 1000 and no fee
    assert '"pnl":-0.5' in texts[1]
    assert (flip["trade_id"], flip["bot"], flip["order_id"], flip["pnl"]) == ("mm-1:f-2", "mm-1", "o-2", -0.5)
    assert list(flip) == [
        "trade_id", "symbol", "side", "quantity", "price", "timestamp", "latency_ms", "slippage_bps", "pnl", "strategy", "order_id", "bot",
        "fee", "fee_currency", "currency", "liquidity", "time_received",
    ]  # fmt: skip


def next_text(plain: Plain, kind: str) -> str:
    """The next frame of this type; snapshots and other notifications before it are skipped."""
    while not (text := str(plain.receive(30))).startswith(f'{{"type":"{kind}","timestamp":'):
        pass
    return text


def check_turns(found: Any) -> None:
    closed, opened = found("position_closed")[0], found("position_opened")[1]
    assert closed["seq"] < opened["seq"], "a flip closes, then opens"
    assert (closed["event_data"]["quantity"], opened["event_data"]["quantity"]) == ("0", "-500.00")
    assert {each["status"] for each in found("order_cancelled")} == {"cancelled", "expired"}
    assert (found("trade_executed")[0]["price"], found("trade_executed")[0]["pnl"]) == ("1.09450", None)
    crossed = {each["metadata"]["severity"]: (each["threshold"], each["exceeded"]) for each in found("metric_threshold")}
    assert crossed == {"warning": (1, True), "critical": (2, True)}


def check_alerts(plain: Plain, client: PythonClient, alert_id: str) -> None:
    alerts = [each for each in client.bodies("alert") if each["alert_id"] == alert_id]
    assert [each["state"] for each in alerts] == ["firing", "acknowledged"]
    events = [each for each in client.bodies("observability_event") if each["event_type"] == "system_alert"]
    about = [each for each in events if each["details"]["alert_id"] == alert_id]
    assert [each["details"] for each in about] == alerts
    assert [(each["alert_type"], each["severity"], each["acknowledged"]) for each in about] == [
        ("critical", "critical", False), ("critical", "critical", True),
    ]  # fmt: skip
    notified: list[dict[str, Any]] = []
    while len(notified) < 2:
        body = json.loads(next_text(plain, "alert_notification"))["data"]
        notified += [body] if body["alert_id"] == alert_id else []
    assert notified == alerts
