"""`.ci/run` installs the packages of tests with CI=true, if one is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROGRAMS = ("chromium-headless-shell", "curl", "haproxy", "ip", "logrotate", "nginx", "pgbouncer", "redis-server")
PACKAGES = "chromium-headless-shell curl fonts-dejavu-core haproxy iproute2 logrotate nginx pgbouncer redis-server"
INSTALL = ["apt-get update", f"apt-get install -y --no-install-recommends {PACKAGES}"]
TESTS = ["make check", "make test"]
POLICY = "#!/bin/sh exit 101"


def run(folder: Path, *programs: str, failing: str = "", **variables: str) -> tuple[int, list[str]]:
    """Run the script with these programs alone; return its exit code and the programs' calls.

    A call of `apt-get install` has the policy for services behind it.
    """
    calls, policy = folder / "calls", folder / "policy-rc.d"
    for name in ("bash", "dirname", "rm", "chmod", "cat"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name in programs:
        program = folder / name
        lines = [
            "#!/bin/sh",
            f'echo "{name} $*" >>"{calls}"',
            f'case "{name} $*" in "apt-get install"*) echo $(cat "{policy}") >>"{calls}";; esac',
            f'case "{name} $*" in {failing or "-"}*) exit 100;; esac',
        ]
        program.write_text("\n".join([*lines, ""]))
        program.chmod(0o700)
    environ = {"PATH": str(folder), "POLICY_RC_D": str(policy), **variables}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environ, capture_output=True, text=True, timeout=120)
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("missing", PROGRAMS)
def test_ci_installs_the_packages_without_starting_services(tmp_path: Path, missing: str) -> None:
    others = [name for name in PROGRAMS if name != missing]
    assert run(tmp_path, "apt-get", "make", *others, CI="true") == (0, [*INSTALL, POLICY, *TESTS])
    assert not (tmp_path / "policy-rc.d").exists()


def test_policy_of_the_machine_stays(tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("its own")
    assert run(tmp_path, "apt-get", "make", CI="true") == (0, [*INSTALL, "its own", *TESTS])
    assert (tmp_path / "policy-rc.d").read_text() == "its own"


@pytest.mark.parametrize("failing", INSTALL)
def test_a_failed_installation_without_a_browser_ends_the_run(tmp_path: Path, failing: str) -> None:
    code, calls = run(tmp_path, "apt-get", "make", failing=f'"{failing}"', CI="true")
    assert code == 100
    assert calls == [*INSTALL, POLICY][: 1 if failing == INSTALL[0] else 3]
    assert not (tmp_path / "policy-rc.d").exists()


@pytest.mark.parametrize("failing", INSTALL)
@pytest.mark.parametrize("browser", ["chromium", "chromium-headless-shell"])
def test_tests_run_without_the_other_packages(tmp_path: Path, browser: str, failing: str) -> None:
    code, calls = run(tmp_path, "apt-get", "make", browser, failing=f'"{failing}"', CI="true")
    assert (code, calls[-2:]) == (0, TESTS)
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_missing_apt_get_ends_the_run(tmp_path: Path) -> None:
    assert run(tmp_path, "make", CI="true") == (127, [])


@pytest.mark.parametrize(("programs", "variables"), [((*PROGRAMS, "make", "apt-get"), {"CI": "true"}), (("make", "apt-get"), {})])
def test_otherwise_nothing_is_installed(tmp_path: Path, programs: tuple[str, ...], variables: dict[str, str]) -> None:
    assert run(tmp_path, *programs, **variables) == (0, TESTS)


def test_table_and_workflow_have_the_same_packages() -> None:
    """The runner of GitHub has the others; promtool of `prometheus` is optional elsewhere."""
    table = set(re.findall(r"^\| `([\w-]+)` \| .*tests", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert {*PACKAGES.split()} - {"fonts-dejavu-core"} == table
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    [script] = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "apt-get install" in step.get("run", "")]
    [installed] = re.findall(r"--no-install-recommends (.*)", script)
    [disabled] = re.findall(r"disable --now (.*)", script)
    assert set(installed.split()) == {"fonts-dejavu-core", "haproxy", "logrotate", "nginx", "pgbouncer", "prometheus", "redis-server"}
    assert set(disabled.split()) == {"haproxy", "nginx", "pgbouncer", "prometheus", "redis-server"}
