"""/api/system: open alerts, log records, acknowledgements.

Figures of the machine and of processes: tests/unit/test_system_state.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config.settings import Settings
from db.alerts import Alert, resolve_alerts, write_alerts
from db.bus import Bus
from db.postgres import Store
from tests.support.store import select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
NOW = NOON + timedelta(minutes=1)
FIRING, PAIR, OVER = (
    Alert("volatility", "EUR_USD", None, "warning", NOON, 0.025, None, 0.02, "EUR_USD is above"),
    Alert("correlation", "EUR_USD", "GBP_USD", "critical", NOON, 0.1, 0.87, 0.2, "EUR_USD/GBP_USD has changed"),
    Alert("volatility", "USD_JPY", None, "warning", NOON, 0.025, None, 0.02, "USD_JPY is above"),
)
RECORDS = [("DEBUG", "hub"), ("INFO", "jobs"), ("WARNING", "jobs"), ("ERROR", "hub"), ("INFO", "hub")]
ODD = "strategy:mm-1/mean_reversion:warning:1763467200000"


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        with store.transaction() as cursor:
            write_alerts(cursor, [FIRING, PAIR, OVER])
            resolve_alerts(cursor, [OVER.key], NOW)
            cursor.execute(
                "INSERT INTO alerts (type, severity, time, message, subject, key, alert_id, state, updated_at, value, threshold)"
                " VALUES ('strategy', 'warning', %s, 'silent', 'strategy:mm-1/mean_reversion', 'k', %s, 'firing', %s, 61, 60)",
                (NOON, ODD, NOON),
            )
        yield store


@pytest.fixture(scope="module")
def client(shared_settings: Settings, store: Store) -> Iterator[FlaskClient]:
    with closing(Bus(str(shared_settings.redis_url), lambda: NOW)) as bus:
        records = [
            {"timestamp": "t", "level": level, "message": f"m{n}", "service": service, "logger": "a.b", "fields": {"n": n}}
            for n, (level, service) in enumerate(RECORDS)
        ]
        bus.append_logs([orjson.dumps(each) for each in records])
        yield create_app(shared_settings, bus, store, lambda: NOW, "1").test_client()


def acknowledge(client: FlaskClient, alert_id: str, status: int, body: dict[str, Any] | None = None) -> Any:
    answer = client.post(f"/api/system/alerts/acknowledge/{alert_id}", **({} if body is None else {"json": body}))
    assert answer.status_code == status, answer.text
    return answer.get_json()


def test_condition_of_the_system_has_the_open_alerts(client: FlaskClient) -> None:
    body = client.get("/api/system/health").get_json()
    assert {each["alert_id"] for each in body["alerts"]} == {FIRING.alert_id, PAIR.alert_id, ODD}
    assert set(body["components"]) >= {"cpu", "memory", "disk", "hub", "rest", "jobs", "books", "observer", "postgres", "redis"}
    assert set(body["resources"]) == {"cpu", "memory", "disk"}
    assert set(body["connections"]) == {"market_data", "execution", "database"}


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        ({}, ["m4", "m3", "m2", "m1"]),
        ({"level": "WARNING", "limit": "1"}, ["m3"]),
        ({"level": "INFO", "exact": "true"}, ["m4", "m1"]),
        ({"level": "DEBUG", "service": "jobs"}, ["m2", "m1"]),
    ],
)
def test_log_records_are_selected_newest_first(client: FlaskClient, query: dict[str, str], messages: list[str]) -> None:
    body = client.get("/api/system/logs/recent", query_string=query).get_json()
    assert [each["message"] for each in body["logs"]] == messages
    assert (body["count"], body["level"]) == (len(messages), query.get("level", "INFO"))
    assert set(body["logs"][0]) == {"timestamp", "level", "message", "service", "logger", "fields"}


def test_too_many_log_records_are_refused(client: FlaskClient) -> None:
    answer = client.get("/api/system/logs/recent?limit=1001")
    assert (answer.status_code, answer.get_json()["error"]["details"]) == (422, {"limit": ["Must be from 1 to 1000."]})


def test_alert_is_acknowledged_once_by_an_id_with_any_characters(client: FlaskClient, store: Store) -> None:
    for alert_id, sent in ((ODD, ODD), (PAIR.alert_id, quote(PAIR.alert_id))):
        first = acknowledge(client, sent, 200, {"by": "ada", "comment": "on it"})
        assert first == {
            "status": "acknowledged",
            "alert_id": alert_id,
            "acknowledged_at": "2025-11-18T12:01:00.000000Z",
            "acknowledged_by": "ada",
        }
        assert acknowledge(client, sent, 200, {"by": "bob"}) == first
    rows = select(store, "SELECT state, acknowledged_by, comment FROM alerts WHERE alert_id = %s", ODD)
    assert rows == [("acknowledged", "ada", "on it")]


def test_alert_that_is_unknown_or_resolved_is_not_acknowledged(client: FlaskClient) -> None:
    assert acknowledge(client, "nope", 404)["error"]["code"] == "not_found"
    error = acknowledge(client, OVER.alert_id, 409)["error"]
    assert (error["code"], error["details"]) == ("conflict", {"alert_id": [OVER.alert_id]})
    assert acknowledge(client, FIRING.alert_id, 422, {"by": 5})["error"]["code"] == "invalid_payload"
    assert acknowledge(client, FIRING.alert_id, 200)["acknowledged_by"] is None
