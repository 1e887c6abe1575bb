"""The pure modules of the dashboard on Node, and the cases of their tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.web_cases import CASES, DATA, content

WEB = Path(__file__).parents[2] / "clients" / "web"


def test_pure_modules_pass_their_tests_on_node() -> None:
    run = subprocess.run(["node", "--test", *sorted(map(str, WEB.glob("test/*.test.js")))], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("name", CASES)
def test_committed_cases_are_those_of_python(name: str) -> None:
    assert (DATA / f"{name}.json").read_bytes() == content(name)
