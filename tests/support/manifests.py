"""The manifests of Kubernetes as objects, and the settings inside their containers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT

Object = dict[str, Any]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE, SINGLE_NODE = KUBERNETES / "base", KUBERNETES / "overlays" / "single-node"
PROCESSES = ("hub", "rest", "jobs", "observer", "books")
KUBECTL = shutil.which("kubectl")
# Values of the Secrets in the form that operators give them.
SECRETS = {
    "DATABASE_URL": "postgresql://tickwire:word@postgres:5432/tickwire",
    "REDIS_URL": "redis://:word@redis:6379/0",
    "OANDA_API_TOKEN": "token",
    "OANDA_ACCOUNT_ID": "account",
    "JWT_SECRET": "s" * 32,
}
# Kinds of files that are no object of their own: parts of an overlay.
_PARTS = {"kustomization.yaml", "node-address.yaml", "services.yaml"}


@cache
def objects(folder: Path) -> tuple[Object, ...]:
    """Return the objects of a folder as kustomize builds them; without kubectl of its files."""
    if KUBECTL is None:
        return tuple(each for file in sorted(folder.glob("*.yaml")) if file.name not in _PARTS for each in _documents(file.read_text()))
    built = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=120)
    return tuple(_documents(built.stdout))


def _documents(text: str) -> Iterator[Object]:
    yield from (each for each in yaml.safe_load_all(text) if each)


def found(folder: Path, kind: str, name: str) -> Object:
    """Return the only object of this kind and name."""
    [one] = [each for each in objects(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return one


def deployment(name: str, folder: Path = BASE) -> Object:
    """Return the Deployment of a process."""
    return found(folder, "Deployment", name)


def containers(name: str) -> list[Object]:
    """Return all containers of a Deployment of the base."""
    return [*pod(deployment(name)).get("initContainers", ()), container(deployment(name))]


def names(folder: Path, kind: str) -> set[str]:
    """Return the names of all objects of a kind."""
    return {each["metadata"]["name"] for each in objects(folder) if each["kind"] == kind}


def config_map(folder: Path = BASE) -> dict[str, str]:
    """Return the variables of the generated ConfigMap, as the kustomization has them."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    [generated] = [each for each in kustomization["configMapGenerator"] if each["name"] == "tickwire"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


def pod(deployment: Object) -> Object:
    """Return the template of the pods of a Deployment or StatefulSet."""
    return dict(deployment["spec"]["template"]["spec"])


def container(deployment: Object) -> Object:
    """Return the only container."""
    [one] = pod(deployment)["containers"]
    return dict(one)


def secrets_of(one: Object) -> dict[str, tuple[str, str, bool]]:
    """Variable -> (Secret, key, optional) of a container."""
    references = {each["name"]: each["valueFrom"].get("secretKeyRef") for each in one.get("env", ()) if "valueFrom" in each}
    return {name: (each["name"], each["key"], each.get("optional", False)) for name, each in references.items() if each}


def environment(one: Object) -> dict[str, str]:
    """Return the variables inside a container of the base, with values for its Secrets."""
    return {**config_map(), **{name: SECRETS[name] for name in secrets_of(one)}}
