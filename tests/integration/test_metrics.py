"""GET /metrics of a running system: its forms, its names, its labels, a silent process."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import orjson
import pytest
from prometheus_client.openmetrics import parser as openmetrics

from config.metrics import METRICS
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.processes import Web, stopped_group
from tests.support.prometheus import run_promtool
from tests.support.quick_system import QuickSystem, quick_system
from tests.support.samples import Sample, of, samples
from tests.support.servers import of_database

REDIS_DATABASE = 10  # of this module alone
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
ESCAPED = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
JSON = "application/json"
REPORTED = {"tickwire_source_state", "tickwire_hub_clients"}
# Headers as these clients send them.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
AXIOS = "application/json, text/plain, */*"
REPRESENTATIONS = [
    (None, "", TEXT),
    ("*/*", "", TEXT),  # curl
    (FIREFOX, "", TEXT),
    ("text/plain", "", TEXT),
    (PROMETHEUS_2, "", f"{OPENMETRICS}; escaping=underscores"),
    (PROMETHEUS_3, "", ESCAPED),
    (JSON, "", JSON),
    (AXIOS, "", JSON),
    ("application/json;q=0.5, text/plain", "", TEXT),
    ("text/plain;q=0.5, application/json;q=0.6", "", JSON),
    ("application/json;q=0, */*", "", TEXT),
    ("application/openmetrics-text;version=nonsense", "", TEXT),
    (AXIOS, "?format=prometheus", TEXT),
    (PROMETHEUS_3, "?format=json", JSON),
    (JSON, "?format=openmetrics", OPENMETRICS),
]


@pytest.fixture(scope="module")
def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickSystem]:
    """One system for all tests; each leaves it healthy."""
    folder = tmp_path_factory.mktemp("system")
    redis_url = of_database(servers.redis_url, REDIS_DATABASE)
    with (
        new_database(servers) as database_url,
        quick_system(settings_for(database_url, redis_url, folder / "var"), servers.operator_url, folder) as running,
    ):
        until(lambda: {name for name, _, _ in samples(ask(running.rest)[1])} >= REPORTED, 30, "the families of jobs and hub")
        yield running


def ask(web: Web, path: str = "/metrics", accept: str | None = None, method: str = "GET") -> tuple[str, str, Any]:
    """Content-Type, body and headers of an answer with the status 200."""
    headers = {} if accept is None else {"Accept": accept}
    request = urllib.request.Request(web.url + path, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read().decode(), answer.headers


@pytest.mark.parametrize(("accept", "query", "kind"), REPRESENTATIONS)
def test_header_and_format_select_the_representation(system: QuickSystem, accept: str | None, query: str, kind: str) -> None:
    found, body, headers = ask(system.rest, f"/metrics{query}", accept)
    assert found == kind
    assert "Accept" in headers["Vary"]
    assert headers["Cache-Control"] == "no-store"
    if kind == JSON:
        orjson.loads(body)
    elif "openmetrics" in kind:
        assert list(cast(Any, openmetrics).text_string_to_metric_families(body))
    else:
        assert samples(body)


def test_head_is_answered_and_an_unknown_format_is_refused(system: QuickSystem) -> None:
    kind, body, _ = ask(system.rest, method="HEAD")
    assert (kind, body) == (TEXT, "")
    status, error = system.get("/metrics?format=xml")
    assert status == 422
    assert error["error"]["code"] == "invalid_payload"
    assert "format" in error["error"]["details"]


def test_promtool_finds_no_fault_in_the_merged_text_and_in_that_of_a_hub(system: QuickSystem) -> None:
    for web, path in ((system.rest, "/metrics"), (system.hub, "/hub/metrics")):
        assert run_promtool("check", "metrics", text=ask(web, path)[1]) == (0, "")


def test_established_names_have_exactly_their_labels(system: QuickSystem) -> None:
    def ingested() -> list[Sample]:
        return [each for each in samples(ask(system.rest)[1]) if each[0] == "trades_ingested_total" and each[2] > 0]

    until(ingested, 30, "a record of the synthetic source")
    found = samples(ask(system.rest)[1])
    assert {tuple(labels) for labels in of(found, "trades_ingested_total")} == {("symbol",)}
    assert "EUR_USD" in {labels["symbol"] for labels in of(found, "trades_ingested_total")}
    assert of(found, "last_ingestion_timestamp") == [{}]
    assert {frozenset(labels) for labels in of(found, "api_request_duration_seconds_bucket")} == {frozenset({"endpoint", "le"})}
    endpoints = {labels["endpoint"] for labels in of(found, "api_request_duration_seconds_count")}
    assert {"/metrics", "/api/trades/{trade_id}", "unmatched"} <= endpoints
    buckets = [labels["le"] for labels in of(found, "api_request_duration_seconds_bucket") if labels["endpoint"] == "/metrics"]
    assert list(map(float, buckets)) == [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, float("inf")]


def test_every_sample_is_of_the_table_with_its_labels(system: QuickSystem) -> None:
    for name, labels, _ in samples(ask(system.rest)[1]):
        row = METRICS.get(name) or METRICS[re.sub("_(bucket|sum|count)$", "", name)]
        extra = {"le"} if name.endswith("_bucket") else set()
        assert labels.keys() - {"process"} == {*row.labels, *extra}
        if row.acting and labels.get("stage") != "socket":  # the hub measures this stage
            assert "process" not in labels
        elif row.services != ("rest",):
            assert labels["process"].partition("@")[0].partition(":")[0] in (row.services or ("rest", "hub", "jobs"))


def test_label_values_are_of_closed_sets(system: QuickSystem) -> None:
    sets = {
        ("tickwire_log_records_total", "level"): {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"},
        ("tickwire_source_state", "state"): {"connecting", "live", "backing_off", "stale", "down", "ended"},
        ("tickwire_source_errors_total", "kind"): {"transient", "fatal"},
        ("tickwire_bus_retries_total", "reason"): {"full", "lost", "fenced", "unreplicated", "moved"},
        ("tickwire_db_errors_total", "kind"): {"unavailable", "refused", "timeout"},
        ("tickwire_hub_clients", "transport"): {"websocket", "polling", "plain"},
        ("tickwire_hub_disconnects_total", "reason"): {"client", "slow", "ping", "protocol", "limit", "unauthorized", "drain", "full"},
        ("tickwire_access_keys", "state"): {"active", "expired", "revoked"},
        ("tickwire_rate_limited_total", "limit"): {"requests", "events", "connections", "connections_per_ip"},
        ("tickwire_access_refusals_total", "reason"): {
            "missing", "invalid", "expired", "revoked", "scope", "instrument", "host", "origin",
        },
    }  # fmt: skip
    system.get("/no/such/route?with=text")
    found = samples(ask(system.rest)[1])
    for (name, label), values in sets.items():
        assert {labels[label] for labels in of(found, name)} == values, name
    assert {labels["method"] for labels in of(found, "tickwire_api_requests_total")} <= {"GET", "HEAD"}
    assert not any("no/such" in value for _, labels, _ in found for value in labels.values())


def test_a_silent_process_keeps_its_age_and_loses_its_metrics(system: QuickSystem) -> None:
    name = f"hub:{system.hub.port}@"

    def hubs(metric: str) -> list[Sample]:
        return [each for each in samples(ask(system.rest)[1]) if each[0] == metric and each[1].get("process", "").startswith(name)]

    until(lambda: hubs("tickwire_build_info"), 30, "the metrics of the hub")
    with stopped_group(system.hub.pid):
        until(lambda: not hubs("tickwire_build_info"), 30, "their end")
        assert [age > 0.5 for _, _, age in hubs("tickwire_process_report_age_seconds")] == [True]
    until(lambda: hubs("tickwire_build_info") and system.works(), 30, "the metrics of the hub")
