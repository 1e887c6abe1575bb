"""The body of `/status`, the states while heartbeats are missing, the current scenario."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.schemas.books import COMPONENTS, HeartbeatMessage, InternalOrderbook, ServerStatus, WebSocketMessage
from db.figures.server_status import (
    HEALTH_FIELDS,
    StatusConfiguration,
    current_scenario,
    health_fields,
    lost_since,
    marked_row,
    server_status,
)
from tests.support.book_page import STATUS

BEAT = datetime(2025, 7, 15, 16, 36, 11, 663_696, tzinfo=UTC)
HEARTBEAT: dict[str, Any] = {
    "type": "heartbeat",
    **json.loads(STATUS),
    "lag_ms": 0.5,
    "queue_max": 2_000,
    "queue_peak": 3,
    "books": {"BTCUSDT": "live", "ETHUSDT": "gap"},
    "timestamp": "2025-07-15T16:36:11.663696Z",
    "seq": 7,
    "epoch": "e",
}
REPORT = {
    "dropped": 4,
    "backpressure_seconds": 1.25,
    "scenario_running": True,
    "scenario_run": {"run_id": "7e", "started": "2025-07-15T16:36:00.000000Z", "phase": 1},
    "processing_delay_ms": [5, 15],
    "connections": [],
}
CONFIGURATION = StatusConfiguration("127.0.0.1", 5000, "ws://127.0.0.1:5001/ws", "stable-mode", 1.0)
ADDITIVE = [
    "lag_ms", "queue_max", "queue_peak", "dropped", "backpressure_seconds", "books", "scenario_running", "scenario_run", "configuration",
]  # fmt: skip
ROW = {
    "symbol": "BTCUSDT",
    "state": "live",
    "reason": "start",
    "since": "2025-07-15T16:30:00.000000Z",
    "update_id": 9,
    "complete": {"bids": 1, "asks": 2, "from": "1", "to": None},
    "resyncs": 0,
    "audits": {"checked": 5, "failed": 0},
    "last_message_age_seconds": 0.1,
    "measures": {"mid": "1"},
}


def after(seconds: float) -> datetime:
    return BEAT + timedelta(seconds=seconds)


def test_status_begins_with_the_example_of_the_page() -> None:
    body = server_status(HEARTBEAT, REPORT, CONFIGURATION, after(0.5))
    eight = dict(list(body.items())[:8])
    assert json.dumps(eight) == json.dumps(json.loads(STATUS))
    assert list(body)[8:] == ADDITIVE
    assert body["scenario_run"] == REPORT["scenario_run"]
    assert body["configuration"] == {
        "host": "127.0.0.1", "port": 5000, "websocket": "ws://127.0.0.1:5001/ws", "processing_delay_ms": [5, 15], "scenario": "stable-mode",
    }  # fmt: skip
    assert json.dumps(ServerStatus().dump(body)) == json.dumps(body), "the schema keeps every field, in its order"


def test_status_without_a_report_has_no_run() -> None:
    body = server_status(HEARTBEAT, None, CONFIGURATION, after(0.5))
    assert (body["dropped"], body["backpressure_seconds"], body["scenario_running"], body["scenario_run"]) == (0, 0.0, False, None)
    assert list(body)[8:] == ADDITIVE


@pytest.mark.parametrize(("seconds", "status", "state"), [(3.0, "healthy", "live"), (3.1, "unhealthy", "stale")])
def test_heartbeat_older_than_three_intervals_is_unhealthy_and_its_books_stale(seconds: float, status: str, state: str) -> None:
    body = server_status(HEARTBEAT, REPORT, CONFIGURATION, after(seconds))
    assert (body["status"], body["books"]["BTCUSDT"], body["last_heartbeat"]) == (status, state, HEARTBEAT["timestamp"])
    assert body["scenario_running"] is (state == "live")


def test_heartbeats_are_missing_three_intervals_after_the_last_one() -> None:
    assert lost_since(None, 1.0, BEAT) is None
    assert lost_since(HEARTBEAT, 5.0, after(15)) is None
    assert lost_since(HEARTBEAT, 5.0, after(15.1)) == after(15)


def test_row_of_a_book_is_stale_while_heartbeats_are_missing() -> None:
    kept = {name: value for name, value in ROW.items() if name != "measures"}
    assert marked_row(ROW, HEARTBEAT, 1.0, after(1)) == kept
    assert marked_row(ROW, None, 1.0, after(100)) == kept, "the process has just begun"
    assert marked_row(ROW, HEARTBEAT, 1.0, after(10)) == {
        **kept,
        "state": "stale",
        "reason": "disconnected",
        "since": "2025-07-15T16:36:14.663696Z",
        "last_message_age_seconds": 10.1,
    }
    silent = {**ROW, "last_message_age_seconds": None}
    assert marked_row(silent, HEARTBEAT, 1.0, after(10))["last_message_age_seconds"] is None


@pytest.mark.parametrize(("change_after", "expected"), [(-1, "stable-mode"), (0.2, "burst-mode")])
def test_current_scenario_is_that_of_the_newer_message(change_after: float, expected: str) -> None:
    change = {"current_scenario": "burst-mode", "timestamp": after(change_after).isoformat().replace("+00:00", "Z")}
    assert current_scenario(HEARTBEAT, change, "x") == expected


def test_current_scenario_without_messages_is_the_setting() -> None:
    assert current_scenario(None, None, "gradual-spike") == "gradual-spike"
    assert current_scenario(HEARTBEAT, None, "x") == "stable-mode"


def test_health_has_the_fields_of_status_that_it_lacks() -> None:
    assert list(health_fields(HEARTBEAT)) == list(health_fields(None)) == list(HEALTH_FIELDS)
    assert set(HEALTH_FIELDS) == set(json.loads(STATUS)) - {"status", "uptime_seconds"}
    assert set(health_fields(None).values()) == {None}
    assert health_fields(HEARTBEAT)["last_heartbeat"] == HEARTBEAT["timestamp"]


def test_schemas_have_the_names_and_fields_of_the_page() -> None:
    assert list(COMPONENTS) == ["OrderbookLevel", "InternalOrderbook", "HeartbeatMessage", "ServerStatus", "WebSocketMessage"]
    assert list(HeartbeatMessage().fields) == [name for name in HEARTBEAT if name not in ("seq", "epoch")]
    assert HeartbeatMessage().validate({name: value for name, value in HEARTBEAT.items() if name not in ("seq", "epoch")}) == {}
    assert list(InternalOrderbook().fields) == [
        "symbol", "bids", "asks", "last_update_id", "state", "timestamp", "received_at", "processed_at", "processing_ms", "queue_size",
    ]  # fmt: skip
    assert list(WebSocketMessage().fields) == ["type", "timestamp", "data"]
