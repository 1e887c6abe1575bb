"""Credentials of callers are in no log, answer, row or process list, however they are sent."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

import cli.access.audit
import cli.access.keys
import manage
from config.access.keys import digest_of, new_key
from config.settings import Settings, load
from db.access_changes import lock_access
from db.access_log import REFUSE
from db.api_keys import ApiKey, insert_key, revoke_key
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import until
from tests.support.processes import Web
from tests.support.up import command_line

SCOPES = ("read", "observe", "publish")


def seeded(store: Store) -> dict[str, str]:
    """Return kind -> a credential; the keys `good` and `revoked` are in the store."""
    found = {}
    with store.transaction() as cursor:
        lock_access(cursor)
        for name in ("good", "revoked"):
            key_id, found[name] = new_key()
            insert_key(cursor, ApiKey(key_id, name, digest_of(found[name]), SCOPES, ("*",), (), None, None, None, utc_now(), "ada"))
            if name == "revoked":
                revoke_key(cursor, key_id, utc_now())
    head, body = ({"alg": "HS256", "typ": "JWT"}, {"sub": "ada", "exp": 4102444800})
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in (head, body)]
    return {
        **found,
        "unknown": new_key()[1],
        "token": ".".join([*parts, secrets.token_urlsafe(32)]),
        "malformed": f"hidden-{secrets.token_hex(16)}",
    }


def forms(credential: str) -> set[str]:
    """Return the texts that must be nowhere: the credential, its secret part, its digest."""
    digest = digest_of(credential)
    last = credential.rpartition(".")[2] if "." in credential else credential.split("_", 2)[-1]
    return {credential, last, digest.hex(), base64.b64encode(digest).decode()}


def answer_of(url: str, headers: Mapping[str, str], body: bytes | None = None) -> str:
    """Return status line, headers and body of an answer."""
    request = urllib.request.Request(url, body, headers=dict(headers))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return f"{answer.status} {answer.headers} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.headers} {error.read().decode()}"


def sent_everywhere(rest: str, hub: str, credential: str, other: str) -> Iterator[str]:
    """Send the credential in each way, right and wrong; yield the answers."""
    opening = f"{hub}/socket.io/?EIO=4&transport=polling"
    ways: list[dict[str, str]] = [
        {"X-API-Key": credential},
        {"Authorization": f"Bearer {credential}"},
        {"Authorization": f"Basic {credential}"},
        {"Authorization": credential},
        {"X-API-Key": credential, "Authorization": f"Bearer {other}"},
        {"Cookie": f"key={credential}"},
    ]
    for headers in ways:
        for path in ("/symbols", "/health", "/jobs", "/ticks?symbol=NO_SUCH", "/no/such/route", "/correlation?as_of=1900-01-01"):
            yield answer_of(rest + path, headers)
        yield answer_of(f"{rest}/prices", {**headers, "Content-Type": "application/json"}, b"{")
        yield answer_of(opening, headers)
    for name in ("api_key", "token", "access_token"):
        for url in (f"{rest}/symbols?{name}={credential}", f"{rest}/health/live?{name}={credential}", f"{opening}&{name}={credential}"):
            yield answer_of(url, {})
    opened = answer_of(opening, {})
    session = json.loads("{" + opened.partition("0{")[2])["sid"]
    for packet in (f'40{{"api_key":"{credential}"}}', f'42["subscribe",{{"token":"{credential}"}}]'):
        yield answer_of(f"{opening}&sid={session}", {}, packet.encode())


@pytest.fixture(scope="module")
def owner(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url), pool_max=2)) as store:
        yield store


def commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the output of the commands that show keys and their log."""
    for module in (cli.access.keys, cli.access.audit):
        monkeypatch.setattr(module, "chosen_settings", lambda service: settings)
    calls = (["audit"], ["key", "list", "--all"], ["key", "list", "--all", "--json"])
    return "\n".join(CliRunner().invoke(manage.cli, call).output for call in calls)


def test_credentials_of_callers_are_nowhere(
    shared_settings: Settings, shared_bus: Bus, owner: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = seeded(owner)
    extra = {"AUTH": "required", "LOG_LEVEL": "DEBUG"}
    places: dict[str, str] = {}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Web(name, shared_settings, tmp_path / f"{name}.log", **extra)) for name in ("rest", "hub")}
        rest, hub = (processes[name].url for name in ("rest", "hub"))
        until(lambda: answer_of(f"{rest}/jobs", {"X-API-Key": credentials["good"]}).startswith("200"))
        for name, credential in credentials.items():
            other = credentials["unknown" if name == "good" else "good"]
            places[f"answers to {name}"] = "\n".join(sent_everywhere(rest, hub, credential, other))
        for path in ("/health", "/jobs", "/gaps", "/openapi.json"):
            places[path] = answer_of(rest + path, {"X-API-Key": credentials["good"]})
        family = [each for process in processes.values() for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children()]]
        places["processes"] = "\n".join(map(command_line, family))
        for name, process in processes.items():
            assert process.ask_to_stop() == 0
            places[f"log of {name}"] = process.output()
    with owner.transaction() as cursor:
        cursor.execute("SELECT row_to_json(access_log)::text FROM access_log")
        places["access_log"] = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SELECT (to_jsonb(api_keys) - 'digest')::text FROM api_keys")
        places["api_keys"] = "\n".join(row[0] for row in cursor.fetchall())
    places["commands"] = commands(shared_settings, monkeypatch)
    for actor in ("rest", "hub"):  # each wrote the refusals of its last minute as it stopped
        assert f'"actor":"{actor}","action":"{REFUSE}"' in places["access_log"]
    assert '"auth"' in places["log of rest"]
    for name, credential in credentials.items():
        for form in forms(credential):
            assert [place for place, text in places.items() if form in text] == [], name


def test_settings_show_no_secret_of_access_control() -> None:
    secret = secrets.token_urlsafe(32)
    given = {"JWT_ALGORITHMS": "HS256", "JWT_SECRET": secret, "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "tickwire"}
    chosen = load(given, dotenv=None)
    assert chosen.jwt_algorithms == ("HS256",)
    for text in (repr(chosen), str(chosen), f"{chosen!r:.100000}"):
        assert secret not in text
