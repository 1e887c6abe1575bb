"""Every message between a running hub and stock clients, captured as examples."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from config.settings import Settings
from db.bus import Bus
from db.instruments import Instrument, add_instrument, enable_instrument, lock_instruments
from db.messages import Tick
from db.postgres import Cursor, Store
from db.timestamps import format_time
from tests.conftest import until
from tests.examples import access, books, metrics
from tests.examples.example import Examples
from tests.examples.witness import Witness
from tests.support.clients import NodeClient, PythonClient
from tests.support.processes import Web


def capture(settings: Settings, bus: Bus, folder: Path) -> Examples:
    """Start a hub on an empty bus, cause every message and return the examples."""
    limits = {"WEBSOCKET_MAX_CLIENTS": "2", "OUTBOX_LIMIT_BYTES": "65536"}
    with Web("hub", settings, folder / "hub.log", **limits) as hub, PythonClient(hub.url) as client:
        witness = Witness(client, bus)
        witness.receive("connection_established", "connection_established")
        _prices(witness)
        _errors(witness)
        _resuming(witness)
        _candles(witness)
        books.capture(witness)
        _alerts(witness)
        _broadcasts(witness)
        _instruments(witness, settings)
        witness.request("get_server_stats", "get_server_stats", "server_stats")
        _slow(witness, hub)
        witness.request("unsubscribe", "unsubscribe", "unsubscription_confirmed", {"pairs": ["GBP_USD"]})
        _flood(witness)
        observability = metrics.capture(settings, bus, hub, folder)
        _ending(witness, hub)
    return {**witness.examples, **observability, **access.capture(settings, bus, folder)}


def _prices(witness: Witness) -> None:
    witness.request("no_price", "request_price", "error", {"instrument": "EUR_USD"})
    witness.price("GBP_USD")
    until(lambda: witness.client.call("request_all_prices")["count"])
    witness.request("subscribe", "subscribe", "subscription_confirmed", {"pairs": ["EUR_USD", "GBP_USD", "EURUSD"]})
    witness.receive("price_update", "price_update", cause=witness.price)
    witness.request("request_price", "request_price", "price_response", {"instrument": "EUR_USD"})
    witness.request("request_all_prices", "request_all_prices", "all_prices_response")
    witness.request("get_subscriptions", "get_subscriptions", "subscriptions_info")
    witness.request("max_rate", "subscribe", "subscription_confirmed", {"pairs": "USD_JPY", "max_rate": 3})
    witness.request("ping", "ping", "pong", {"timestamp": 1763469296789.25})
    witness.request("subscribe_all", "subscribe", "subscription_confirmed", {"pairs": "all"})
    witness.client.call("unsubscribe", {"pairs": "all"})


def _errors(witness: Witness) -> None:
    witness.request("unknown_instrument", "request_price", "error", {"instrument": "EURUSD"})
    witness.request("invalid_payload", "subscribe", "error", {"pairs": [], "max_rate": "fast"})
    witness.request("unknown_event", "subscribe_all", "error", {})


def _resuming(witness: Witness) -> None:
    """Resume after two missed prices of one instrument, and with a foreign epoch of another one."""
    last = witness.client.call("request_price", {"instrument": "EUR_USD"})
    for raise_by in (1, 3):
        witness.price(raise_by=raise_by)
    until(lambda: witness.client.call("request_price", {"instrument": "EUR_USD"})["seq"] == last["seq"] + 2)
    since = {"EUR_USD": {"epoch": last["epoch"], "seq": last["seq"]}, "GBP_USD": {"epoch": "5c0e4d1f2a7b", "seq": 4711}}
    before = len(witness.client.bodies("price_update"))
    witness.request("resume", "subscribe", "subscription_confirmed", {"pairs": ["EUR_USD", "GBP_USD"], "since": since})
    witness.client.wait("price_update", before + 2)
    for body in witness.client.bodies("price_update")[before:]:
        witness.add("resume", "price_update", body)


def _candles(witness: Witness) -> None:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    candle = {
        "start_time": format_time(minute), "end_time": format_time(minute + timedelta(minutes=1)), "open": "1.09451", "high": "1.09467",
        "low": "1.09448", "close": "1.09462", "volume": "41", "trades": 41, "complete": False,
    }  # fmt: skip
    witness.bus.publish_candles([("EUR_USD", "1m", candle)])
    asked = {"candles": [{"pair": "EUR_USD", "interval": "1m"}, {"pair": "EUR_USD", "interval": "2m"}]}
    until(lambda: witness.client.call("subscribe", asked)["candle_snapshot"])
    witness.request("candles", "subscribe", "subscription_confirmed", asked)
    last = {**candle, "close": "1.09460", "volume": "43", "trades": 43, "complete": True}
    witness.receive("candle_update", "candle_update", cause=lambda: witness.bus.publish_candles([("EUR_USD", "1m", last)]))
    witness.request("unsubscribe_candles", "unsubscribe", "unsubscription_confirmed", {"candles": "all"})


def _alerts(witness: Witness) -> None:
    asked = {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.0947"}
    witness.request("set_alert", "set_alert", "alert_set", asked)
    kept = {"instrument": "EUR_USD", "metric": "volatility", "op": "crosses", "value": 0.02, "once": False}
    witness.client.call("set_alert", kept)
    witness.request("list_alerts", "list_alerts", "alerts_list")
    witness.receive("alert_triggered", "alert_triggered", cause=lambda: witness.price(raise_by=20))
    witness.request("delete_alert", "delete_alert", "alert_deleted", {"id": "all"})
    witness.request("unknown_alert", "delete_alert", "error", {"id": "nope"})


def _instruments(witness: Witness, settings: Settings) -> None:
    """Add and disable an instrument, as `manage.py instrument` does."""
    gold = Instrument("XAU_USD", "Gold / US Dollar", "metal", 2, "synthetic", "USD", "fx")
    changes: tuple[Callable[[Cursor], int], ...] = (
        lambda cursor: add_instrument(cursor, gold),
        lambda cursor: enable_instrument(cursor, "XAU_USD", enabled=False),
    )
    with closing(Store(str(settings.database_url))) as store:
        for number, change in enumerate(changes, 1):
            with store.transaction() as cursor:
                lock_instruments(cursor)
                changed = change(cursor)
            witness.bus.announce_instruments(changed)
            witness.add("instruments_changed", "instruments_changed", witness.client.wait("instruments_changed", number))


def _broadcasts(witness: Witness) -> None:
    """Publish the messages of the jobs, through the functions of the jobs."""
    bus, hour = witness.bus, datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    witness.request("subscribe_alerts", "subscribe", "subscription_confirmed", {"alerts": "all"})
    witness.receive(
        "volatility_alert",
        "volatility_alert",
        cause=lambda: bus.publish_volatility_alert("EUR_USD", 0.0217, threshold=0.02, severity="warning"),
    )
    witness.receive(
        "correlation_alert",
        "correlation_alert",
        cause=lambda: bus.publish_correlation_alert("EUR_USD", "GBP_USD", 0.5, previous=0.875, threshold=0.2, severity="warning"),
    )
    witness.request("unsubscribe_alerts", "unsubscribe", "unsubscription_confirmed", {"alerts": "all"})
    witness.receive("data_ready", "data_ready", cause=lambda: bus.publish_data_ready("volatility", ["EUR_USD", "GBP_USD"], hour))


def _slow(witness: Witness, hub: Web) -> None:
    """Stop the process of a client until its prices are conflated; a further client is refused."""
    time = format_time(datetime.now(UTC))
    batch = [Tick(pair, "1.1", "1.2", "1.15", time, "flood") for pair in ("EUR_USD", "GBP_USD")] * 500
    witness.client.call("unsubscribe", {"pairs": "all"})
    with NodeClient(hub.url) as stuck:
        stuck.wait("connection_established")
        stuck.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})
        with NodeClient(hub.url, reconnection=False) as refused:
            witness.add("server_full", "connect_error", refused.wait("connect_error"))
        os.kill(stuck.pid, signal.SIGSTOP)
        try:
            until(lambda: witness.bus.publish_prices(batch) and witness.client.call("get_server_stats")["messages_conflated"])
        finally:
            os.kill(stuck.pid, signal.SIGCONT)
        witness.add("gap_notice", "gap_notice", stuck.wait("gap_notice", seconds=60))
    until(lambda: witness.client.call("get_server_stats")["connected_clients"] == 1)
    witness.client.call("subscribe", {"pairs": ["EUR_USD", "GBP_USD"]})


def _flood(witness: Witness) -> None:
    before = len(witness.client.bodies("error"))
    for _ in range(400):
        witness.client.emit("get_subscriptions")
    witness.add("too_many_requests", "error", witness.client.wait("error", before + 1))


def _ending(witness: Witness, hub: Web) -> None:
    hub.ask_to_stop()
    witness.add("unavailable", "error", witness.client.wait("error", where=lambda body: body["code"] == "unavailable"))
