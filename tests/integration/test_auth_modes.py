"""The mode of access control of real processes: each row of the table of modes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.system import watch_hint
from config.access.keys import digest_of, new_key
from config.settings import Settings
from db.access_changes import lock_access
from db.api_keys import ApiKey, insert_key, revoke_key
from db.postgres import Store
from db.timestamps import utc_now
from ops import access_check
from tests.conftest import until
from tests.support.ports import free_port
from tests.support.processes import ROOT, Web, environ_of

ALL_ADDRESSES = "0.0.0.0"  # noqa: S104


@pytest.fixture(scope="module")
def owner(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url), pool_max=2)) as store:
        yield store


def add_key(store: Store, *scopes: str) -> tuple[str, str]:
    """Insert a key; return its id and the key."""
    key_id, text = new_key()
    with store.transaction() as cursor:
        lock_access(cursor)
        insert_key(cursor, ApiKey(key_id, "first", digest_of(text), scopes, ("*",), (), None, None, None, utc_now(), "ada"))
    return key_id, text


def revoke_all(store: Store) -> None:
    with store.transaction() as cursor:
        cursor.execute("UPDATE api_keys SET revoked = now(), changed = nextval('access_changes') WHERE revoked IS NULL")


def started(settings: Settings, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a process that is expected to end at once."""
    ports = {"API_PORT": str(free_port()), "WEBSOCKET_PORT": str(free_port())}
    environ = {**os.environ, **environ_of(settings), **ports, "LOG_FORMAT": "json", **extra}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def gunicorn(name: str) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "-c", f"config/gunicorn/{name}.py", f"wsgi:{name}()"]


def get(url: str, key: str = "") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, headers={"X-API-Key": key} if key else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("name", ["hub", "rest", "up"])
def test_off_outside_of_the_loopback_exits_with_2(name: str, shared_settings: Settings) -> None:
    command = [sys.executable, "manage.py", "up"] if name == "up" else gunicorn(name)
    ended = started(shared_settings, *command, AUTH="off", API_HOST=ALL_ADDRESSES)
    assert (ended.returncode, "AUTH: off would let everyone" in ended.stderr) == (2, True), ended.stderr
    assert "Listening" not in ended.stderr


@pytest.mark.parametrize("name", ["hub", "rest", "up"])
def test_address_outside_of_the_loopback_without_a_key_exits_with_2(name: str, shared_settings: Settings, owner: Store) -> None:
    revoke_all(owner)
    command = [sys.executable, "manage.py", "up"] if name == "up" else gunicorn(name)
    ended = started(shared_settings, *command, WEBSOCKET_HOST=ALL_ADDRESSES)
    assert ended.returncode == 2, ended.stderr
    assert "manage.py key create --name first" in ended.stderr
    assert "Listening" not in ended.stderr


def test_loopback_that_requires_a_key_starts_without_one_and_names_the_command(
    shared_settings: Settings, owner: Store, caplog: pytest.LogCaptureFixture
) -> None:
    revoke_all(owner)
    required = replace(shared_settings, auth="required")
    access_check.check(required, "up", str(shared_settings.database_url))
    assert "`manage.py key create --name first --scopes read`" in caplog.text
    assert watch_hint(required) == "watch prices: TICKWIRE_API_KEY=KEY .venv/bin/python manage.py watch"


def test_address_outside_of_the_loopback_starts_with_a_key(shared_settings: Settings, owner: Store, tmp_path: Path) -> None:
    key_id, key = add_key(owner, "read", "observe")
    with Web("rest", shared_settings, tmp_path / "rest.log", API_HOST=ALL_ADDRESSES) as rest:
        until(lambda: get(rest.url + "/health")[1]["access"] == "current")
        assert get(rest.url + "/health")[1]["auth"] == "required"
        assert [get(rest.url + "/jobs", each)[0] for each in ("", "tw_bad", new_key()[1], key)] == [401, 401, 401, 200]
        with owner.transaction() as cursor:
            lock_access(cursor)
            revoke_key(cursor, key_id, utc_now())
        assert "without TLS" in rest.output()


def test_revoked_key_is_refused_and_the_refusal_is_logged(shared_settings: Settings, owner: Store, shared_bus: Any, tmp_path: Path) -> None:
    key_id, key = add_key(owner, "observe")
    with Web("rest", shared_settings, tmp_path / "rest.log", AUTH="required") as rest:
        until(lambda: get(rest.url + "/jobs", key)[0] == 200)
        with owner.transaction() as cursor:
            lock_access(cursor)
            changed = revoke_key(cursor, key_id, utc_now())
        shared_bus.announce_access(changed)
        until(lambda: get(rest.url + "/jobs", key)[0] == 401)
        assert rest.ask_to_stop() == 0
        refused = [json.loads(line) for line in rest.output().splitlines() if '"auth"' in line]
        assert [(line["action"], line["key_id"]) for line in refused if line["action"] == "refuse"] == [("refuse", key_id)]
    assert key not in rest.output()
    with owner.transaction() as cursor:
        cursor.execute("SELECT action, actor FROM access_log WHERE key_id = %s ORDER BY at", (key_id,))
        assert cursor.fetchall() == [("new_address", "rest"), ("refuse", "rest")]


@pytest.mark.parametrize(
    ("extra", "auth", "status"),
    [
        ({}, "optional", 200),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, "required", 401),
        ({"AUTH": "off"}, "off", 200),
        ({"AUTH": "off", "AUTH_ALLOW_OPEN": "true", "API_HOST": ALL_ADDRESSES}, "off", 200),
    ],
    ids=["loopback", "proxy", "off", "open"],
)
def test_mode_decides_about_a_request_without_a_key(
    extra: dict[str, str], auth: str, status: int, shared_settings: Settings, tmp_path: Path
) -> None:
    with Web("rest", shared_settings, tmp_path / "rest.log", **extra) as rest:
        until(lambda: get(rest.url + "/health")[1]["access"] == "current")
        assert get(rest.url + "/health")[1]["auth"] == auth
        assert get(rest.url + "/jobs")[0] == status
        assert get(rest.url + "/jobs", "tw_bad")[0] == (200 if auth == "off" else 401)
        warned = "everyone who reaches this address" in rest.output()
        assert warned == (extra.get("API_HOST") == ALL_ADDRESSES)


def test_keys_that_were_never_read_are_503(shared_settings: Settings, tmp_path: Path) -> None:
    with Web("rest", shared_settings, tmp_path / "rest.log", AUTH="required", DATABASE_URL="postgresql://x@127.0.0.1:1/none") as rest:
        answer, body = get(rest.url + "/jobs", new_key()[1])
        assert (answer, body["error"]["code"]) == (503, "unavailable")
        assert get(rest.url + "/health")[1]["access"] == "unread"
