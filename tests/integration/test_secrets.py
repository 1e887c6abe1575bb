"""No secret reaches a log, an open route or the process list, whatever a server returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from db.bus import Bus
from db.timestamps import utc_now
from ops import running
from tests.conftest import until
from tests.support.answers import get
from tests.support.canned_http import serving
from tests.support.processes import ROOT
from tests.support.up import Environment, Up, command_line, execute, family, starter

BODY = "text-of-the-server"
SECRETS = {
    "OANDA_API_TOKEN": "0a1b2c3d-token-4e5f",
    "OANDA_ACCOUNT_ID": "101-004-7654321-009",
    "JWT_SECRET": "jot-jot-jot-jot-jot-jot-jot-jot-jot",
}
KEY = "tw_ab12cd34_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
SENT = "canary-93cd-sent-by-a-caller"  # in URLs, headers and bodies
HEADERS = {"Authorization": f"Basic {SENT}", "X-API-Key": SENT, "Cookie": f"session={SENT}"}
TABLES = """SELECT relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""


@contextmanager
def echo() -> Iterator[str]:
    """Refuse every request, with its headers and path in the body; yield the address.

    The jobs have no JWT_SECRET, so that no server can return it.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            text = f"{BODY} {self.headers['Authorization']} {self.path} {KEY}"
            body = json.dumps({"errorMessage": text, "msg": text}).encode()
            self.send_response(401, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            return

    with serving(Handler) as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def system(folder: Path) -> Iterator[Up]:
    """A running system whose sources are refused."""
    with echo() as address:
        environment = Environment(folder / "var")
        environment |= SECRETS | {"SOURCES": "oanda,binance", "LOG_LEVEL": "DEBUG"}
        environment |= dict.fromkeys(("OANDA_REST_URL", "OANDA_STREAM_URL", "BINANCE_REST_URL"), f"http://{address}")
        environment["BINANCE_WS_URL"] = f"ws://{address}"
        with starter(environment, folder) as start:
            system = start().ready()
            until(lambda: all(state(system, name) == "down" for name in ("oanda", "binance")))
            for path in (f"/health?token={KEY}", f"/jobs?api_key={KEY}", f"/{KEY}"):
                assert get(system.run["rest"], path)[0] in (400, 404)
            send_canaries(system)
            yield system


def send_canaries(system: Up) -> None:
    """Send a credential in each header and in the URL, to routes of each kind, on REST and hub."""
    sent = [
        ("GET", system.run["rest"], "/api/system/logs/recent"), ("POST", system.run["rest"], "/reports"),
        ("POST", system.run["rest"], "/api/system/alerts/acknowledge/nope"), ("GET", system.run["rest"], "/ws/metrics"),
        ("GET", system.run["hub"], "/ws/metrics"), ("GET", system.run["hub"], "/socket.io/?EIO=4&transport=polling"),
    ]  # fmt: skip
    for method, url, path in sent:
        query = f"{'&' if '?' in path else '?'}token={SENT}"
        for target, headers in ((path, HEADERS), (path, {**HEADERS, "X-API-Key": ""}), (path + query, {})):
            status, _ = running.send(method, url, target, None if method == "GET" else "{", headers, seconds=60)
            assert 400 <= status < 500 or status == 200, (method, target, status)


def health(system: Up, path: str) -> dict[str, Any]:
    _, body = get(system.run["rest"], path)
    return dict(json.loads(body))


def state(system: Up, name: str) -> str | None:
    sources: dict[str, dict[str, str]] = health(system, "/health")["sources"]
    return sources.get(name, {}).get("state")


def passwords(system: Up) -> dict[str, str]:
    """Every password of the servers, by the name of its file."""
    return {file.stem: file.read_text().strip() for file in system.hub_dir.glob("*.password")}


def log_stream(system: Up) -> str:
    """The records of all processes in Redis; LOG_LEVEL is DEBUG."""
    with closing(Bus(system.run["redis_url"], utc_now)) as bus:

        def records() -> str | None:
            text = b"\n".join(bus.recent_logs()).decode()
            return text if all(f'"service": "{service}"' in text for service in ("jobs", "hub", "rest", "up")) else None

        return str(until(records))


def places(system: Up) -> dict[str, str]:
    """Every text that a reader without a key may see, by its place."""
    run = system.run
    shown = {name: value for name, value in run.items() if name not in ("database_url", "redis_url")}
    answers = {f"GET {path}": answer(system, path) for path in readable_paths(system)}
    assert {"GET /health", "GET /gaps", "GET /api/system/logs/recent", "GET /api/metrics/current"} <= answers.keys()
    tables = rows_of_tables(run["database_url"])
    assert {"table orders", "table alerts", "table access_log", "table job_runs"} <= tables.keys()
    logs = {str(file): file.read_text() for file in [*system.hub_dir.glob("logs/*"), system.out, system.errors] if file.is_file()}
    assert len(logs) == 4  # two servers, output and errors of `up`
    processes = "\n".join(map(command_line, family(system)))
    logs["stream of logs"] = log_stream(system)
    logs["Redis"] = "\n".join(file.read_bytes().decode(errors="replace") for file in (system.hub_dir / "redis").rglob("*.aof"))
    assert "tickwire:logs" in logs["Redis"]  # its file has each write
    return {**answers, **tables, **logs, "run.json": json.dumps(shown), "processes": processes}


def rows_of_tables(url: str) -> dict[str, str]:
    """All rows of each table, as text."""
    names = [name for (name,) in execute(url, TABLES) or ()]
    every = " UNION ALL ".join(f"SELECT '{name}', string_agg(\"{name}\"::text, ' ') FROM \"{name}\"" for name in names)  # noqa: S608
    return {f"table {name}": rows or "" for name, rows in execute(url, every) or ()}


def readable_paths(system: Up) -> list[str]:
    """Every route that reads and needs no argument."""
    paths = json.loads(get(system.run["rest"], "/openapi.json")[1])["paths"]
    return [
        path
        for path, item in paths.items()
        if "get" in item and "{" not in path and not any(each["required"] for each in item["get"].get("parameters", ()))
    ]


def answer(system: Up, path: str) -> str:
    """The text of an answer; of log records, all that are kept."""
    _, body = get(system.run["rest"], path + ("?level=DEBUG&limit=1000" if "logs" in path else ""))
    return body.decode()


def test_secrets_are_in_no_place_that_is_open(system: Up) -> None:
    run, found_passwords = system.run, passwords(system)
    assert set(found_passwords) == {"redis", "postgres", "postgres.owner", "postgres.writer", "postgres.reader"}
    assert found_passwords["postgres.owner"] in run["database_url"]
    assert found_passwords["redis"] in run["redis_url"]
    found = places(system)
    for secret in (*SECRETS.values(), *found_passwords.values(), KEY, SENT):
        assert [place for place, text in found.items() if secret in text] == []
    assert "HTTP 401: Unauthorized" in found["GET /health"]


def test_text_of_a_server_is_in_the_log_but_in_no_answer(system: Up) -> None:
    found = places(system)
    shown = [place for place, text in found.items() if BODY in text]
    assert shown == ["GET /api/system/logs/recent", str(system.errors), "stream of logs", "Redis"]


def test_error_of_a_job_is_stored_without_secrets(system: Up) -> None:
    code = (
        "import sys; from datetime import datetime, UTC; from config import secrets; from jobs.runtime.runs import _first_line;"
        "secrets.SCRUBBER.learn([sys.argv[1]]); print(_first_line(ValueError(f'GET {sys.argv[1]} Bearer abc.def ' + 'x' * 600)))"
    )
    secret = SECRETS["OANDA_ACCOUNT_ID"]
    done = subprocess.run([sys.executable, "-c", code, secret], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ValueError: GET *** Bearer *** xxx")
    assert execute(system.run["database_url"], "SELECT count(*) FROM job_runs WHERE error LIKE '%Bearer%'") == [(0,)]


@pytest.mark.parametrize("service", ["jobs.scheduler", "jobs.health"])
def test_passwords_of_unreachable_servers_are_in_no_log(service: str, tmp_path: Path) -> None:
    raw, encoded = "pa/ss:wo%rd#quiet", "pa%2Fss%3Awo%25rd%23quiet"
    environ = {
        **os.environ,
        "DATABASE_URL": f"postgresql://hub:{encoded}@127.0.0.1:9/hub",
        "REDIS_URL": f"redis://:{encoded}@127.0.0.1:9/0",
        "HUB_DATA_DIR": str(tmp_path / "var"),
        "SOURCES": "",
        "LOG_LEVEL": "DEBUG",
        "LOG_FILE": "",
    }
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", service], cwd=ROOT, env=environ, stdout=file, stderr=file)
        try:
            until(lambda: process.poll() is not None or output.stat().st_size > 0)
        finally:
            process.kill()
            process.wait()
    text = output.read_text()
    assert text
    for secret in (raw, encoded, "wo%rd", "wo%25rd"):
        assert secret not in text


@pytest.mark.parametrize("argv", [("manage.py", "up"), ("-m", "jobs.scheduler")], ids=["up", "jobs"])
def test_url_with_an_unescaped_password_ends_the_process_with_2(argv: tuple[str, ...], tmp_path: Path) -> None:
    wrong = {"DATABASE_URL": "postgresql://u:SEC/RET3@h/db", "REDIS_URL": "redis://:SEC#RET3@h", "API_PORT": "none"}
    environ = {**os.environ, "HUB_DATA_DIR": str(tmp_path / "var"), **wrong}
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert all(name in done.stderr for name in wrong)
    for part in ("SEC", "RET3", "Traceback"):
        assert part not in done.stdout + done.stderr
