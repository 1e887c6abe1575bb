"""The messages of the namespace `/metrics`, captured as examples."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import orjson

from config.settings import Settings
from db.alert_changes import open_alerts
from db.alerts import SystemAlert, raise_alert
from db.bus import Bus, Snapshot
from db.postgres import Store
from db.timestamps import format_time
from tests.conftest import until
from tests.examples.example import Examples
from tests.examples.witness import Witness
from tests.support.clients import PythonClient
from tests.support.observability_events import alert_event, event_body
from tests.support.processes import Web
from tests.support.reports import fill_body

_PRICE = {
    "last_price": "1.09455", "bid": "1.09448", "ask": "1.09462", "vwap": None, "volume": None, "trades": 0, "spread_bps": 1.28,
    "twap": "1.09447", "state": "live",
}  # fmt: skip
_STRATEGY = {
    "pnl": "12.34", "daily_pnl": "3.21", "positions": 1, "signals": 42, "win_rate": 0.58, "realized_pnl": "10.00",
    "unrealized_pnl": "2.34", "currency": "USD", "bots": ["mm-1"], "state": "live",
}  # fmt: skip


def capture(settings: Settings, bus: Bus, hub: Web) -> Examples:
    """Cause every message of the namespace on a running hub."""
    with PythonClient(hub.url, namespace="/metrics") as client:
        witness = Witness(client, bus)
        _snapshots(witness)
        _reports(witness)
        _alerts(witness, settings)
        witness.request("metrics_ping", "ping", "pong", {"timestamp": 1763469296789.25})
        witness.request("metrics_unsubscribe", "unsubscribe", "unsubscription_confirmed", {"channels": ["system", "alerts"]})
    return witness.examples


def _snapshots(witness: Witness) -> None:
    witness.bus.publish_snapshot(_snapshot(811))
    asked = {"channels": ["market_data", "strategy"], "max_rate": 5}
    until(lambda: witness.client.call("subscribe", asked)["snapshot"])
    witness.request("metrics_subscribe", "subscribe", "subscription_confirmed", asked)
    witness.receive("metrics_update", "metrics_update", cause=lambda: witness.bus.publish_snapshot(_snapshot(812)))
    witness.client.call("unsubscribe", {"channels": ["market_data", "strategy"]})
    witness.client.call("subscribe", {"channels": ["alerts", "events"]})
    witness.request("metrics_get_subscriptions", "get_subscriptions", "subscriptions_info")


def _snapshot(seq: int) -> Snapshot:
    now = format_time(datetime.now(UTC))
    sections = {
        "market_data": {"timestamp": now, "symbols": {"EUR_USD": {**_PRICE, "time": now}}, "total_trades": 0, "symbols_tracked": 1},
        "strategy": {"timestamp": now, "strategies": {"mean_reversion": {**_STRATEGY, "last_report": now}}, "total_pnl": "12.34"},
    }
    return Snapshot(now, seq, "9c41d2f07b3e", {}, {name: orjson.dumps(body).decode() for name, body in sections.items()})


def _reports(witness: Witness) -> None:
    moment = format_time(datetime.now(UTC))
    fill = fill_body(17, time=moment)
    bad = {**fill_body(18, time=moment), "quantity": "-1"}
    witness.request("report", "report", "report_accepted", {"reports": [fill, fill, bad]})
    fields = {
        "trade_id": "mm-1:f-17", "symbol": "EUR_USD", "side": "buy", "quantity": "1000", "price": "1.09450",
        "strategy": "mean_reversion", "pnl": None,
    }  # fmt: skip
    event = event_body("trade_executed", "mm-1", fields, event_id="mm-1:fill:f-17")
    witness.receive("observability_event", "observability_event", cause=lambda: witness.bus.publish_events([event]))


def _alerts(witness: Witness, settings: Settings) -> None:
    now = datetime.now(UTC)
    alert = SystemAlert("system", "disk", "critical", now, 96.1, 95, "Disk usage 96.1 % is above 95 %.")
    with closing(Store(str(settings.database_url))) as store, store.transaction() as cursor:
        raise_alert(cursor, alert)
        (stored,) = open_alerts(cursor)
    witness.receive("alert", "alert", cause=lambda: witness.bus.publish_events([alert_event("observer", stored.body())]))
    asked = {"alert_id": alert.alert_id, "by": "ada", "comment": "on it"}
    witness.request("acknowledge_alert", "acknowledge_alert", "alert_acknowledged", asked)
    witness.request("acknowledge_unknown_alert", "acknowledge_alert", "error", {"alert_id": "system:disk:warning:1"})
