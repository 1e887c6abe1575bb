"""config/metrics.py: names, units and labels by Prometheus' rules, and its copy for people."""

from __future__ import annotations

import re

import yaml

from config.metrics import METRICS, TABLE, Metric
from db import pool_measures
from scripts.metrics_table import lines
from tests.support.processes import ROOT

ESTABLISHED = {"trades_ingested_total", "last_ingestion_timestamp", "api_request_duration_seconds"}
# Of the client library: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
OF_LIBRARY = {row.name for row in TABLE if row.name.startswith("process_")}
SERVICES = ("rest", "hub", "jobs", "observer", "books")
# https://prometheus.io/docs/practices/naming/: base units, as suffix
FOREIGN_UNITS = re.compile(r"_(ms|milliseconds|microseconds|minutes|hours|days|kb|kilobytes|megabytes|percent)(_|$)")
NO_LABELS = {"job", "instance", "process", "le", "quantile"}
WORDS_OF_UNITS = {"_seconds": "[Ss]econds", "_bytes": "[Bb]ytes|memory"}
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def rows(**wanted: object) -> list[Metric]:
    return [row for row in TABLE if all(getattr(row, name) == value for name, value in wanted.items())]


def test_names_are_unique_and_begin_with_ours() -> None:
    assert len(METRICS) == len(TABLE)
    assert {row.name for row in TABLE if not row.name.startswith("tickwire_")} == ESTABLISHED | OF_LIBRARY
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", row.name) for row in TABLE)


def test_counters_alone_end_with_total_and_units_are_base_units() -> None:
    assert {row.name for row in TABLE if row.name.endswith("_total")} == {row.name for row in rows(kind="counter")}
    assert [row.name for row in TABLE if FOREIGN_UNITS.search(row.name)] == []
    assert [row.name for row in TABLE if row.name.endswith(("_bucket", "_sum", "_count", "_created"))] == []


def test_help_is_one_sentence_with_the_unit() -> None:
    for row in TABLE:
        assert row.help.endswith("."), row.name
        assert ". " not in row.help, row.name
        for suffix, words in WORDS_OF_UNITS.items():
            if row.name.removesuffix("_total").endswith(suffix):
                assert re.search(words, row.help), row.name


def test_labels_are_no_reserved_names() -> None:
    for row in TABLE:
        assert not NO_LABELS.intersection(row.labels), row.name
        assert len(set(row.labels)) == len(row.labels)
        assert all(re.fullmatch(r"[a-z]+", label) for label in row.labels), row.name


def test_histograms_alone_have_ascending_buckets() -> None:
    for row in TABLE:
        assert (row.kind == "histogram") == bool(row.buckets), row.name
        assert list(row.buckets) == sorted(set(row.buckets)), row.name


def test_services_exist_and_metrics_of_an_acting_process_are_of_elected_ones() -> None:
    for row in TABLE:
        assert set(row.services) <= set(SERVICES), row.name
        assert not row.acting or {"jobs", "observer", "books"}.intersection(row.services), row.name


def test_pools_count_in_the_buckets_of_the_table() -> None:
    assert METRICS["tickwire_db_pool_wait_seconds"].buckets == pool_measures.WAIT_BOUNDS
    assert METRICS["tickwire_db_transaction_seconds"].buckets == pool_measures.TRANSACTION_BOUNDS


def test_document_contains_exactly_the_table() -> None:
    section = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    found = [line for line in section.splitlines() if line.startswith(("| name | type", "| `"))]
    printed = list(lines())
    assert [line for line in found if re.match(r"\| `(tickwire_|process_|trades_|last_|api_)", line)] == printed[2:]


def test_each_alert_has_a_section_in_the_runbook() -> None:
    rules = yaml.safe_load((ROOT / "config" / "prometheus" / "tickwire.rules.yml").read_text())
    for alert in (rule for group in rules["groups"] for rule in group["rules"]):
        assert f"\n### {alert['alert']}\n" in OPERATIONS
        assert alert["annotations"]["runbook_url"].endswith(f"docs/operations.md#{alert['alert'].lower()}")
