"""The manifests of Kubernetes: valid, with the least rights, and with the commands of the code."""

from __future__ import annotations

import copy
import logging
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

import manage
from api.access.hosts import OPEN_PATHS
from api.rest.routes import health
from cli import system
from config import VERSION
from config import settings as settings_module
from tests.support.compose import compose
from tests.support.manifests import (
    BASE,
    KUBECTL,
    PROCESSES,
    SECRETS,
    SINGLE_NODE,
    config_map,
    container,
    containers,
    deployment,
    environment,
    found,
    names,
    objects,
    pod,
    secrets_of,
)
from tests.support.processes import ROOT

WEB = {"hub": 5001, "rest": 5000}


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("folder", [BASE, SINGLE_NODE], ids=lambda folder: folder.name)
def test_objects_fit_the_schemas_of_kubernetes(folder: Path, version: str) -> None:
    assert len(objects(folder)) > 5
    for each in objects(folder):
        kubernetes_validate.validate(each, version, strict=True)


def test_misspelt_key_is_an_error() -> None:
    wrong = copy.deepcopy(deployment("hub"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_base_has_every_object() -> None:
    assert names(BASE, "Deployment") == set(PROCESSES)
    assert names(BASE, "Service") == set(WEB) == names(BASE, "PodDisruptionBudget")
    assert names(BASE, "Ingress") == {"tickwire", "tickwire-hub"}
    assert not names(BASE, "Secret") | names(BASE, "Job") | names(BASE, "StatefulSet")
    labels = found(BASE, "Namespace", "tickwire")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert found(BASE, "ServiceAccount", "tickwire")["automountServiceAccountToken"] is False
    hub = deployment("hub")["spec"]
    assert (hub["minReadySeconds"], hub["strategy"]["rollingUpdate"]) == (10, {"maxSurge": 1, "maxUnavailable": 0})
    scaler = found(BASE, "HorizontalPodAutoscaler", "hub")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 50)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    down = scaler["behavior"]["scaleDown"]
    assert (down["stabilizationWindowSeconds"], down["policies"]) == (900, [{"type": "Pods", "value": 1, "periodSeconds": 300}])
    assert found(BASE, "PodDisruptionBudget", "hub")["spec"]["maxUnavailable"] == 1
    assert found(BASE, "PodDisruptionBudget", "rest")["spec"]["minAvailable"] == 1


@pytest.mark.parametrize("name", PROCESSES)
def test_pod_has_the_least_rights(name: str) -> None:
    spec = pod(deployment(name))
    assert deployment(name)["spec"]["replicas"] == 2
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == ("tickwire", False, False)
    context = spec["securityContext"]
    user = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user is not None
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, int(user[1]), 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["volumes"][0]["emptyDir"]["medium"] == "Memory"
    for one in containers(name):
        rights = one["securityContext"]
        assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert one["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"]
        assert one["image"].split(":")[0] == "tickwire"


def test_commands_are_those_of_up_and_of_compose() -> None:
    for process in system.processes(settings_module.load({}, dotenv=None), {}):
        assert container(deployment(process.name))["command"] == ["python", *process.argv[1:]]
        assert process.stop_seconds < pod(deployment(process.name))["terminationGracePeriodSeconds"]
    [migrate] = pod(deployment("jobs"))["initContainers"]
    assert migrate["command"] == compose()["services"]["migrate"]["command"]
    assert migrate["command"][2] in manage.COMMANDS
    assert deployment("jobs")["spec"]["progressDeadlineSeconds"] == 3600


def test_variables_are_settings_and_secrets_reach_their_processes_alone() -> None:
    known = {name.upper() for name in settings_module._Environment().fields}
    assert set(config_map()) <= known
    roles = {"migrate": "owner-url", "hub": "reader-url", "rest": "reader-url"}
    for name in PROCESSES:
        for one in containers(name):
            used = secrets_of(one)
            assert set(used) <= known
            assert used["DATABASE_URL"] == ("tickwire-database", roles.get(one["name"], "writer-url"), False)
            assert {each for each in used if each.startswith("OANDA_")} == (
                {"OANDA_API_TOKEN", "OANDA_ACCOUNT_ID"} if one["name"] == "jobs" else set()
            )
            assert ("JWT_SECRET" in used) == (one["name"] in WEB)
            assert ("REDIS_URL" in used) == (one["name"] != "migrate")
            loaded = settings_module.load(environment(one), dotenv=None, service=one["name"])
            assert loaded.database_url == SECRETS["DATABASE_URL"]
            assert str(loaded.hub_data_dir).startswith("/tmp/")  # the only folder that may be written
            assert loaded.auth_mode == "required"


@pytest.fixture
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("_root_logger_as_it_was")
@pytest.mark.parametrize("name", WEB)
def test_ports_and_stop_times_are_those_of_gunicorn(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = container(deployment(name))
    for variable in settings_module._Environment().fields:
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable, value in environment(one).items():
        monkeypatch.setenv(variable, value)
    config = ROOT / one["command"][one["command"].index("-c") + 1]
    monkeypatch.chdir(tmp_path)  # a folder without .env
    loaded = runpy.run_path(str(config))
    [port] = one["ports"]
    assert loaded["bind"] == f"0.0.0.0:{port['containerPort']}"
    [service] = found(BASE, "Service", name)["spec"]["ports"]
    assert (service["port"], service["targetPort"], service["appProtocol"]) == (WEB[name], port["name"], "http")
    sleep = one["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep == 5
    assert pod(deployment(name))["terminationGracePeriodSeconds"] >= sleep + loaded["graceful_timeout"] + 10


def probe(name: str, kind: str) -> tuple[str, int, int, int]:
    """Return path, seconds between two probes, failures, and the timeout in seconds."""
    one = container(deployment(name))
    found = one[f"{kind}Probe"]
    assert found["httpGet"]["port"] == one["ports"][0]["name"]
    return found["httpGet"]["path"], found["periodSeconds"], found.get("failureThreshold", 3), found.get("timeoutSeconds", 1)


def test_probes() -> None:
    assert [probe("hub", kind) for kind in ("startup", "readiness", "liveness")] == [
        ("/hub/health", 2, 60, 1), ("/hub/health", 2, 2, 1), ("/hub/live", 10, 6, 5),
    ]  # fmt: skip
    assert [probe("rest", kind) for kind in ("startup", "readiness", "liveness")] == [
        ("/health/live", 2, 60, 1), ("/health/ready", 5, 3, 3), ("/health/live", 10, 6, 1),
    ]  # fmt: skip
    for name in ("jobs", "observer", "books"):
        assert [probe(name, kind) for kind in ("startup", "readiness", "liveness")] == [
            ("/live", 2, 150, 1), ("/live", 5, 3, 1), ("/live", 15, 4, 1),
        ]  # fmt: skip
    listener = (ROOT / "ops" / "metrics_endpoint.py").read_text()
    assert '"/live"' in listener
    assert '"/metrics"' in listener
    assert {"/hub/health", "/hub/live", "/health/live", "/health/ready"} <= OPEN_PATHS
    assert {"health.live", "health.ready"} <= set(health.make_routes().scopes)


def test_scraped_ports_are_those_of_the_processes() -> None:
    for name in PROCESSES:
        template = deployment(name)["spec"]["template"]["metadata"]
        port = template["annotations"]["prometheus.io/port"]
        assert port == str(container(deployment(name))["ports"][0]["containerPort"]) == str(WEB.get(name, config_map()["METRICS_PORT"]))
        assert template["annotations"]["prometheus.io/path"] == ("/hub/metrics" if name == "hub" else "/metrics")
        assert KUBECTL is None or template["labels"]["app.kubernetes.io/part-of"] == "tickwire"


def test_ingress_keeps_long_connections_and_polling_sessions() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    for name, paths in (("tickwire", ["/"]), ("tickwire-hub", ["/socket.io/", "/ws", "/ws/metrics"])):
        ingress = found(BASE, "Ingress", name)
        notes = ingress["metadata"]["annotations"]
        assert (notes[f"{prefix}proxy-read-timeout"], notes[f"{prefix}proxy-send-timeout"]) == ("3600", "3600")
        [rule] = ingress["spec"]["rules"]
        assert [each["path"] for each in rule["http"]["paths"]] == paths
        backends = {each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
        assert backends == ({"rest"} if name == "tickwire" else {"hub"})
        assert rule["host"] in config_map()["ALLOWED_HOSTS"].split(",")
    cookie = {key: notes[prefix + key] for key in ("affinity", "affinity-mode", "session-cookie-change-on-failure", "proxy-buffering")}
    assert list(cookie.values()) == ["cookie", "persistent", "true", "off"]


def ports(rules: Any) -> set[int]:
    return {port["port"] for rule in rules for port in rule.get("ports", ())}


def test_network_policies_permit_the_documented_ways_alone() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in objects(BASE) if each["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert (policies["servers"]["podSelector"], ports(policies["servers"]["egress"])) == ({}, {53, 5432, 6379})
    assert ports(policies["ingress-to-web"]["ingress"]) == {5000, 5001}
    assert ports(policies["monitoring-to-metrics"]["ingress"]) == {5000, 5001, 5010}
    assert ports(policies["rest-to-hub"]["ingress"]) == ports(policies["rest-to-hub-egress"]["egress"]) == {5001}
    sources = policies["sources"]
    assert sources["podSelector"]["matchExpressions"][0]["values"] == ["jobs", "books"]
    assert ports(sources["egress"]) == {443, 9443}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(sources["egress"][0]["to"][0]["ipBlock"]["except"])
    assert len(policies) == 7


def test_image_has_the_version_of_the_code() -> None:
    assert f'newTag: "{VERSION}"' in (BASE / "kustomization.yaml").read_text()
    assert f"tickwire:{VERSION}" in (ROOT / "docs" / "deployment.md").read_text()
