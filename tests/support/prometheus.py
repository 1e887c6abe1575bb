"""config/prometheus: the rules, promtool, and the metrics that an expression names."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT

FOLDER = ROOT / "config" / "prometheus"
RULES = FOLDER / "tickwire.rules.yml"
# Words of PromQL that are neither functions nor metrics, with the labels of their lists.
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@cache
def promtool() -> str:
    """The path of promtool. Without it the test is skipped, or fails if REQUIRE_PROMTOOL is 1."""
    done = subprocess.run([str(ROOT / "scripts" / "promtool.sh")], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode == 0:
        return done.stdout.strip()
    reason = f"there is no promtool: {done.stderr.strip()[-300:]}"
    if os.environ.get("REQUIRE_PROMTOOL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def run_promtool(*arguments: str | Path, text: str = "") -> tuple[int, str]:
    """The exit code and everything that promtool prints; `text` is its standard input."""
    argv = [promtool(), *map(str, arguments)]
    done = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def alerts() -> Iterator[dict[str, Any]]:
    """Yield each alert of the rules."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics in an expression: `rate(x_total{a="b"}[5m])` -> {"x_total"}."""
    expr = re.sub(r"#.*", "", expr)
    expr = re.sub(r'"(\\.|[^"\\])*"' + r"|'(\\.|[^'\\])*'", "", expr)
    expr = _GROUPING.sub(" ", re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expr))
    found = re.findall(r"(?<![\w.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", expr)
    return {name for name in found if name.lower() not in _WORDS}
