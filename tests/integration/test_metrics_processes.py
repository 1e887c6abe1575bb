"""GET /metrics of REST over the reports of other processes, over Redis away, and by scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis as redis_client
from flask import Flask

from api.app import create_app
from config.access.keys import digest_of, new_key
from db.api_keys import ApiKey
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import Servers, new_database, settings_for
from tests.support.prometheus import run_promtool
from tests.support.registry import put_report
from tests.support.samples import Sample, of, samples
from tests.support.servers import of_database

REPORTS_DATABASE = 11  # of this module alone


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[str]:
    with new_database(servers) as url:
        yield url


@pytest.fixture
def registry(servers: Servers) -> Iterator[Bus]:
    """A bus without reports, beside the one of the running system."""
    with closing(redis_client.Redis.from_url(of_database(servers.operator_url, REPORTS_DATABASE), protocol=2)) as client:
        client.flushdb()
    with closing(Bus(of_database(servers.redis_url, REPORTS_DATABASE), utc_now)) as bus:
        yield bus


@pytest.fixture
def make(database: str, tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Make an app of REST on the database and this bus, with these settings."""
    with closing(Store(database)) as store:

        def made(bus: Bus, **changes: Any) -> Flask:
            return create_app(replace(settings_for(database, "redis://127.0.0.1:1", tmp_path), **changes), bus, store, utc_now, "1")

        yield made


def text_of(app: Flask) -> list[Sample]:
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


def ingested(number: int, **more: Any) -> dict[str, Any]:
    return {"metrics": {"families": {"trades_ingested_total": [["", {"symbol": "EUR_USD"}, number]], **more}}}


def test_counters_of_jobs_processes_are_added_and_the_newest_gauge_counts(registry: Bus, make: Callable[..., Flask]) -> None:
    acting = {"tickwire_acting": [["", {"service": "jobs"}, 1]]}

    def more(gauge: int, count: int) -> dict[str, Any]:
        buckets = [["_bucket", {"table": "prices", "le": "1.0"}, count], ["_count", {"table": "prices"}, count]]
        return {"tickwire_gaps_open": [["", {"source": "oanda"}, gauge]], "tickwire_writer_batch_rows": buckets}

    put_report(registry, "jobs@a2", **ingested(7, **acting, **more(4, 2)))
    put_report(registry, "jobs@a1", now=utc_now() - timedelta(seconds=3), **ingested(5, **acting, **more(9, 3)))
    put_report(registry, "jobs@a3", acting=False, metrics={"families": {"tickwire_acting": [["", {"service": "jobs"}, 0]]}})
    for name, seconds, missed in (("observer@a1", 0, 1), ("observer@a2", 2, 5)):
        families = {"tickwire_snapshots_missed_total": [["", {}, missed]]}
        put_report(registry, name, now=utc_now() - timedelta(seconds=seconds), metrics={"families": families})
    found = text_of(make(registry))
    assert [value for name, _, value in found if name == "trades_ingested_total"] == [12]
    assert [value for name, _, value in found if name == "tickwire_gaps_open"] == [4]
    assert [value for name, _, value in found if name == "tickwire_writer_batch_rows_bucket"] == [5]
    assert [value for name, _, value in found if name == "tickwire_writer_batch_rows_count"] == [5]
    assert [value for name, _, value in found if name == "tickwire_snapshots_missed_total"] == [1], "the newer of two observers that act"
    shown = {labels["process"]: value for name, labels, value in found if name == "tickwire_acting"}
    assert shown == {"jobs@a1": 1, "jobs@a2": 1, "jobs@a3": 0}
    ages = {labels["process"] for labels in of(found, "tickwire_process_report_age_seconds")}
    assert {"jobs@a1", "jobs@a2", "jobs@a3"} <= ages


def test_foreign_families_of_a_report_are_left_out(registry: Bus, make: Callable[..., Flask]) -> None:
    bad = {
        "no_such_metric": [["", {}, 1]],
        "tickwire_source_up": [
            ["", {"sources": "x"}, 1],
            ["_sum", {"source": "x"}, 1],
            ["", {"source": 1}, 1],
            ["", {"source": "x"}, None],
            7,
        ],
        "tickwire_gaps_open": {"": 1},
        "tickwire_bus_epochs_total": [["", {}, 4]],
    }
    put_report(registry, "jobs@a1", metrics={"families": bad})
    put_report(registry, "jobs@a2", acting=False, metrics={"families": [1, 2]})
    found = text_of(make(registry))
    assert [value for name, _, value in found if name == "tickwire_bus_epochs_total"] == [4]
    assert not {"no_such_metric", "tickwire_source_up", "tickwire_source_state", "tickwire_gaps_open"} & {name for name, _, _ in found}


