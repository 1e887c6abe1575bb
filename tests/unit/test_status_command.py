"""`manage.py status`: its texts without a system, and the lines about sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cli.common import no_connection, nothing_runs
from cli.status import details_hint, source_line
from config import settings
from config.venues import VENUES
from db.timestamps import parse_time
from health.verdict import with_ages
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.up import Environment, manage

SINCE = "2026-03-02T06:00:00.000000Z"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "var")


def test_status_without_a_system_names_the_data_directory(environment: Environment, tmp_path: Path) -> None:
    text = f"nothing runs on HUB_DATA_DIR={tmp_path / 'var'}; set HUB_DATA_DIR as for make run, or --url\n"
    done = manage(environment, "status")
    assert (done.returncode, done.stdout) == (1, text)


def test_replay_without_a_system_names_the_data_directory_and_the_servers(environment: Environment) -> None:
    environment["HUB_DATA_DIR"] = "var-that-nobody-has"
    done = manage(environment, "replay", "data/recordings/EUR_USD_20140505.csv.gz")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: nothing runs on HUB_DATA_DIR=var-that-nobody-has; set HUB_DATA_DIR as for make run, or DATABASE_URL and REDIS_URL\n",
    )


def test_relative_data_directory_is_shown_as_it_is_set() -> None:
    assert nothing_runs(settings.load({}, dotenv=None)) == ("nothing runs on HUB_DATA_DIR=var; set HUB_DATA_DIR as for make run, or --url")


def test_failed_connection_names_url_cause_and_option() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert no_connection(url) == f"no connection to {url} (refused): --url names another hub"
    assert (
        no_connection("http://a.test:5000", "REST", "timed out")
        == "no connection to http://a.test:5000 (timed out): --url names another REST"
    )
    assert no_connection("127.0.0.1:5000") == (
        "no connection to 127.0.0.1:5000 (no URL such as http://127.0.0.1:5000): --url names another hub"
    )


def test_status_of_an_url_without_an_answer(environment: Environment) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = manage(environment, "status", "--url", url)
    assert (done.returncode, done.stderr) == (1, f"Error: no connection to {url} (refused): --url names another REST\n")


HEALTH = {
    "status": "healthy",
    "failing": [],
    "sources": {"synthetic": {"state": "live", "since": SINCE, "age_seconds": 22.4, "detail": None}},
}


REDUCED = {**HEALTH, "sources": {"synthetic": {"state": "live"}}}


@pytest.fixture
def rest() -> Iterator[str]:
    """The URL of a REST below a path. Below another, `/keys`, details need the key `good`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers["Authorization"]
            known = key in (None, "Bearer good")
            self.send_response((200 if known else 401) if self.path in ("/prices/health", "/keys/health") else 404)
            self.end_headers()
            body = HEALTH if self.path == "/prices/health" or key == "Bearer good" else REDUCED
            self.wfile.write(json.dumps(body if known else {"error": {"code": "unauthorized"}}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/prices"
    server.shutdown()
    server.server_close()
    thread.join()


def test_status_of_an_url_shows_its_health(environment: Environment, rest: str) -> None:
    done = manage(environment, "status", "--url", rest)
    assert (done.returncode, done.stdout) == (
        0, f"health: status healthy, failing none\nsource synthetic: live since {SINCE}, last record 22 s ago\n",
    )  # fmt: skip
    report = json.loads(manage(environment, "status", "--json", "--url", f"{rest}/").stdout)
    assert (report["healthy"], report["health"]) == (True, HEALTH)


@pytest.mark.parametrize(
    ("key", "line", "hint"),
    [
        ("good", f"live since {SINCE}, last record 22 s ago", ""),
        ("bad", "live", "details are left out: TICKWIRE_API_KEY is not accepted, or lacks the scope observe\n"),
        ("", "live", ""),
    ],
)
def test_status_shows_details_for_a_key(environment: Environment, rest: str, key: str, line: str, hint: str) -> None:
    environment["TICKWIRE_API_KEY"] = key
    done = manage(environment, "status", "--url", rest.replace("/prices", "/keys"))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"health: status healthy, failing none\nsource synthetic: {line}\n", hint)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"age_seconds": 22.4, "detail": None}, f"source oanda: live since {SINCE}, last record 22 s ago"),
        ({"age_seconds": None}, f"source oanda: live since {SINCE}, no record yet"),
        ({"age_seconds": 0.2, "detail": "token"}, f"source oanda: live since {SINCE}, last record 0 s ago: token"),
    ],
)
def test_line_of_a_source_has_state_change_and_age(state: dict[str, object], line: str) -> None:
    assert source_line("oanda", {"state": "live", "since": SINCE, **state}) == line


def test_line_of_a_source_without_details_has_its_state() -> None:
    assert source_line("oanda", {"state": "live"}) == "source oanda: live"
    health = {"auth": "required", "sources": {"oanda": {"state": "live"}}}
    assert details_hint(health, sent=False) == "details are left out: TICKWIRE_API_KEY is not set to a key with the scope observe"
    assert "lacks the scope observe" in details_hint(health, sent=True)
    assert details_hint({**health, "auth": "optional"}, sent=False) == ""


def test_age_is_the_time_since_the_last_reception() -> None:
    now = parse_time("2026-03-02T06:00:22.5Z")
    times = {"one": SINCE, "none": None, "ahead": "2026-03-02T06:00:30Z", "odd": 7}
    sources: dict[str, dict[str, object]] = {name: {"last_tick": last} for name, last in times.items()}
    found = {name: source["age_seconds"] for name, source in with_ages(sources, now).items()}
    assert found == {"one": 22.5, "none": None, "ahead": 0.0, "odd": None}


def test_env_example_names_every_source_and_every_setting() -> None:
    text = (ROOT / ".env.example").read_text()
    comment = text.split("SOURCES=")[0].rsplit("\n\n", 1)[1]
    assert [name for name in VENUES if name not in comment] == []
    names = {name.upper() for name in settings._VARIABLES.values()}
    assert {line.split("=")[0] for line in text.splitlines() if line and not line.startswith("#")} == names
    assert "does not have yet" not in text
