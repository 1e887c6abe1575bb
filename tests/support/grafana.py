"""The dashboards of config/grafana on PostgreSQL, and their SQL as Grafana sends it.

The dashboard on Prometheus is in tests/support/prometheus.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from tests.support.processes import ROOT

FOLDER = ROOT / "config" / "grafana"
ON_PROMETHEUS = "tickwire"
INTERVAL_SECONDS = 60  # `$__interval` in these tests


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel or of a variable. `format` is `table`, `time_series` or `variable`."""

    dashboard: str
    title: str
    format: str
    sql: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.title}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Name of a file -> its dashboard, for those that read PostgreSQL."""
    files = sorted((FOLDER / "dashboards").glob("*.json"))
    return {file.stem: json.loads(file.read_text()) for file in files if file.stem != ON_PROMETHEUS}


def queries() -> Iterator[Query]:
    """Yield every query of every dashboard."""
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield Query(name, variable["name"], "variable", variable["query"])
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield Query(name, panel["title"], target["format"], target["rawSql"])


def expanded(sql: str, start: datetime, end: datetime, variables: Mapping[str, str | Sequence[str]]) -> str:
    """Return the SQL with macros and variables replaced.

    The expansions are those of https://grafana.com/docs/grafana/v12.4/datasources/postgres/query-editor,
    without TimescaleDB, and of https://grafana.com/docs/grafana/v12.4/dashboards/variables/variable-syntax.
    An unknown macro or variable raises `KeyError`.
    """
    sql = re.sub(r"\$\{(\w+)(?::(\w+))?\}", lambda match: _formatted(variables[match[1]], match[2]), sql)
    sql = sql.replace("$__interval", f"{INTERVAL_SECONDS}s")
    return re.sub(r"\$(__\w+)\(([^)]*)\)", partial(_macro, start, end), sql)


def _formatted(value: str | Sequence[str], form: str | None) -> str:
    if form == "sqlstring":
        return ",".join("'" + each.replace("'", "''") + "'" for each in ([value] if isinstance(value, str) else value))
    assert form is None
    assert isinstance(value, str)
    return value


def _macro(start: datetime, end: datetime, match: re.Match[str]) -> str:
    column, *_ = arguments = [each.strip() for each in match[2].split(",")]
    group = f"floor(extract(epoch from {column})/{INTERVAL_SECONDS})*{INTERVAL_SECONDS}"
    if match[1].startswith("__timeGroup"):
        assert arguments[1] == f"{INTERVAL_SECONDS}s"
    return {
        "__timeFilter": f"{column} BETWEEN '{start:%FT%TZ}' AND '{end:%FT%TZ}'",
        "__timeFrom": f"'{start:%FT%TZ}'",
        "__timeTo": f"'{end:%FT%TZ}'",
        "__timeGroup": group,
        "__timeGroupAlias": f'{group} AS "time"',
    }[match[1]]
