"""The messages of the namespace `/metrics`, captured as examples: of a running hub and observer."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.settings import Settings
from db.alerts import SystemAlert, raise_alert
from db.bus import Bus
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import until
from tests.examples.example import Examples
from tests.examples.reported import DISK_LIMITS
from tests.examples.witness import Witness
from tests.support.clients import PythonClient
from tests.support.processes import Web, observer
from tests.support.reports import fill_body


def capture(settings: Settings, bus: Bus, hub: Web, folder: Path) -> Examples:
    """Start an observer beside the hub, and cause every message of the namespace."""
    with closing(Store(str(settings.database_url))) as store, store.transaction() as cursor:
        cursor.execute("UPDATE instruments SET tracked = symbol IN ('EUR_USD', 'GBP_USD')")
    with (
        observer(settings, folder / "observer.log", ALERT_DISK=DISK_LIMITS),
        PythonClient(hub.url, namespace="/metrics") as client,
    ):
        witness = Witness(client, bus, {hub.port: 5001})
        _reports(witness)
        _alerts(witness, settings)
        _snapshots(witness)
        witness.request("metrics_ping", "ping", "pong", {"timestamp": 1763469296789.25})
        witness.request("metrics_unsubscribe", "unsubscribe", "unsubscription_confirmed", {"channels": ["system", "alerts"]})
    return witness.examples


def _reports(witness: Witness) -> None:
    moment = format_time(datetime.now(UTC))
    fill = fill_body(17, time=moment)
    bad = {**fill_body(18, time=moment), "quantity": "-1"}
    witness.client.call("subscribe", {"channels": ["alerts", "events"]})
    witness.request("metrics_get_subscriptions", "get_subscriptions", "subscriptions_info")
    witness.request("report", "report", "report_accepted", {"reports": [fill, fill, bad]})
    body = witness.client.wait("observability_event", where=lambda body: body["event_type"] == "trade_executed", seconds=60)
    witness.add("observability_event", "observability_event", body)


def _alerts(witness: Witness, settings: Settings) -> None:
    """Raise an alert, unless the observer has done so: its settings keep it open."""
    alert = SystemAlert("system", "disk", "critical", datetime.now(UTC), 96.1, 95, "Disk usage 96.1 % is above 95 %.")
    with closing(Store(str(settings.database_url))) as store, store.transaction() as cursor:
        raise_alert(cursor, alert)
    body = witness.client.wait("alert", where=lambda body: body["subject"] == "disk", seconds=60)
    witness.add("alert", "alert", body)
    asked = {"alert_id": body["alert_id"], "by": "ada", "comment": "on it"}
    witness.request("acknowledge_alert", "acknowledge_alert", "alert_acknowledged", asked)
    witness.request("acknowledge_unknown_alert", "acknowledge_alert", "error", {"alert_id": "system:disk:warning:1"})


def _snapshots(witness: Witness) -> None:
    for instrument in ("EUR_USD", "GBP_USD"):
        witness.price(instrument)
    asked = {"channels": ["market_data", "strategy"], "max_rate": 5}
    until(lambda: _is_whole(witness.client.call("subscribe", asked)["snapshot"]), 60)
    witness.request("metrics_subscribe", "subscribe", "subscription_confirmed", asked)
    witness.receive("metrics_update", "metrics_update", cause=lambda: None)


def _is_whole(snapshot: Any) -> bool:
    """Whether the snapshot has the reported fill and the last price."""
    if not snapshot or not snapshot["strategy"].get("strategies"):
        return False
    return bool(snapshot["market_data"]["symbols"]["GBP_USD"]["bid"] == "1.26810")
