"""The workflow of GitHub: valid, pinned, and with the commands of `.ci/run`."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT

FILE = ROOT / ".github" / "workflows" / "deploy.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text())["jobs"])


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"].strip() for step in job["steps"] if "run" in step]


def test_workflow_fits_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def test_test_runs_the_commands_of_ci(jobs: dict[str, Any]) -> None:
    of_ci = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert commands(jobs["test"])[-len(of_ci) :] == of_ci == ["make check", "make test"]
    assert not any("make" in command for command in commands(jobs["test"])[: -len(of_ci)])
    assert jobs["test"]["env"] == {"REQUIRE_PROMTOOL": "1"}
    [python] = [step["with"] for step in jobs["test"]["steps"] if "setup-python" in step.get("uses", "")]
    assert python == {"python-version": "3.11"}


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    lines = [line for line in FILE.read_text().splitlines() if "uses:" in line]
    assert lines
    assert all(re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line) for line in lines), lines


def test_rights_and_secrets_stay_in_the_jobs_of_main(jobs: dict[str, Any]) -> None:
    whole = yaml.safe_load(FILE.read_text())
    assert whole["permissions"] == {"contents": "read"}
    assert set(whole[True]) == {"push", "pull_request"}  # YAML reads the key `on` as true
    assert [name for name, job in jobs.items() if "permissions" in job] == ["image"]
    assert "secrets." not in str(jobs["test"])
    assert "github.token" not in str(jobs["test"])
    for name, needed in (("image", "test"), ("deploy", "image")):
        assert jobs[name]["needs"] == needed
        assert jobs[name]["if"] == "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert all(step["with"]["persist-credentials"] is False for job in jobs.values() for step in job["steps"] if "checkout" in str(step))


def test_deployment_waits_for_approval_and_for_all_deployments(jobs: dict[str, Any]) -> None:
    deploy = jobs["deploy"]
    assert deploy["environment"] == "production"
    assert deploy["concurrency"]["cancel-in-progress"] is False
    text = "\n".join(commands(deploy))
    order = ["kustomize edit set image", "kubectl diff -k", "kubectl apply -k", "rollout status"]
    assert sorted(order, key=text.index) == order
    assert "--timeout=1h" in text
    assert jobs["image"]["outputs"] == {"digest": "${{ steps.push.outputs.digest }}"}
    assert deploy["env"]["DIGEST"] == "${{ needs.image.outputs.digest }}"
    build = "\n".join(commands(jobs["image"]))
    assert sorted(order := ["docker build", "manage.py --help", "docker push"], key=build.index) == order


def test_documents_name_every_variable_and_secret() -> None:
    text = FILE.read_text()
    for document in ("deployment.md", "operations.md"):
        described = (ROOT / "docs" / document).read_text()
        assert "Required reviewers" in described
        for name in set(re.findall(r"(?:vars|secrets)\.(\w+)", text)):
            assert f"`{name}`" in described, (document, name)


def test_steps_are_valid_scripts(jobs: dict[str, Any]) -> None:
    for job in jobs.values():
        for command in commands(job):
            done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
