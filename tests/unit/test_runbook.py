"""docs/operations.md: the commands, routes and metrics that the runbook names exist."""

from __future__ import annotations

import re

import pytest

import manage
from api.app import create_app
from config import settings as settings_module
from config.metrics import METRICS
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.support.processes import ROOT
from tests.support.prometheus import alerts, metrics_of

RUNBOOK = (ROOT / "docs" / "operations.md").read_text().partition("## Runbook\n")[2].partition("\n## ")[0]
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in RUNBOOK.split("\n### ")[1:]}
QUOTED = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", RUNBOOK, flags=re.DOTALL))
FOR = {"30s": "after 30 s", "1m": "after 1 minute", "2m": "after 2 minutes", "5m": "after 5 minutes", "10m": "after 10 minutes"}


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: alert["alert"])
def test_section_has_severity_time_causes_and_first_commands(alert: dict[str, object]) -> None:
    section = SECTIONS[str(alert["alert"])]
    labels = alert["labels"]
    assert isinstance(labels, dict)
    when = {**FOR, "15m": "after 15 minutes"}[str(alert["for"])] if "for" in alert else "at once"
    assert section.lstrip().startswith(f"{labels['severity'].capitalize()}, {when}. ")
    assert re.search(r"^\| .* \| remedy \|$", section, re.MULTILINE)
    assert "\nFirst commands: " in section


def test_sections_are_those_of_the_alerts_in_their_order() -> None:
    assert list(SECTIONS) == [alert["alert"] for alert in alerts()]
    assert set(re.findall(r"\bTickwire[A-Z]\w+", RUNBOOK)) == set(SECTIONS)


def test_commands_routes_and_metrics_exist() -> None:
    commands = {quoted.split()[1] for quoted in QUOTED if quoted.startswith("manage.py ")}
    assert commands
    assert commands <= set(manage.COMMANDS)
    app = create_app(
        settings_module.load({}, dotenv=None), Bus("redis://127.0.0.1:1/0", utc_now), Store("postgresql://127.0.0.1:1/none"), utc_now, "1"
    )
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    named = {quoted.split()[1] for quoted in QUOTED if quoted.startswith(("GET /", "POST /"))}
    assert named - {"/path"} <= routes
    names = {name for quoted in QUOTED if re.match(r"[\w(]*(tickwire_|process_)", quoted) for name in metrics_of(quoted)}
    assert len(names) > 10
    assert {name for name in names if name not in METRICS} == set()
