"""The status rule and the body of `GET /status`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from db.scenarios.status import (
    BookState,
    Load,
    StatusDetails,
    StatusFigures,
    details_body,
    heartbeat_body,
    reasons_of,
    status_body,
    status_of,
)
from tests.support.book_page import STATUS

LIVE = {"BTCUSDT": BookState("live")}


def load(size: int = 0, lag: float = 0.0, books: dict[str, BookState] | None = None) -> Load:
    return Load(size, 2_000, lag, LIVE if books is None else books)


@pytest.mark.parametrize(
    ("figures", "age", "status", "reasons"),
    [
        (load(), 0, "healthy", ()),
        (load(books={}), 0, "healthy", ()),
        (load(1_000, 1.0), 3.0, "healthy", ()),
        (load(1_001), 0, "degraded", ("queue",)),
        (load(lag=1.001), 0, "degraded", ("lag",)),
        (load(1_800), 0, "degraded", ("queue",)),
        (load(1_801, 18), 0, "unhealthy", ("queue", "lag")),
        (load(books=LIVE | {"ETHUSDT": BookState("resyncing", 0.05)}), 0, "degraded", ("books",)),
        (load(books=LIVE | {"ETHUSDT": BookState("syncing", 30)}), 0, "degraded", ("books",)),
        (load(books=LIVE | {"ETHUSDT": BookState("stale", 30.1)}), 0, "unhealthy", ("books",)),
        (load(), 3.1, "unhealthy", ("heartbeat",)),
    ],
)
def test_status_follows_the_rule(figures: Load, age: float, status: str, reasons: tuple[str, ...]) -> None:
    assert status_of(figures, heartbeat_age=age) == status
    assert reasons_of(figures, heartbeat_age=age) == reasons


def test_heartbeat_age_is_compared_with_the_interval() -> None:
    assert status_of(load(), heartbeat_age=14, heartbeat_interval=5) == "healthy"
    assert status_of(load(), heartbeat_age=16, heartbeat_interval=5) == "unhealthy"


def test_body_has_keys_order_and_types_of_the_page() -> None:
    body = status_body(
        StatusFigures(
            status="healthy",
            uptime_seconds=12.3012,
            processed=0,
            queue_size=0,
            memory_bytes=1_000.0,
            clients=0,
            scenario="stable-mode",
            last_heartbeat=datetime(2025, 7, 15, 16, 36, 11, 663_696, tzinfo=UTC),
        )
    )
    assert json.dumps(body) == json.dumps(json.loads(STATUS))


def test_memory_is_in_mebibytes_with_one_decimal() -> None:
    figures = StatusFigures(
        status="degraded", uptime_seconds=0, processed=1, queue_size=2, memory_bytes=123_456_789, clients=3, scenario="x",
        last_heartbeat=datetime(2025, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert status_body(figures)["memory_usage_mb"] == 117.7
    assert status_body(figures)["last_heartbeat"] == "2025-01-01T00:00:00.000000Z"


FIGURES = StatusFigures(
    status="degraded", uptime_seconds=7, processed=90, queue_size=40, memory_bytes=0, clients=1, scenario="burst-mode",
    last_heartbeat=datetime(2025, 1, 1, tzinfo=UTC),
)  # fmt: skip
DETAILS = StatusDetails(
    lag_seconds=1.2345678, queue_max=2_000, queue_peak=500, dropped=3, backpressure_seconds=0.12345, books={"BTCUSDT": "live"},
    run_id="7e", started=datetime(2025, 1, 1, tzinfo=UTC), phase=1,
)  # fmt: skip


def test_additive_fields_have_the_order_of_the_page() -> None:
    assert list(details_body(DETAILS).items()) == [
        ("lag_ms", 1_234.568),
        ("queue_max", 2_000),
        ("queue_peak", 500),
        ("dropped", 3),
        ("backpressure_seconds", 0.123),
        ("books", {"BTCUSDT": "live"}),
        ("scenario_running", True),
        ("scenario_run", {"run_id": "7e", "started": "2025-01-01T00:00:00.000000Z", "phase": 1}),
    ]


def test_no_run_is_no_running_scenario() -> None:
    body = details_body(replace(DETAILS, run_id=None))
    assert (body["scenario_running"], body["scenario_run"]) == (False, None)


def test_heartbeat_has_the_eight_fields_and_those_of_the_queue() -> None:
    body = heartbeat_body(FIGURES, DETAILS, datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert list(body) == ["type", *status_body(FIGURES), "lag_ms", "queue_max", "queue_peak", "books", "timestamp"]
    assert (body["type"], body["timestamp"], body["status"]) == ("heartbeat", "2025-01-01T00:00:01.000000Z", "degraded")
