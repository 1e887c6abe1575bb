"""docker-compose.yml: each command, variable, port and file in it exists in the code."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import manage
import wsgi
from cli import system
from config import settings as settings_module
from config.settings import Settings
from tests.support.compose import PASSWORDS, Service, compose
from tests.support.processes import ROOT

OURS = ("migrate", "jobs", "books", "observer", "hub", "rest")
SERVICES = ("postgres", "redis", "jobs", "books", "observer", "hub", "rest")
GRAFANA = ("grafana-role", "prometheus", "grafana")  # of the profile
# no settings of our processes
OF_GRAFANA = {"GRAFANA_PORT", "GRAFANA_DB_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "PROMETHEUS_PORT", "PROMETHEUS_KEY"}


@pytest.fixture
def services() -> dict[str, Service]:
    return dict(compose()["services"])


# Settings that no container needs: of `up`, and of the embedded servers.
NOT_IN_CONTAINERS = {"HUB_WORKERS", "HUB_DATA_DIR"}


def settings_of(name: str, service: Service) -> Settings:
    """Return the settings inside the container of a service."""
    return settings_module.load(service["environment"], dotenv=None, service=name)


def variables() -> set[str]:
    return {name.upper() for name in settings_module._Environment().fields}


def test_long_running_services_restart_and_have_a_health_check(services: dict[str, Service]) -> None:
    assert set(services) == {*OURS, *SERVICES, *GRAFANA}
    assert [name for name, service in services.items() if service.get("profiles") == ["grafana"]] == list(GRAFANA)
    for name in (*SERVICES, "prometheus", "grafana"):
        assert services[name]["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(services[name]["healthcheck"])
    assert services["migrate"]["restart"] == "no"
    assert "timescaledb" in services["postgres"]["image"]


def test_images_of_the_servers_are_pinned(services: dict[str, Service]) -> None:
    for name in ("postgres", "redis", "prometheus", "grafana"):
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+(-\w+)?@sha256:[0-9a-f]{64}", services[name]["image"])
    assert services["grafana-role"]["image"] == services["postgres"]["image"]
    assert {services[name]["image"] for name in OURS} == {"tickwire"}
    assert {services[name]["build"] for name in OURS} == {"."}


@pytest.mark.parametrize("name", OURS)
def test_our_service_has_the_least_rights(services: dict[str, Service], name: str) -> None:
    service = services[name]
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 1000
    assert not {"privileged", "cap_add", "env_file"} & set(service)
    assert service.get("volumes", []) == (["recordings:/app/var/recordings"] if name in ("books", "rest") else [])


def test_service_waits_for_its_dependencies(services: dict[str, Service]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if "healthcheck" in services[needed] else "service_completed_successfully"
            assert how == {"condition": expected}
    for name in ("jobs", "books", "observer", "hub", "rest"):
        assert set(services[name]["depends_on"]) == {"postgres", "redis", "migrate"}
    assert set(services["migrate"]["depends_on"]) == {"postgres"}


def test_services_have_the_commands_and_stop_times_of_up(services: dict[str, Service]) -> None:
    for process in system.processes(settings_module.load({}, dotenv=None), {}):
        service = services[process.name]
        assert service["command"] == ["python", *process.argv[1:]]
        more = 2 if process.name == "hub" else 0  # its limit is that of gunicorn, which must end before
        assert service["stop_grace_period"] == f"{process.stop_seconds + more:.0f}s"


def test_command_of_each_service_exists(services: dict[str, Service]) -> None:
    for name in OURS:
        program, *arguments = services[name]["command"]
        assert program == "python"
        if arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]) is not None
            arguments = arguments[2:]
        if arguments and arguments[0] == "manage.py":
            assert (ROOT / "manage.py").is_file()
            assert arguments[1] in manage.COMMANDS
        if arguments and arguments[0] == "-c":
            assert (ROOT / arguments[1]).is_file()
            module, function = re.fullmatch(r"(\w+):(\w+)\(\)", arguments[2]).groups()  # type: ignore[union-attr]
            assert module == "wsgi"
            assert not inspect.signature(getattr(wsgi, function)).parameters


@pytest.fixture
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("_root_logger_as_it_was")
@pytest.mark.parametrize(("name", "prefix"), [("hub", "WEBSOCKET"), ("rest", "API")])
def test_published_port_is_the_port_of_gunicorn(name: str, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = compose()["services"][name]
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    config = ROOT / service["command"][service["command"].index("-c") + 1]
    monkeypatch.chdir(tmp_path)  # a folder without .env
    loaded = runpy.run_path(str(config))
    (published,) = service["ports"]
    inner = published.rsplit(":", 1)[1]
    assert loaded["bind"] == f"0.0.0.0:{inner}"
    assert published.startswith("127.0.0.1:")
    assert loaded["graceful_timeout"] < int(service["stop_grace_period"].removesuffix("s"))
    moved = compose(**{f"{prefix}_HOST": "192.0.2.1", f"{prefix}_PORT": "8000"})["services"][name]
    assert moved["ports"] == [f"192.0.2.1:8000:{inner}"]
    hosts = {"ALLOWED_HOSTS": moved["environment"]["ALLOWED_HOSTS"]}
    assert moved["environment"] == {**service["environment"], **hosts}


def test_every_setting_reaches_its_services(services: dict[str, Service]) -> None:
    given = {name: set(services[name]["environment"]) for name in OURS}
    assert set.union(*given.values()) == variables() - NOT_IN_CONTAINERS
    for variable in variables():
        receivers = {name for name in OURS if variable in given[name]}
        if variable.startswith("OANDA_"):
            assert receivers == {"jobs"}, variable
        elif variable.startswith("JWT_"):
            assert receivers == {"hub", "rest"}, variable
        elif variable.startswith("ALERT_"):
            assert receivers == {"observer"}, variable
    assert given["hub"] == given["rest"]


def test_value_of_env_reaches_each_service_that_names_it() -> None:
    dotenv = {
        "SOURCES": "oanda,binance", "OANDA_API_TOKEN": "token", "OANDA_ACCOUNT_ID": "account", "LOG_LEVEL": "ERROR",
        "RATE_EVENTS": "7/s", "RETENTION_TRADES": "3", "VOLATILITY_THRESHOLDS": "EUR_USD=0.01/0.02", "DB_TIMEOUT": "77",
        "INGESTION_INTERVAL_SECONDS": "9",
    }  # fmt: skip
    loaded = compose(**dotenv)["services"]
    found = {name: settings_of(name, loaded[name]) for name in OURS}
    assert {each.log_level for each in found.values()} == {"ERROR"}
    assert {each.db_timeout_ms for each in found.values()} == {77}
    assert [str(found[name].rate_events) for name in ("hub", "rest")] == ["7/s", "7/s"]
    assert (found["jobs"].oanda_api_token, found["jobs"].retention_trades) == ("token", 3)
    assert (found["rest"].retention_trades, found["rest"].ingestion_interval_seconds) == (3, 9.0)  # of the dashboard
    assert found["jobs"].volatility_thresholds == {"EUR_USD": (0.01, 0.02)}
    assert "token" not in str([loaded[name] for name in ("migrate", "books", "observer", "hub", "rest")])
    for name, defaults in ((name, compose()["services"][name]) for name in OURS):
        plain = settings_module.load({}, dotenv=None)
        assert settings_of(name, defaults).sources == plain.sources
        assert settings_of(name, compose(SOURCES="")["services"][name]).sources == ()


def test_addresses_of_the_servers_override_env() -> None:
    elsewhere = {
        "DATABASE_URL": "postgresql://elsewhere/x", "REDIS_URL": "redis://elsewhere", "DB_HOST": "elsewhere", "LOG_FILE": "x",
        "API_PORT": "1", "REDIS_DB": "7",
    }  # fmt: skip
    loaded = compose(DB_NAME="prices", DB_USER="hub", **elsewhere)["services"]
    for name in OURS:
        found = settings_of(name, loaded[name])
        assert found.database_url == "postgresql://hub:database-word@postgres:5432/prices"
        assert found.redis_url == "redis://:redis-word@redis:6379/0"
        assert (found.log_file, found.api_port, found.websocket_port) == (None, 5000, 5001)
    server = loaded["postgres"]["environment"]
    assert (server["POSTGRES_DB"], server["POSTGRES_USER"], server["POSTGRES_PASSWORD"]) == ("prices", "hub", "database-word")
    assert loaded["redis"]["environment"]["REDISCLI_AUTH"] == "redis-word"


def test_published_addresses_and_public_names_are_allowed_hosts() -> None:
    assert settings_of("rest", compose()["services"]["rest"]).allowed_hosts == ("127.0.0.1", "127.0.0.1", "rest", "hub")
    given = {"API_HOST": "192.0.2.1", "WEBSOCKET_HOST": "192.0.2.2", "ALLOWED_HOSTS": "hub.example,api.example"}
    found = settings_of("rest", compose(**given)["services"]["rest"]).allowed_hosts
    assert found == ("hub.example", "api.example", "192.0.2.1", "192.0.2.2", "rest", "hub")


@pytest.mark.parametrize("name", PASSWORDS)
def test_missing_password_is_an_error(name: str) -> None:
    with pytest.raises(KeyError, match=f"set {name} in .env"):
        compose(**{name: ""})
    for match in re.finditer(r"(?<!\$)\$\{(\w+)([^}]*)\}", (ROOT / "docker-compose.yml").read_text()):
        assert match[1] in variables() | OF_GRAFANA
        if match[1] in OF_GRAFANA:
            continue
        assert ("PASSWORD" in match[1]) == match[2].startswith(":?")
        assert match[2].startswith((":-", ":?")) or match[1] == "SOURCES"


def test_volumes_and_configs_are_declared(services: dict[str, Service]) -> None:
    whole = compose()
    for name, folder in (("postgres", "/var/lib/postgresql"), ("redis", "/data")):
        assert services[name]["volumes"] == [f"{name}:{folder}"]
    assert set(whole["volumes"]) == {"postgres", "redis", "prometheus", "grafana", "recordings"}
    for service in services.values():
        for used in service.get("configs", []):
            assert used["source"] in whole["configs"]
            assert used["target"] in service["command"] or used["source"] == "prometheus_key"  # tests/integration/test_rules.py
        assert "ports" not in service or service["image"] == "tickwire" or service.get("profiles")  # the servers publish no port
