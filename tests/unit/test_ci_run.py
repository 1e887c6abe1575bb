"""`.ci/run` installs Chromium with CI=true, if it is missing; a failure ends the run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ["apt-get update", "apt-get install -y --no-install-recommends chromium fonts-dejavu-core"]
TESTS = ["make check", "make test"]


def run(folder: Path, *programs: str, failing: str = "", **variables: str) -> tuple[int, list[str]]:
    """Run the script with these programs alone; return its exit code and the programs' calls."""
    calls = folder / "calls"
    for name in ("bash", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name in programs:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{calls}"\ncase "{name} $*" in {failing or "-"}*) exit 100;; esac\n')
        program.chmod(0o700)
    done = subprocess.run([ROOT / ".ci" / "run"], env={"PATH": str(folder), **variables}, capture_output=True, text=True, timeout=60)
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_ci_without_chromium_installs_it_before_the_tests(tmp_path: Path) -> None:
    assert run(tmp_path, "apt-get", "make", CI="true") == (0, INSTALL + TESTS)


@pytest.mark.parametrize("failing", INSTALL)
def test_a_failed_installation_ends_the_run(tmp_path: Path, failing: str) -> None:
    code, calls = run(tmp_path, "apt-get", "make", failing=f'"{failing}"', CI="true")
    assert code == 100
    assert calls == INSTALL[: INSTALL.index(failing) + 1]


def test_a_missing_apt_get_ends_the_run(tmp_path: Path) -> None:
    assert run(tmp_path, "make", CI="true") == (127, [])


@pytest.mark.parametrize(("programs", "variables"), [(("make", "apt-get", "chromium"), {"CI": "true"}), (("make", "apt-get"), {})])
def test_otherwise_nothing_is_installed(tmp_path: Path, programs: tuple[str, ...], variables: dict[str, str]) -> None:
    assert run(tmp_path, *programs, **variables) == (0, TESTS)
