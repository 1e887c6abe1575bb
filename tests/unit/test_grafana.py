"""config/grafana: dashboards, provisioning, the role, and the services of docker-compose.yml."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.support.compose import PASSWORDS, compose
from tests.support.grafana import FOLDER, dashboards, queries

DASHBOARDS = dashboards()
SERVICE = compose(GRAFANA_DB_PASSWORD="first", GRAFANA_ADMIN_PASSWORD="second")["services"]["grafana"]
KINDS = {"timeseries", "table", "stat", "state-timeline"}  # panels that every Grafana has
SUBJECTS = {
    "market": ("Price", "Spread", "Volume"),
    "strategies": ("P&L", "Drawdown", "Win rate", "Positions"),
    "execution": ("Orders", "Fills", "Rejected", "Latency", "Slippage"),
    "system": ("CPU", "Memory", "Open alerts", "Alerts about unstored messages"),
}


def sources() -> list[dict[str, Any]]:
    """The store, then Prometheus."""
    return list(yaml.safe_load((FOLDER / "provisioning/datasources/tickwire.yaml").read_text())["datasources"])


def source() -> dict[str, Any]:
    return sources()[0]


def test_dashboards_have_the_subjects_of_an_operator() -> None:
    assert set(DASHBOARDS) == set(SUBJECTS)
    for name, titles in SUBJECTS.items():
        assert set(titles) <= {panel["title"] for panel in DASHBOARDS[name]["panels"]}


def test_dashboards_have_unique_ids_and_titles() -> None:
    assert [each["uid"] for each in DASHBOARDS.values()] == [f"tickwire-{name}" for name in DASHBOARDS]
    assert len({each["title"] for each in DASHBOARDS.values()}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS.values():
        assert max(Counter(panel["id"] for panel in dashboard["panels"]).values()) == 1
        assert {panel["type"] for panel in dashboard["panels"]} <= KINDS
        assert dashboard["timezone"] == "utc"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_uses_the_provisioned_source() -> None:
    given = {"type": source()["type"], "uid": source()["uid"]}
    for dashboard in DASHBOARDS.values():
        for panel in dashboard["panels"]:
            assert panel["datasource"] == given
            assert all(target["datasource"] == given for target in panel["targets"])
        assert all(each["datasource"] == given for each in dashboard["templating"]["list"] if each["type"] == "query")


def test_variables_of_queries_are_declared_before_their_use() -> None:
    for name, dashboard in DASHBOARDS.items():
        declared: list[str] = []
        for variable in dashboard["templating"]["list"]:
            assert set(re.findall(r"\$\{(\w+)", variable["query"])) <= set(declared), name
            declared.append(variable["name"])
        used = {found for query in queries() if query.dashboard == name for found in re.findall(r"\$\{(\w+)", query.sql)}
        assert used == set(declared) - ({"strategy"} - used), name


def test_source_is_given_by_the_environment_and_has_no_secret() -> None:
    found = source()
    lines = [line.strip() for file in FOLDER.rglob("*.*") for line in file.read_text().splitlines() if file.suffix in (".json", ".yaml")]
    assert found["secureJsonData"] == {"password": "$GRAFANA_DB_PASSWORD"}
    assert [line for line in lines if "password" in line.lower()] == ["password: $GRAFANA_DB_PASSWORD"]
    names = set(re.findall(r"\$(GRAFANA_\w+)", (FOLDER / "provisioning/datasources/tickwire.yaml").read_text()))
    assert names <= set(SERVICE["environment"])
    assert SERVICE["environment"]["GRAFANA_DB_PASSWORD"] == "first"
    assert not set(PASSWORDS.values()) & set(SERVICE["environment"].values())


def test_prometheus_of_the_profile_is_a_source_beside_the_store() -> None:
    store, prometheus = sources()
    assert (store["isDefault"], prometheus["isDefault"]) == (True, False)
    assert (prometheus["type"], prometheus["url"]) == ("prometheus", "$GRAFANA_PROMETHEUS_URL")
    assert SERVICE["environment"]["GRAFANA_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert len({each["uid"] for each in sources()}) == 2


def test_paths_of_the_service_are_those_of_the_provisioning() -> None:
    mounted = dict(each.split(":")[:2] for each in SERVICE["volumes"])
    [provider] = yaml.safe_load((FOLDER / "provisioning/dashboards/tickwire.yaml").read_text())["providers"]
    assert mounted["./config/grafana/dashboards"] == provider["options"]["path"]
    assert SERVICE["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{provider['options']['path']}/market.json"
    assert all((FOLDER.parents[1] / path).exists() for path in mounted if path.startswith("./"))
    assert all(each.endswith(":ro") for each in SERVICE["volumes"] if each.startswith("./"))


def test_service_listens_on_the_loopback_and_lets_nobody_in_without_a_password() -> None:
    assert SERVICE["ports"] == ["127.0.0.1:3000:3000"]
    environment = SERVICE["environment"]
    assert (environment["GF_SECURITY_ADMIN_PASSWORD"], environment["GF_AUTH_ANONYMOUS_ENABLED"]) == ("second", "false")
    script = compose()["services"]["grafana-role"]["command"][0]
    assert ': "${PROMETHEUS_KEY:?set PROMETHEUS_KEY in .env to a key with the scope observe}"' in script
    assert ': "${GRAFANA_DB_PASSWORD:?set GRAFANA_DB_PASSWORD in .env}"' in script
    assert ': "${GRAFANA_ADMIN_PASSWORD:?set GRAFANA_ADMIN_PASSWORD in .env}"' in script
    assert SERVICE["depends_on"]["grafana-role"] == {"condition": "service_completed_successfully"}


def test_role_may_read_no_table_of_access_control() -> None:
    granted = re.search(r"GRANT SELECT ON\s(.*?)TO tickwire_grafana", (FOLDER / "role.sql").read_text(), re.DOTALL)
    assert granted
    tables = set(re.findall(r"\w+", granted[1]))
    assert {"fills", "metrics_market_1m", "alerts"} <= tables
    assert not {name for name in tables if "key" in name or "token" in name or "access" in name}
