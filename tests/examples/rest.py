"""Requests of each kind to every route of a running REST, and the responses."""

from __future__ import annotations

from typing import Any

from tests.conftest import until
from tests.examples.example import Examples, exact
from tests.examples.reported import ALERT_ID, RUN_ID
from tests.examples.system import System

# name -> path
REQUESTS = {
    "index": "/",
    "config": "/config.json",
    "health": "/health",
    "health-live": "/health/live",
    "health-ready": "/health/ready",
    "health-db": "/health/db",
    "health-binance": "/health/binance",
    "symbols": "/symbols",
    "market": "/market?symbols=EUR_USD",
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
    "book": "/book?symbol=BTCUSDT&depth=5",
    "book-states": "/book/states",
    "book-cost": "/book/cost?symbol=BTCUSDT&side=buy&quantity=2",
    "book-history": "/book/history?symbol=BTCUSDT&limit=2",
    "book-snapshots": "/book/snapshots?symbol=BTCUSDT&limit=1",
    "status": "/status",
    "scenarios": "/scenarios",
    "scenario": "/scenarios/burst-mode",
    "scenario-runs": "/scenarios/runs?limit=1",
    "scenario-run": f"/scenarios/runs/{RUN_ID}",
    "volatility": "/volatility?symbol=EUR_USD&estimator=ewma&order=desc&limit=1",
    "volatility-latest": "/volatility/latest?symbols=EUR_USD",
    "correlation": "/correlation?symbols=EUR_USD,GBP_USD,USD_JPY",
    "correlation-history": "/correlation/history?symbol1=EUR_USD&symbol2=GBP_USD&order=desc&limit=1",
    "alerts": "/alerts?type=volatility&order=desc&limit=1",
    "hubs": "/hubs",
    "jobs": "/jobs",
    "trades": "/api/trades?symbol=EUR_USD&limit=1",
    "trade": "/api/trades/mm-1:f-3",
    "trades-summary": "/api/trades/stats/summary?symbol=EUR_USD",
    "trades-quality": "/api/trades/execution/quality?symbol=EUR_USD",
    "orders": "/orders?bot=mm-1&limit=1",
    "fills": "/fills?bot=mm-1&limit=1",
    "positions": "/positions?bot=mm-1&symbol=EUR_USD",
    "statement": "/positions/statement?bot=mm-1&strategy=mean_reversion&symbol=EUR_USD&limit=3",
    "strategies": "/strategies?limit=1",
    "metrics-current": "/api/metrics/current",
    "metrics-summary": "/api/metrics/summary",
    "metrics-symbols": "/api/metrics/symbols",
    "metrics": "/metrics?format=json",
    "system-health": "/api/system/health",
    "system-performance": "/api/system/performance",
    "system-components": "/api/system/components",
    "system-stats": "/api/system/stats",
    "system-logs": "/api/system/logs/recent?level=INFO&limit=1&service=books",
    "error-unknown": "/price/latest?symbol=EURUSD",
    "error-arguments": "/ticks?symbol=EUR_USD&limit=0&start=yesterday",
    "error-no-data": "/correlation?as_of=2001-01-01",
    "error-no-route": "/price",
    "error-no-book": "/book?symbol=EUR_USD",
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
    "reports": (
        "/reports",
        {
            "reports": [
                {"kind": "heartbeat", "bot": "mm-1", "strategy": "mean_reversion", "id": "h-1", "time": "$NOW", "equity": "10000.00"},
                {
                    "kind": "fill",
                    "bot": "mm-1",
                    "strategy": "mean_reversion",
                    "id": "f-18",
                    "time": "$NOW",
                    "fill_id": "f-18",
                    "order_id": "o-6",
                    "symbol": "EUR_USD",
                    "side": "buy",
                    "quantity": "-1",
                    "price": "1.09450",
                },
            ]
        },
    ),
    "metrics-history": (
        "/api/metrics/history",
        {"time_range": "1h", "interval": "1s", "metric_types": ["market_data"], "symbols": ["EUR_USD"], "limit": 1},
    ),
    "metrics-track": ("/api/metrics/symbols/EUR_USD", {}),
    "scenario-switch": ("/scenarios/burst-mode", {"seed": 7}),
    "acknowledge": (f"/api/system/alerts/acknowledge/{ALERT_ID}", {"by": "ada", "comment": "on it"}),
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

# The upload: its path, the file, and the name of the recording.
UPLOAD = ("/scenarios/recordings", "data/recordings/btcusdt_20240808.gz", "mine.gz")


def capture(system: System) -> Examples:
    """Request every example of REST."""
    read = {f"rest/{name}": _request(system, path) for name, path in REQUESTS.items()}
    posted = {f"rest/{name}": _request(system, path, body) for name, (path, body) in POSTS.items()}
    if not system.key:
        system.key = system.command("key", "create", "--name", "reader", "--scopes", "read", "--instruments", "EUR_*,GBP_USD").strip()
        until(lambda: system.get("/symbols", key=system.key)[0] == 200, 40, "the key in REST")
    posted["rest/scenario-recordings"] = _upload(system)
    return {**read, **posted, **{f"rest/{name}": _request(system, path, key=key) for name, (path, key) in WITH_KEY.items()}}


def _request(system: System, path: str, body: Any = None, key: str = "") -> dict[str, Any]:
    asked = path.replace(ALERT_ID, system.alert_id).replace(RUN_ID, system.run_id)
    status, kind, text = system.get(asked, body, key.replace("$KEY", system.key))
    text = system.shown(text)
    answer = exact(text) if kind == "application/json" else text
    extra = {**({} if body is None else {"body": body}), **({"key": key} if key else {})}
    return {"request": path, **extra, "status": status, "type": kind, "answer": answer}


def _upload(system: System) -> dict[str, Any]:
    """Upload the recording; then remove it, so that a reader of the document can do the same."""
    path, file, name = UPLOAD
    status, kind, text = system.upload(path, file, name)
    (system.folder / "var" / "recordings" / name).unlink()
    return {"request": path, "file": f"{file};filename={name}", "status": status, "type": kind, "answer": exact(text)}
