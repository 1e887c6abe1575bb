"""`manage.py key`, `token` and `audit` on a real PostgreSQL and Redis."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli.access.audit
import cli.access.keys
import manage
from config.settings import Settings
from config.settings import load as load_settings
from db.bus import Bus
from db.postgres import Store
from tests.conftest import until

KEY = re.compile(r"tw_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    found = Store(str(shared_settings.database_url), pool_max=2)
    yield found
    found.close()


@pytest.fixture
def run(shared_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command of `manage.py` in this process."""
    for module in (cli.access.keys, cli.access.audit):
        monkeypatch.setattr(module, "chosen_settings", lambda service: shared_settings)
    return lambda *arguments: CliRunner().invoke(manage.cli, arguments)


def created(run: Callable[..., Result], *arguments: str, scopes: str = "read") -> dict[str, Any]:
    done = run("key", "create", "--name", "first", "--scopes", scopes, "--json", *arguments)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def rows(store: Store, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    with store.transaction() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall()


def listed(run: Callable[..., Result], *arguments: str) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in json.loads(run("key", "list", "--json", *arguments).stdout)["keys"]}


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_created_key_is_printed_once_and_stored_as_a_digest(run: Callable[..., Result], store: Store) -> None:
    done = run("key", "create", "--name", "my key", "--scopes", "report,read", "--bots", "mm-1,mm-2", "--instruments", "EUR_*,!EUR_CHF")
    key = done.stdout.removesuffix("\n")
    assert (done.exit_code, KEY.fullmatch(key) is not None) == (0, True)
    assert key not in done.stderr
    [row] = rows(store, "SELECT id, digest, scopes, instruments, bots, expires FROM api_keys WHERE name = 'my key'")
    assert row[0] == key.split("_")[1]
    assert bytes(row[1]) == hashlib.sha256(key.encode()).digest()
    assert row[2:] == (["read", "report"], ["EUR_*", "!EUR_CHF"], ["mm-1", "mm-2"], None)
    for command in (("key", "list"), ("key", "list", "--json"), ("key", "show", row[0]), ("audit",)):
        shown = run(*command).output
        assert "my key" in shown
        assert key.split("_", 2)[2] not in shown
        assert bytes(row[1]).hex() not in shown


