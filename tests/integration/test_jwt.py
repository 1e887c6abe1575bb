"""Tokens of an identity service at real processes: the hub with public keys, REST with a secret."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import socketio

from config.settings import Settings
from db.access_changes import lock_access
from db.postgres import Store
from db.revoked_tokens import RevokedToken, insert_revocation
from db.timestamps import utc_now
from tests.conftest import until
from tests.support.canned_http import canned
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.tokens import AUDIENCE, ISSUER, PUBLIC, SECRET, claims, jwk, private_key, token

RULES = {"AUTH": "required", "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}


@pytest.fixture(scope="module")
def shared_variables() -> Iterator[dict[str, str]]:
    """The hub's identity service, which serves public keys while the hub runs."""
    keys = [jwk(each) for each in PUBLIC]
    with canned(lambda query: {"keys": keys}) as url:
        yield {**RULES, "JWT_ALGORITHMS": ",".join(PUBLIC), "JWT_JWKS_URL": url}


def refused(hub: Web, text: str) -> Any:
    """Return the code with which the hub refuses a token; None if it accepts the token."""
    client = PythonClient(hub.url)
    try:
        client.connect({"token": text})
    except (socketio.exceptions.ConnectionError, AssertionError):
        return client.bodies("connect_error")[0]["data"]["code"]
    client.__exit__(None, None, None)
    return None


def get(url: str, text: str) -> tuple[int, Any, Any]:
    """Return status, body and headers of a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {text}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def test_hub_accepts_tokens_of_public_keys(shared_hub: Web) -> None:
    good = [token(each, claims(time.time())) for each in PUBLIC]
    until(lambda: refused(shared_hub, good[0]) is None, what="the first read of the public keys")
    assert [refused(shared_hub, text) for text in good] == [None, None, None]
    other = token("EdDSA", claims(time.time()), key=private_key("EdDSA", 1))
    for bad in (other, token("EdDSA", claims(time.time() - 3600)), token("EdDSA", claims(time.time()), {"kid": "new"})):
        assert refused(shared_hub, bad) == "unauthorized"
        assert bad not in shared_hub.output()


def test_rest_accepts_tokens_of_a_secret(shared_settings: Settings, shared_bus: Any, tmp_path: Path) -> None:
    extra = {**RULES, "JWT_ALGORITHMS": "HS256", "JWT_SECRET": SECRET}
    observer = token("HS256", claims(time.time(), tickwire={"scopes": ["observe"]}))
    reader = token("HS256", claims(time.time(), jti="another"))
    forged = token("HS256", claims(time.time()), key=SECRET.upper())
    with (
        closing(Store(str(shared_settings.database_url), pool_max=2)) as store,
        Web("rest", shared_settings, tmp_path / "rest.log", **extra) as rest,
    ):
        url = f"{rest.url}/jobs"
        until(lambda: get(url, observer)[0] == 200)
        assert get(url, reader)[0] == 403
        assert [get(url, forged)[0] for _ in range(11)] == [401] * 10 + [429]
        assert get(url, observer)[0] == 200  # a kept token needs no verification
        with store.transaction() as cursor:
            lock_access(cursor)
            changed = insert_revocation(cursor, RevokedToken("7c1", None, None, utc_now()), utc_now())
        shared_bus.announce_access(changed)
        until(lambda: get(url, observer)[0] == 401)
        assert get(url, reader)[0] == 403
        assert rest.ask_to_stop() == 0
        output = rest.output()
    lines = [json.loads(line) for line in output.splitlines() if '"auth"' in line]
    reasons = [line["reasons"] for line in lines if line["action"] in ("refuse", "limit")]
    assert {name for each in reasons for name in each} == {"bad_signature", "JWT failures", "revoked"}
    for text in (SECRET, observer, reader, forged, forged.split(".")[1]):
        assert text not in output