def test_a_buggy_report_does_not_break_the_text(registry: Bus, make: Callable[..., Flask]) -> None:
    bad = {
        "tickwire_gaps_open": [
            ["", {"source": 'x"} 1\nfake 2'}, 1],
            ["", {"source": "x" * 1000}, 1],
            ["", {"source": "oanda"}, 1e308],
            ["", {"source": "oanda"}, 2],
        ],
        "tickwire_writer_batch_rows": [["_bucket", {"table": "prices", "le": le}, 1] for le in ("many", "7.0", "1.0", "+Inf")],
        "tickwire_hub_clients_limit": [["", {}, 1]],
        "api_request_duration_seconds": [["_sum", {"endpoint": "/metrics"}, 1]],
    }
    put_report(registry, "jobs@a1", metrics={"families": bad})
    text = make(registry).test_client().get("/metrics").text
    found = samples(text)
    assert [(labels, value) for name, labels, value in found if name == "tickwire_gaps_open"] == [({"source": "oanda"}, 1e308)]
    assert [labels["le"] for labels in of(found, "tickwire_writer_batch_rows_bucket")] == ["1.0", "+Inf"]
    assert not of(found, "tickwire_hub_clients_limit")
    assert not [labels for labels in of(found, "api_request_duration_seconds_sum") if "process" in labels]
    assert run_promtool("check", "metrics", text=text) == (0, "")


def test_metrics_of_rest_alone_have_a_process_if_there_are_several_workers(registry: Bus, make: Callable[..., Flask]) -> None:
    put_report(registry, "rest:5000@b1", metrics={"families": {"tickwire_api_requests_in_progress": [["", {}, 3]]}})
    one, several = (text_of(make(registry, api_workers=number)) for number in (1, 2))
    name = "tickwire_api_requests_in_progress"
    assert [labels.get("process", "")[:12] for labels in of(one, name)] == ["", "rest:5000@b1"]
    assert all(labels["process"].startswith("rest:5000") for labels in of(several, name))
    assert len(of(several, name)) == 2


def test_scope_process_answers_for_this_process_alone(registry: Bus, make: Callable[..., Flask]) -> None:
    put_report(registry, "jobs@a1", **ingested(5))
    app = make(registry, metrics_scope="process")
    found = text_of(app)
    assert not any("process" in labels for _, labels, _ in found)
    assert not {"trades_ingested_total", "tickwire_process_report_age_seconds"} & {name for name, _, _ in found}
    app.extensions["tickwire"].watch._reporter.tick()
    reports = [orjson.loads(entry.report or b"{}") for entry in registry.processes(int(utc_now().timestamp() * 1000))]
    assert ["families" in report["metrics"] for report in reports if report["role"] == "rest"] == [False]


def test_redis_away_leaves_the_metrics_of_this_process(make: Callable[..., Flask]) -> None:
    with closing(Bus("redis://127.0.0.1:1", utc_now, timeout=0.2)) as away:
        app = make(away)
        found = text_of(app)
        answer = app.test_client().get("/metrics?format=json")
    assert ("tickwire_part_healthy", {"part": "bus"}, 0) in found
    assert {name for name, _, _ in found} >= {"process_cpu_seconds_total", "api_request_duration_seconds_count"}
    assert not of(found, "tickwire_process_report_age_seconds")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["status"]["isRunning"] is False
    assert answer.json["status"]["databaseConnected"] is True


def test_scope_observe_is_needed_if_keys_are_required(registry: Bus, make: Callable[..., Flask]) -> None:
    app = make(registry, auth="required")

    def key(*scopes: str) -> dict[str, str]:
        key_id, text = new_key()
        row = ApiKey(key_id, "key", digest_of(text), scopes, ("*",), (), None, None, None, utc_now(), "ada")
        app.extensions["tickwire"].access.tables.take([row], [])
        return {"X-API-Key": text}

    reader, observer = key("read"), {"Authorization": f"Bearer {key('observe')['X-API-Key']}"}  # as Prometheus sends it
    statuses = [app.test_client().get("/metrics", headers=headers, buffered=True).status_code for headers in ({}, reader, observer)]
    assert statuses == [401, 403, 200]
    answer = samples(app.test_client().get("/metrics", headers=observer).text)
    refused = {labels["reason"]: value for name, labels, value in answer if name == "tickwire_access_refusals_total"}
    assert {reason: number for reason, number in refused.items() if number} == {"missing": 1, "scope": 1}
    counted = {(each["endpoint"], each["status"]) for each in of(answer, "tickwire_api_requests_total")}
    assert counted == {("/metrics", status) for status in ("401", "403", "200")}
    assert {labels["state"]: value for name, labels, value in answer if name == "tickwire_access_keys"} == {
        "active": 2,
        "expired": 0,
        "revoked": 0,
    }
