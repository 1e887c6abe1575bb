"""The dashboard on Prometheus: valid expressions, existing metrics and labels, a sound layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from config.metrics import METRICS, Metric
from tests.conftest import until
from tests.examples.system import System
from tests.standins.binance import BinanceStandIn
from tests.support.clients import PythonClient
from tests.support.prometheus import alerts, dashboard, expressions, metrics_of, replaced, run_promtool

BOARD = dashboard()
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_PROMETHEUS = {"up"}  # Prometheus itself makes it
OF_SCRAPING = {"process", "instance", "le", "job"}  # labels that are in no row
# Rows that a new system without bots, and without the extension, does not export.
CONDITIONAL = {"tickwire_timescaledb_failed_jobs"}  # with TimescaleDB only


def row_of(name: str) -> Metric:
    """The row of a series. `KeyError` names a series that no row describes."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return METRICS[name] if name in METRICS or METRICS[base].kind != "histogram" else METRICS[base]


def used() -> set[str]:
    """Every metric of a rule or of a panel."""
    texts = [alert["expr"] for alert in alerts()] + [each.expr for each in expressions()]
    return {name for text in texts for name in metrics_of(text)} - OF_PROMETHEUS


def test_expressions_are_valid(tmp_path: Path) -> None:
    found = list(expressions())
    rules = [{"record": f"panel:{number}", "expr": each.expr} for number, each in enumerate(found)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, printed = run_promtool("check", "rules", tmp_path / "rules.yml")
    assert (code, f"SUCCESS: {len(found)} rules found" in printed) == (0, True), printed


def test_names_are_rows_of_the_table() -> None:
    assert {row_of(name).name for name in used()} <= set(METRICS)


def matched(expr: str) -> set[str]:
    """The labels of matchers: `x{a="1"}` -> {"a"}."""
    return {label for group in re.findall(r"\{([^}]*)\}", expr) for label in re.findall(r"(\w+)(?:=~|!~|!=|=)", group)}


def grouped(expr: str) -> set[str]:
    """The labels of aggregations: `sum by (a, b) (x)` -> {"a", "b"}."""
    return {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expr) for label in group.split(",")}


def test_labels_are_those_of_the_rows() -> None:
    """A misspelt label selects nothing, or aggregates everything, without an error."""
    for each in expressions():
        known = {label for name in metrics_of(each.expr) - OF_PROMETHEUS for label in row_of(name).labels} | OF_SCRAPING
        assert matched(each.expr) | grouped(each.expr) <= known, each


def test_legends_name_the_labels_of_both_scopes() -> None:
    """A series has either `process` or `instance`: a query keeps both, or none."""
    for panel in PANELS:
        for target in panel["targets"]:
            expr, legend = target["expr"], target["legendFormat"]
            labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert labels <= grouped(expr), panel["title"]
            assert {"process", "instance"} <= grouped(expr) or not {"process", "instance"} & grouped(expr), panel["title"]
            assert ("process" in labels) == ("{{process}}{{instance}}" in legend), panel["title"]


def test_metrics_of_every_process_are_limited_to_the_chosen_ones() -> None:
    """Those of acting processes, and of the whole system, are always shown."""
    whole = {"tickwire_part_healthy", "tickwire_process_report_age_seconds", "tickwire_acting"}
    for each in (target for panel in PANELS for target in panel["targets"]):
        for name in metrics_of(each["expr"]) - OF_PROMETHEUS:
            found = re.findall(rf"\b{name}\b(\{{[^}}]*\}})?", each["expr"])
            limited = all('process=~"$process"' in matchers for matchers in found)
            assert limited != (row_of(name).acting or name in whole), name


# layout


def test_dashboard_is_that_of_the_documents() -> None:
    assert (BOARD["uid"], BOARD["refresh"], BOARD["timezone"]) == ("tickwire", "10s", "utc")
    assert BOARD["time"] == {"from": "now-1h", "to": "now"}
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Ingest", "Bus", "Store and tasks", "Hubs", "REST", "Pools", "Books", "Observer", "Access"]
    source, process = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (process["name"], process["includeAll"], process["allValue"], process["datasource"]) == ("process", True, ".*", SOURCE)


def test_panels_have_a_title_a_unit_and_the_variable_of_the_source() -> None:
    for panel in PANELS:
        assert panel["title"], panel["id"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == SOURCE, panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"]), panel["title"]


def test_panels_have_ids_and_places_of_their_own() -> None:
    assert max(Counter(panel["id"] for panel in BOARD["panels"]).values()) == 1
    assert max(Counter(panel["title"] for panel in PANELS).values()) == 1
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_unknown_variables_are_refused() -> None:
    with pytest.raises(KeyError):
        replaced("up{process=~'$proces'}")


# a running system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Trades of a local Binance, prices of the synthetic source, and books of a scenario."""
    folder = tmp_path_factory.mktemp("system")
    with (
        BinanceStandIn(folder, symbols=("BTCUSDT",), trades=100_000, per_second=20, start=datetime.now(UTC)) as exchange,
        System(folder, SOURCES="synthetic,binance,scenario", **exchange.variables) as system,
    ):
        yield system
        system.ask_to_stop(60)


def exported(system: System) -> set[str]:
    """The names of all series of every process."""
    status, _, text = system.get("/metrics?format=prometheus")
    assert status == 200, text
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)", text, re.MULTILINE))


def test_running_system_exports_each_metric_after_one_trade_one_request_and_one_client(system: System) -> None:
    """A rule or a panel without a series would never show anything."""
    with PythonClient(system.hub) as client:
        client.call("subscribe", {"pairs": ["EUR_USD"]})
        missing: set[str] = set()

        def complete() -> bool:
            missing.clear()
            missing.update(used() - CONDITIONAL - exported(system))
            return not missing

        until(complete, 60, lambda: f"an export of {sorted(missing)}")
