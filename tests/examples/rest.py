"""Requests of each kind to every route of a running REST, and the responses."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import until
from tests.examples.example import Examples
from tests.examples.system import System

# name -> path
REQUESTS = {
    "index": "/",
    "health": "/health",
    "health-live": "/health/live",
    "health-ready": "/health/ready",
    "health-db": "/health/db",
    "health-binance": "/health/binance",
    "symbols": "/symbols",
    "sessions": "/sessions",
    "price-latest": "/price/latest?symbol=EUR_USD",
    "price-latest-several": "/price/latest?symbols=EUR_USD,GBP_USD",
    "ticks": "/ticks?symbol=EUR_USD&limit=2",
    "ticks-csv": "/ticks?symbol=EUR_USD&limit=2&format=csv",
    "ticks-ndjson": "/ticks?symbol=EUR_USD&limit=2&format=ndjson",
    "candles": "/candles?symbol=EUR_USD&interval=1h&limit=2",
    "candles-newest": "/candles?symbol=EUR_USD&interval=1m&order=desc&limit=1",
    "market-trades": "/market/trades?symbol=BTCUSDT&limit=2",
    "gaps": "/gaps?state=filled&limit=1",
    "volatility": "/volatility?symbol=EUR_USD&estimator=ewma&order=desc&limit=1",
    "volatility-latest": "/volatility/latest?symbols=EUR_USD",
    "correlation": "/correlation?symbols=EUR_USD,GBP_USD,USD_JPY",
    "correlation-history": "/correlation/history?symbol1=EUR_USD&symbol2=GBP_USD&order=desc&limit=1",
    "alerts": "/alerts?type=volatility&order=desc&limit=1",
    "jobs": "/jobs",
    "error-unknown": "/price/latest?symbol=EURUSD",
    "error-arguments": "/ticks?symbol=EUR_USD&limit=0&start=yesterday",
    "error-no-data": "/correlation?as_of=2001-01-01",
    "error-no-route": "/price",
    "error-query": "/symbols?api_key=tw_nokey123_wrong",
}
# name -> path and X-API-Key; `$KEY` may read EUR_* and GBP_USD, and nothing else
WITH_KEY = {
    "error-unauthorized": ("/symbols", "tw_nokey123_wrong"),
    "error-scope": ("/jobs", "$KEY"),
    "error-instrument": ("/price/latest?symbol=BTCUSDT", "$KEY"),
}
# name -> path and body of a POST
POSTS: dict[str, tuple[str, Any]] = {
    "publish": (
        "/prices",
        {
            "prices": [
                {"instrument": "CAD_JPY", "bid": "110.250", "ask": "110.268", "time": "2025-11-18T12:30:00.250Z", "volume": "12"},
                {"instrument": "CAD_JPY", "bid": "110.268", "ask": "110.250", "time": "2025-11-18T12:30:00.750Z"},
            ]
        },
    ),
}


def capture(system: System) -> Examples:
    """Request every example of REST."""
    read = {f"rest/{name}": _request(system, path) for name, path in REQUESTS.items()}
    posted = {f"rest/{name}": _request(system, path, body) for name, (path, body) in POSTS.items()}
    if not system.key:
        system.key = system.command("key", "create", "--name", "reader", "--scopes", "read", "--instruments", "EUR_*,GBP_USD").strip()
        until(lambda: system.get("/symbols", key=system.key)[0] == 200, 40, "the key in REST")
    return {**read, **posted, **{f"rest/{name}": _request(system, path, key=key) for name, (path, key) in WITH_KEY.items()}}


def _request(system: System, path: str, body: Any = None, key: str = "") -> dict[str, Any]:
    status, kind, text = system.get(path, body, key.replace("$KEY", system.key))
    text = text.replace(system.hub.partition("//")[2], "127.0.0.1:5001")  # its port is a new one in each run
    answer = json.loads(text) if kind == "application/json" else text
    extra = {**({"body": body} if body else {}), **({"key": key} if key else {})}
    return {"request": path, **extra, "status": status, "type": kind, "answer": answer}
