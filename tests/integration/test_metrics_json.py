"""GET /metrics as JSON: keys and types, before the first trade, after it, and without jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.support.registry import put_report

NUMBERS = {"tradesPerSecond", "averageLatency", "batchProcessingTime", "uptime"}
INTEGERS = {"errorCount", "reconnectionCount", "memoryUsage", "bufferSize", "totalTrades", "totalBatches"}
BOOLEANS = {"isRunning", "binanceConnected", "databaseConnected"}
PERFORMANCE = {"tradesPerSecond", "averageLatency", "errorCount", "reconnectionCount", "memoryUsage", "batchProcessingTime"}
STATUS = {*BOOLEANS, "bufferSize", "totalTrades", "totalBatches", "uptime"}
MEASURED = {
    "tradesPerSecond": 12.4, "averageLatency": 38.2, "errorCount": 2, "reconnectionCount": 1, "batchProcessingTime": 6.1,
    "totalTrades": 18421, "totalBatches": 912,
}  # fmt: skip


def figures(client: FlaskClient) -> dict[str, Any]:
    """The JSON of an answer, whose keys and types are those of the contract."""
    answer = client.get("/metrics", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    body: dict[str, Any] = orjson.loads(answer.data)
    assert body.keys() == {"timestamp", "performance", "status"}
    assert (body["performance"].keys(), body["status"].keys()) == (PERFORMANCE, STATUS)
    for name, value in {**body["performance"], **body["status"]}.items():
        if name in BOOLEANS:
            assert type(value) is bool, name
        else:
            assert type(value) is int or (name in NUMBERS and type(value) is float), name
    return {**body["performance"], **body["status"]}


def test_figures_are_those_of_all_jobs_processes(settings: Settings, bus: Bus, store: Store) -> None:
    client = create_app(settings, bus, store, utc_now, "1").test_client()
    nothing = dict.fromkeys(NUMBERS | INTEGERS, 0) | {"isRunning": False, "binanceConnected": False, "databaseConnected": True}
    assert figures(client) == nothing, "no jobs process"

    put_report(bus, "jobs@a1", metrics={})
    started = figures(client)
    assert started.pop("uptime") >= 0
    assert started == {name: value for name, value in nothing.items() if name != "uptime"} | {"isRunning": True}, "before the first trade"

    parts: dict[str, Any] = {
        "metrics": {"performance": MEASURED},
        "sources": {"binance": {"state": "live"}},
        "writer": {"unstored": {"price_updates": 2, "trades": 1, "reports": 40}},
        "resources": {"rss_bytes": 45678912},
    }
    put_report(bus, "jobs@a1", **parts)
    trading = figures(client)
    assert {name: trading[name] for name in MEASURED} == MEASURED
    assert (trading["bufferSize"], trading["memoryUsage"]) == (3, 45678912)
    assert (trading["isRunning"], trading["binanceConnected"]) == (True, True)

    put_report(bus, "jobs@a1", **{**parts, "metrics": {"performance": {**MEASURED, "averageLatency": None, "totalTrades": "7"}}})
    damaged = figures(client)
    assert (damaged["averageLatency"], damaged["totalTrades"], damaged["totalBatches"]) == (0, 0, 912)

    first = {**MEASURED, "measuredRecords": 30, "measuredBatches": 0}
    second = {**MEASURED, "averageLatency": 8.2, "batchProcessingTime": 9.0, "measuredRecords": 10, "measuredBatches": 4, "totalTrades": 1}
    put_report(bus, "jobs@a1", **{**parts, "metrics": {"performance": first}})
    put_report(bus, "jobs@a2", acting=False, metrics={"performance": second}, resources={"rss_bytes": 1})
    both = figures(client)
    assert {name: both[name] for name in MEASURED} == {
        "tradesPerSecond": 24.8, "averageLatency": (30 * 38.2 + 10 * 8.2) / 40, "errorCount": 4, "reconnectionCount": 2,
        "batchProcessingTime": 9.0, "totalTrades": 18422, "totalBatches": 1824,
    }  # fmt: skip
    assert (both["bufferSize"], both["memoryUsage"]) == (3, 45678912), "those of the process with the timed jobs"

    for name in ("jobs@a1", "jobs@a2"):
        put_report(bus, name, now=utc_now() - timedelta(seconds=16), **parts)
    assert figures(client) == nothing, "the jobs processes have stopped"
