"""Good payloads of the events of clients."""

from __future__ import annotations

from typing import Any

from tests.support.reports import fill_body

# event -> a good payload, with all fields of the contract
PAYLOADS: dict[str, dict[str, Any]] = {
    "subscribe": {
        "pairs": ["EUR_USD"],
        "candles": [{"pair": "EUR_USD", "interval": "1m"}],
        "books": [{"pair": "EUR_USD", "depth": 20}],
        "heartbeat": True,
        "alerts": "all",
        "since": {"EUR_USD": {"epoch": "b02494e1c361", "seq": 12}},
        "max_rate": 5,
    },
    "unsubscribe": {"pairs": "all", "candles": "all", "books": "all", "heartbeat": True, "alerts": "all"},
    "get_subscriptions": {},
    "request_price": {"instrument": "EUR_USD"},
    "request_book": {"instrument": "EUR_USD", "depth": 20},
    "request_all_prices": {},
    "get_server_stats": {},
    "ping": {"timestamp": 1},
    "set_alert": {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.1", "once": True},
    "list_alerts": {},
    "delete_alert": {"id": "all"},
    "refresh": {"token": "a.b.c"},
}
# the same for the namespace `/metrics`
METRICS_PAYLOADS: dict[str, dict[str, Any]] = {
    "subscribe": {"channels": ["strategy", "alerts", "events"], "max_rate": 2},
    "unsubscribe": {"channels": "all"},
    "get_subscriptions": {},
    "report": {"reports": [fill_body()]},
    "acknowledge_alert": {"alert_id": "system:disk:critical:1763469296789", "by": "ada", "comment": "on it"},
    "ping": {"timestamp": 1},
}


def payload_of(namespace: str, event: str) -> dict[str, Any]:
    """Return a good payload of an event."""
    return {"/": PAYLOADS, "/metrics": METRICS_PAYLOADS}[namespace][event]
