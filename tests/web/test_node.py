"""The pure modules of the dashboard on Node, and the cases of their tests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.web_cases import CASES, DATA, content

WEB = Path(__file__).parents[2] / "clients" / "web"


def test_pure_modules_pass_their_tests_on_node() -> None:
    """All in one process: `node --test` starts one for each file, at five times the CPU."""
    files = sorted(WEB.glob("test/*.test.js"))
    imports = "".join(f"import {json.dumps(file.as_uri())};" for file in files)
    run = subprocess.run(["node", "--input-type=module", "--eval", imports], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    tests = sum(len(re.findall(r"^test\(", file.read_text(), re.MULTILINE)) for file in files)
    [passed] = re.findall(r"^\S+ pass (\d+)$", run.stdout, re.MULTILINE)
    assert int(passed) >= tests > 0


@pytest.mark.parametrize("name", CASES)
def test_committed_cases_are_those_of_python(name: str) -> None:
    assert (DATA / f"{name}.json").read_bytes() == content(name)
