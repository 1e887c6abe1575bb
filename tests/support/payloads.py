"""Good payloads of the events of clients."""

from __future__ import annotations

from typing import Any

# event -> a good payload, with all fields of the contract
PAYLOADS: dict[str, dict[str, Any]] = {
    "subscribe": {
        "pairs": ["EUR_USD"],
        "candles": [{"pair": "EUR_USD", "interval": "1m"}],
        "since": {"EUR_USD": {"epoch": "b02494e1c361", "seq": 12}},
        "max_rate": 5,
    },
    "unsubscribe": {"pairs": "all", "candles": "all"},
    "get_subscriptions": {},
    "request_price": {"instrument": "EUR_USD"},
    "request_all_prices": {},
    "get_server_stats": {},
    "ping": {"timestamp": 1},
    "set_alert": {"instrument": "EUR_USD", "metric": "price", "op": ">", "value": "1.1", "once": True},
    "list_alerts": {},
    "delete_alert": {"id": "all"},
    "refresh": {"token": "a.b.c"},
}
