"""config/prometheus: promtool accepts the files, and each alert fires at its time and not below."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import settings as settings_module
from config.metrics import METRICS
from config.settings import Settings
from jobs.scheduler import TIMED
from tests.support.compose import compose
from tests.support.manifests import BASE, deployment
from tests.support.processes import ROOT
from tests.support.prometheus import FOLDER, RULES, alerts, metrics_of, run_promtool

TESTS = FOLDER / "tickwire.rules.test.yml"
NAMES = [alert["alert"] for alert in alerts()]


def config(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


def job(name: str) -> dict[str, Any]:
    [found] = config(name)["scrape_configs"]
    return dict(found)


def test_rules_are_valid() -> None:
    code, printed = run_promtool("check", "rules", RULES)
    assert (code, f"SUCCESS: {len(NAMES)} rules found" in printed) == (0, True), printed


def test_alerts_fire_at_their_times_and_not_below_their_thresholds() -> None:
    code, printed = run_promtool("test", "rules", TESTS)
    assert code == 0, printed


@cache
def cases() -> dict[str, list[dict[str, Any]]]:
    """alert -> its cases. `BaseLoader` leaves `0x12` a text."""
    found: dict[str, list[dict[str, Any]]] = {}
    for case in yaml.load(TESTS.read_text(), yaml.BaseLoader)["tests"]:  # noqa: S506
        found.setdefault(case["name"].split(", ")[0], []).append(case)
    return found


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: alert["alert"])
def test_alert_has_both_cases(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    mine = cases()[name]
    checks = [check for case in mine for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in checks} == {name}
    fires, silent = mine[0], mine[1]
    assert fires["alert_rule_test"][0]["exp_alerts"] == []  # not yet
    assert fires["alert_rule_test"][-1]["exp_alerts"]
    assert all(check["exp_alerts"] == [] for check in silent["alert_rule_test"])


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: alert["alert"])
def test_alert_has_a_severity_a_value_and_a_section_of_the_runbook(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("Tickwire")
    assert alert["labels"] in ({"severity": "info"}, {"severity": "warning"}, {"severity": "critical"})
    assert set(alert["annotations"]) == {"summary", "runbook_url"}
    assert "$value" in alert["annotations"]["summary"]
    page, _, section = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading.lower() == section] == [alert["alert"]]


def test_names_are_rows_of_the_table() -> None:
    for alert in alerts():
        for name in metrics_of(alert["expr"]) - {"up"}:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in METRICS or METRICS[base].kind == "histogram", (alert["alert"], name)


def test_labels_of_the_rules_are_labels_of_the_table() -> None:
    """A matcher on an unknown label would select every series, or none."""
    for alert in alerts():
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", alert["expr"]):
            row = METRICS.get(name) or METRICS.get(name.removesuffix("_bucket"))
            given = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
            assert given <= (set(row.labels) if row else {"job"}), (alert["alert"], name)


def test_tasks_of_the_rules_exist() -> None:
    [late] = [alert["expr"] for alert in alerts() if alert["alert"] == "TickwireTaskLate"]
    assert set("|".join(re.findall(r'task=~?"([^"]*)"', late)).split("|")) == set(TIMED)


@pytest.mark.parametrize("name", ["prometheus.yml", "kubernetes.yml"])
def test_configuration_is_valid(name: str, tmp_path: Path) -> None:
    """promtool of Debian knows no Kubernetes: there the discovery is left out."""
    given = config(name)
    for each in given["scrape_configs"]:
        each.pop("kubernetes_sd_configs", None)
    (tmp_path / "tickwire.rules.yml").write_text(RULES.read_text())
    (tmp_path / name).write_text(yaml.safe_dump(given))
    code, printed = run_promtool("check", "config", "--syntax-only", tmp_path / name)
    assert code == 0, printed


def test_both_configurations_evaluate_the_rules_for_one_job_every_15_s() -> None:
    for name in ("prometheus.yml", "kubernetes.yml"):
        assert config(name)["global"] == {"scrape_interval": "15s", "evaluation_interval": "15s"}
        assert config(name)["rule_files"] == [RULES.name]
        assert job(name)["job_name"] == "tickwire"  # the alert ProcessSilent names it
        assert job(name)["authorization"]["type"] == "Bearer"
    assert job("prometheus.yml")["static_configs"] == [{"targets": ["rest:5000"]}]


def test_prometheus_of_compose_reads_these_files_and_the_key() -> None:
    whole = compose(PROMETHEUS_KEY="twk_first")
    service = whole["services"]["prometheus"]
    mounted = dict(each.split(":")[:2] for each in service["volumes"])
    inside = Path(mounted["./config/prometheus"])
    options = dict(word.split("=", 1) for word in service["command"])
    assert Path(options["--config.file"]) == inside / "prometheus.yml"
    assert mounted["prometheus"] == options["--storage.tsdb.path"]
    [key] = service["configs"]
    assert key["target"] == job("prometheus.yml")["authorization"]["credentials_file"]
    assert whole["configs"][key["source"]] == {"content": "twk_first\n"}
    assert "rest" in settings_of_rest(whole).allowed_hosts  # the target
    assert service["ports"] == ["127.0.0.1:9090:9090"]


def settings_of_rest(whole: dict[str, Any]) -> Settings:
    return settings_module.load(whole["services"]["rest"]["environment"], dotenv=None, service="rest")


def relabelled(labels: dict[str, str]) -> dict[str, str] | None:
    """The labels of a target after `relabel_configs`, or None if it is dropped.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
    """
    labels = dict(labels)
    for step in job("kubernetes.yml")["relabel_configs"]:
        value = ";".join(labels.get(each, "") for each in step["source_labels"])
        match = re.fullmatch(step.get("regex", "(.*)"), value)
        if {"keep": not match, "drop": match}.get(step.get("action", "replace")):
            return None
        if match and step.get("action", "replace") == "replace":
            labels[step["target_label"]] = match.expand(step.get("replacement", "$1").replace("$", "\\"))
    return {name: value for name, value in labels.items() if not name.startswith("__meta_")}


def discovered(service: str, **changed: str) -> dict[str, str]:
    """The labels with which Prometheus discovers a pod of our manifests."""
    template = deployment(service)["spec"]["template"]["metadata"]
    marks = {"pod_annotation": template["annotations"], "pod_label": template["labels"]}
    meta = {f"{kind}_{re.sub('[^a-z]', '_', key)}": value for kind, pairs in marks.items() for key, value in pairs.items()}
    meta |= {"pod_ip": "10.1.2.3", "pod_name": f"{service}-7d9f", "pod_phase": "Running", "namespace": "tickwire"}
    meta |= {"pod_container_init": "false"} | changed
    return {f"__meta_kubernetes_{name}": value for name, value in meta.items()} | {
        "__address__": "10.1.2.3",
        "__metrics_path__": "/metrics",
    }


@pytest.mark.parametrize(("service", "port"), [("hub", 5001), ("rest", 5000), ("jobs", 5010), ("observer", 5010), ("books", 5010)])
def test_pods_of_the_manifests_are_scraped_at_their_ports_and_paths(service: str, port: int) -> None:
    [discovery] = job("kubernetes.yml")["kubernetes_sd_configs"]
    assert (discovery["role"], discovery["namespaces"]) == ("pod", {"names": ["tickwire"]})
    [selector] = discovery["selectors"]
    [labels] = yaml.safe_load((BASE / "kustomization.yaml").read_text())["labels"]
    assert selector == {"role": "pod", "label": "app.kubernetes.io/part-of=" + labels["pairs"]["app.kubernetes.io/part-of"]}
    assert labels["includeTemplates"]
    path = "/hub/metrics" if service == "hub" else "/metrics"
    assert relabelled(discovered(service)) == {
        "__address__": f"10.1.2.3:{port}",
        "__metrics_path__": path,
        "instance": f"{service}-7d9f",
        "namespace": "tickwire",
        "component": service,
    }
    assert (relabelled(discovered(service, pod_ip="fd00::12")) or {})["__address__"] == f"[fd00::12]:{port}"


def test_other_pods_are_left_out() -> None:
    assert relabelled(discovered("hub", pod_annotation_prometheus_io_scrape="")) is None
    assert relabelled(discovered("hub", pod_phase="Succeeded")) is None
    assert relabelled(discovered("hub", pod_container_init="true")) is None
    assert (relabelled(discovered("hub", pod_annotation_prometheus_io_path="")) or {})["__metrics_path__"] == "/metrics"