def test_options_of_a_key_are_stored(run: Callable[..., Result]) -> None:
    key = created(run, "--rate", "60/m", "--events", "5/s", "--connections", "3", "--expires", "90d", scopes="publish")
    row = json.loads(run("key", "show", key["id"], "--json").stdout)
    assert (row["rate"], row["events"], row["connections"], row["state"]) == ("60/m", "5/s", 3, "active")
    assert abs(time_of(row["expires"]) - time_of(row["created"]) - 90 * DAY) < timedelta(minutes=1)
    assert "digest" not in row
    assert key["key"] not in str(row)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scopes", "reed"),
        ("--scopes", "admin"),
        ("--scopes", "read,admin"),
        ("--scopes", ","),
        ("--scopes", "read", "--instruments", "eur_*"),
        ("--scopes", "read", "--instruments", "A" * 33),
        ("--scopes", "read", "--instruments", ",".join(["EUR_*"] * 65)),
        ("--scopes", "read", "--instruments", "XXX_*"),
        ("--scopes", "read", "--instruments", "*,!BTCUSDTT"),
        ("--scopes", "read", "--instruments", "!BTCUSDT"),
        ("--scopes", "report"),
        ("--scopes", "read", "--bots", "mm-1"),
        ("--scopes", "report", "--bots", ",".join(f"b{number}" for number in range(65))),
        ("--scopes", "read", "--rate", "600"),
        ("--scopes", "read", "--expires", "0s"),
        ("--scopes", "read", "--expires", "2020-01-01"),
        ("--scopes", "read", "--expires", "soon"),
        ("--scopes", "read", "--connections", "0"),
        ("--scopes", "read", "--name", " "),
    ],
)
def test_bad_option_exits_with_2_and_creates_nothing(run: Callable[..., Result], store: Store, arguments: tuple[str, ...]) -> None:
    before = rows(store, "SELECT count(*) FROM api_keys")
    done = run("key", "create", "--name", "bad", *arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert rows(store, "SELECT count(*) FROM api_keys") == before


def test_pattern_without_an_instrument_is_a_warning_with_force(run: Callable[..., Result]) -> None:
    done = run("key", "create", "--name", "later", "--scopes", "read", "--instruments", "XXX_*", "--force")
    assert (done.exit_code, "warning: no instrument matches XXX_*" in done.stderr) == (0, True)


def test_revoked_key_is_listed_with_all_alone(run: Callable[..., Result], store: Store) -> None:
    key = created(run)["id"]
    assert listed(run)[key]["state"] == "active"
    assert run("key", "revoke", key, "--reason", "lost").output == f"revoked {key}\n"
    assert run("key", "revoke", key).output == f"{key} is revoked already\n"
    assert key not in listed(run)
    assert listed(run, "--all")[key]["state"] == "revoked"
    found = rows(store, "SELECT action, details->>'reason' FROM access_log WHERE key_id = %s ORDER BY at", key)
    assert found == [("create", None), ("revoke", "lost")]
    assert run("key", "rotate", key).exit_code == 2
    for command in ("show", "revoke", "rotate"):
        assert run("key", command, "nokey123").exit_code == 2


def test_rotated_key_has_the_rights_and_the_old_one_expires(run: Callable[..., Result]) -> None:
    old = created(run, "--expires", "90d", "--rate", "60/m")
    done = run("key", "rotate", old["id"], "--overlap", "1h", "--json")
    new, rows_ = json.loads(done.stdout), listed(run)
    assert KEY.fullmatch(new["key"])
    assert f"the old key {old['id']} expires at " in done.stderr
    assert {**rows_[new["id"]], "id": "", "created": "", "expires": ""} == {**rows_[old["id"]], "id": "", "created": "", "expires": ""}
    assert abs(time_of(rows_[old["id"]]["expires"]) - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert abs(time_of(rows_[new["id"]]["expires"]) - datetime.now(UTC) - 90 * DAY) < timedelta(minutes=1)
    assert run("key", "rotate", old["id"], "--overlap", "0s").exit_code == 0
    assert listed(run, "--all")[old["id"]]["state"] == "expired"
    forever = created(run)["id"]
    successor = json.loads(run("key", "rotate", forever, "--json").stdout)["id"]
    assert [line.split()[1:4:2] for line in run("audit", "--key", successor).output.splitlines()] == [["rotate", forever]]
    assert abs(time_of(listed(run)[forever]["expires"]) - datetime.now(UTC) - DAY) < timedelta(minutes=1)


def test_tokens_are_revoked_by_id_or_by_subject(run: Callable[..., Result], store: Store) -> None:
    assert run("token", "revoke", "--jti", "7c1").exit_code == 0
    assert run("token", "revoke", "--sub", "ada", "--before", "2026-03-02T06:00:00Z").exit_code == 0
    for bad in ((), ("--jti", "a", "--sub", "b"), ("--sub", "b"), ("--jti", "a", "--before", "2026-03-02")):
        assert run("token", "revoke", *bad).exit_code == 2
    found = rows(store, "SELECT jti, sub, before, expires - created FROM revoked_tokens ORDER BY id")
    life = timedelta(seconds=86_400 + 30)
    assert found == [("7c1", None, None, life), (None, "ada", datetime(2026, 3, 2, 6, tzinfo=UTC), life)]


def test_change_sets_the_counter_and_then_publishes_it(run: Callable[..., Result], shared_bus: Bus, store: Store) -> None:
    subscription = shared_bus.subscribe_access()
    try:
        key = created(run)["id"]
        [(changed,)] = rows(store, "SELECT changed FROM api_keys WHERE id = %s", key)
        assert shared_bus.access_counter() == str(changed).encode()
        assert until(lambda: subscription.read(0.1)) == [("tickwire:access", str(changed).encode())]
    finally:
        subscription.close()


def test_numbers_of_changes_become_visible_in_their_order(run: Callable[..., Result], shared_settings: Settings, store: Store) -> None:
    """A change that waits for another one has the higher number."""
    other = Store(str(shared_settings.database_url), pool_max=1)
    keys: list[dict[str, Any]] = []
    try:
        with other.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tickwire access'))")
            thread = threading.Thread(target=lambda: keys.append(created(run)))
            thread.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until(lambda: rows(store, waiting) == [(1,)])
            cursor.execute("SELECT nextval('access_changes')")
            [(held,)] = cursor.fetchall()
        thread.join(60)
        [(changed,)] = rows(store, "SELECT changed FROM api_keys WHERE id = %s", keys[0]["id"])
        assert changed > held
    finally:
        other.close()


def test_command_works_without_redis_and_says_so(
    run: Callable[..., Result], shared_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = load_settings(
        {"DATABASE_URL": str(shared_settings.database_url), "REDIS_URL": "redis://127.0.0.1:1/0", "SOURCES": ""}, dotenv=None
    )
    monkeypatch.setattr(cli.access.keys, "chosen_settings", lambda service: away)
    done = run("key", "create", "--name", "first", "--scopes", "read")
    assert done.exit_code == 0
    assert KEY.fullmatch(done.stdout.strip())
    assert "processes take the change within 30 s" in done.stderr


def test_audit_shows_rows_of_a_key_and_of_a_time(run: Callable[..., Result]) -> None:
    one, other = created(run)["id"], created(run)["id"]
    lines = run("audit", "--key", one).output.splitlines()
    assert [line.split()[1:4:2] for line in lines] == [["create", one]]
    assert other in run("audit", "--since", "2026-01-01").output
    assert run("audit", "--since", "2999-01-01").output == ""
