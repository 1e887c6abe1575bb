"""Rules, promtool, the dashboard on Prometheus, and the metrics that an expression names."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
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


def promtool() -> str:
    """The path of promtool. Without it the test is skipped, or fails if REQUIRE_PROMTOOL is 1."""
    path, reason = _find_promtool()
    if not path:
        (pytest.fail if os.environ.get("REQUIRE_PROMTOOL") == "1" else pytest.skip)(f"there is no promtool: {reason}")
    return path


@cache
def _find_promtool() -> tuple[str, str]:
    """The path, or the reason why there is none. Tried once: without a network it takes long."""
    try:
        done = subprocess.run([str(ROOT / "scripts" / "promtool.sh")], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        return "", str(error)
    return (done.stdout.strip() if done.returncode == 0 else ""), done.stderr.strip()[-300:]


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


@dataclass(frozen=True, slots=True)
class Expression:
    """One query of the dashboard, with its variables replaced as Grafana does for "All"."""

    title: str
    expr: str

    def __str__(self) -> str:
        return self.title


def dashboard() -> dict[str, Any]:
    return dict(json.loads((ROOT / "config" / "grafana" / "dashboards" / "tickwire.json").read_text()))


def expressions() -> Iterator[Expression]:
    """Yield the query of every variable and of every target of every panel."""
    board = dashboard()
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            [(series, _)] = re.findall(r"^label_values\((.*), *(\w+)\)$", variable["query"]["query"])
            yield Expression(variable["name"], replaced(series))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Expression(f"{panel['title']} {target['refId']}", replaced(target["expr"]))


def replaced(expr: str) -> str:
    """The expression with `$__rate_interval` and the variables. An unknown one raises `KeyError`.

    https://grafana.com/docs/grafana/v12.4/datasources/prometheus/template-variables/
    """
    values = {"__rate_interval": "1m", "process": ".*"}
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], expr)
