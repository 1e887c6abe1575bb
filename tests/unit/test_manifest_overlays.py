"""The overlay of one node, the documented overlay, and the Secrets of the documents."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest

from tests.support.compose import compose
from tests.support.manifests import (
    BASE,
    KUBECTL,
    KUBERNETES,
    PROCESSES,
    SINGLE_NODE,
    config_map,
    container,
    containers,
    deployment,
    found,
    names,
    objects,
    secrets_of,
)
from tests.support.processes import ROOT

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: the overlay is not built")


@needs_kubectl
def test_single_node_has_one_pod_of_each_and_both_servers() -> None:
    for name in PROCESSES:
        assert deployment(name, SINGLE_NODE)["spec"]["replicas"] == 1
    assert not names(SINGLE_NODE, "HorizontalPodAutoscaler") | names(SINGLE_NODE, "PodDisruptionBudget") | names(SINGLE_NODE, "Ingress")
    labels = found(SINGLE_NODE, "Namespace", "tickwire")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    for name, port in (("rest", 30500), ("hub", 30501)):
        service = found(SINGLE_NODE, "Service", name)["spec"]
        assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", port)
        variables = {each["name"]: each.get("value", "") for each in container(deployment(name, SINGLE_NODE))["env"]}
        assert "$(NODE_ADDRESS)" in variables["ALLOWED_HOSTS"].split(",")
    services = compose()["services"]
    for name, folder in (("postgres", "/var/lib/postgresql"), ("redis", "/data")):
        server = found(SINGLE_NODE, "StatefulSet", name)
        assert container(server)["image"] == services[name]["image"]
        assert folder in {each["mountPath"] for each in container(server)["volumeMounts"]}
        [claim] = server["spec"]["volumeClaimTemplates"]
        assert "storageClassName" not in claim["spec"]
        assert {secret for secret, _, _ in secrets_of(container(server)).values()} == {"tickwire-servers"}
    script = container(found(SINGLE_NODE, "StatefulSet", "redis"))["args"][0]
    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in script


def test_data_folder_of_postgresql_is_below_the_volume() -> None:
    [given] = [each["value"] for each in container(found(SINGLE_NODE, "StatefulSet", "postgres"))["env"] if each["name"] == "PGDATA"]
    server = compose()["services"]["postgres"]
    assert server["environment"]["PGDATA"] == given
    assert given.startswith(server["volumes"][0].partition(":")[2] + "/")


def test_documented_secrets_have_the_keys_of_the_manifests() -> None:
    created: dict[str, set[str]] = {}
    text = (ROOT / "docs" / "deployment.md").read_text().replace("\\\n", " ")
    for match in re.finditer(r"create secret generic (\S+)(.*)", text):
        created.setdefault(match[1], set()).update(re.findall(r"--from-literal=([\w-]+)=", match[2]))
    used: dict[str, set[str]] = {}
    for name in PROCESSES:
        for one in containers(name):
            for secret, key, _ in secrets_of(one).values():
                used.setdefault(secret, set()).add(key)
    for name in ("postgres", "redis"):
        for secret, key, _ in secrets_of(container(found(SINGLE_NODE, "StatefulSet", name))).values():
            used.setdefault(secret, set()).add(key)
    assert created == used


def test_pod_of_the_owner_is_valid_and_restricted() -> None:
    overrides = json.loads((KUBERNETES / "owner.json").read_text())
    [one] = overrides["spec"]["containers"]
    assert secrets_of(one)["DATABASE_URL"][:2] == ("tickwire-database", "owner-url")
    of_jobs = container(deployment("jobs"))["securityContext"]
    assert one["securityContext"] == of_jobs
    one["image"] = "tickwire"
    kubernetes_validate.validate({"kind": "Pod", "metadata": {"name": "owner"}, **overrides}, "1.37", strict=True)


@needs_kubectl
def test_documented_overlay_changes_image_names_and_hosts(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    overlay = text[text.index("resources: [../../base]") :].partition("```")[0]
    shutil.copytree(BASE, tmp_path / "base")
    folder = tmp_path / "overlays" / "mine"
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text(overlay.replace("sha256:…", "sha256:" + "0" * 64))
    assert container(deployment("hub", folder))["image"].startswith("registry.example.com/tickwire@sha256:")
    for name in ("tickwire", "tickwire-hub"):
        spec = found(folder, "Ingress", name)["spec"]
        assert spec["rules"][0]["host"] == spec["tls"][0]["hosts"][0] == "prices.example.com"
    [given] = [each["data"] for each in objects(folder) if each["kind"] == "ConfigMap"]
    assert given == {**config_map(), "ALLOWED_HOSTS": "prices.example.com", "TRUSTED_PROXIES": "10.42.0.0/16"}


def test_roles_of_single_node_are_those_of_the_documents() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    documented = re.sub(r"'(first|second|third)'", "?", text[text.index("CREATE ROLE tickwire_owner") :].partition("```")[0])
    script = re.sub(r":'(owner|writer|reader)'", "?", (SINGLE_NODE / "roles.sh").read_text())
    assert [line for line in documented.splitlines() if line not in script.splitlines()] == []
    assert "CREATE EXTENSION IF NOT EXISTS timescaledb;" in script
