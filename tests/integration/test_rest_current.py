"""The short way of `GET /api/metrics/current`: its answers are those of the way through Flask."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask, request_started
from werkzeug.test import TestResponse

from api.access.model import Access, CallerLimits, Handshake, OpenAuthenticator
from api.app import create_app
from api.errors import Unauthorized
from api.rest.observability.snapshot import KEPT_SECONDS
from config import settings as settings_module
from config.access.patterns import EVERYTHING
from config.access.scopes import SCOPES
from config.fields import Rate
from db.bus import Bus, Snapshot
from db.postgres import Store
from db.timestamps import format_time

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
PATH = "/api/metrics/current"
OUTSIDE = {"REMOTE_ADDR": "203.0.113.9"}


class Keys:
    """An authenticator: the key is the id of its rights; `bad` is refused, `reader` only reads."""

    def __init__(self) -> None:
        self.calls = 0

    def authenticate(self, handshake: Handshake) -> Access:
        self.calls += 1
        key = handshake.headers.get("x-api-key")
        if key is None:
            return OpenAuthenticator().authenticate(handshake)
        if key == "bad":
            raise Unauthorized("unknown_key", sent=True)
        limits = CallerLimits(requests=Rate(3, 60) if key == "small" else None)
        return Access(frozenset({"read"}) if key == "reader" else frozenset(SCOPES), EVERYTHING, key_id=key, name=key, limits=limits)


@dataclass
class Rest:
    """REST without a database, whose snapshots and clock the test sets."""

    bus: Bus
    keys: Keys = field(default_factory=Keys)
    now: datetime = NOW
    monotonic: float = 1000.0
    flask_requests: int = 0
    app: Flask = field(init=False)

    def __post_init__(self) -> None:
        settings = settings_module.load({"SOURCES": ""}, dotenv=None)
        store = Store("postgresql://127.0.0.1:1/none")
        self.app = create_app(settings, self.bus, store, lambda: self.now, "1", self.keys, monotonic=lambda: self.monotonic)
        request_started.connect(self._count, self.app)

    def _count(self, _: Flask, **__: Any) -> None:
        self.flask_requests += 1

    def get(self, *, way: str, query: str = "", method: str = "GET", key: str = "", headers: Any = (), environ: Any = ()) -> TestResponse:
        """Return an answer. The short way needs that the process has just read the snapshot."""
        client = self.app.test_client()
        if way == "flask":
            self.monotonic += 2 * KEPT_SECONDS
        else:
            client.get(PATH)
        before = self.flask_requests
        sent = {**dict(headers), **({"X-API-Key": key} if key else {})}
        answer = client.open(PATH + query, method=method, headers=sent, environ_base=dict(environ))
        self.last_way = "flask" if self.flask_requests > before else "short"
        return answer


@pytest.fixture
def rest(bus: Bus) -> Rest:
    bus.publish_snapshot(Snapshot(format_time(NOW), 7, "e", {"strategy": '{"total_pnl":-0.290}'}, {}))
    return Rest(bus)


CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no credential": ({}, 200, "short"),
    "an address from outside": ({"environ": OUTSIDE}, 200, "short"),
    "a key": ({"key": "a"}, 200, "short"),
    "a bad key": ({"key": "bad", "environ": OUTSIDE}, 401, "flask"),
    "a key without the scope": ({"key": "reader"}, 403, "flask"),
    "a foreign host": ({"headers": {"Host": "evil.example"}}, 403, "flask"),
    "a page of ours": ({"headers": {"Origin": "http://localhost:5173"}}, 200, "flask"),
    "a foreign page": ({"headers": {"Origin": "https://evil.example"}}, 200, "flask"),
    "an unknown argument": ({"query": "?a=1"}, 422, "flask"),
    "a credential in the query": ({"query": "?token=a"}, 400, "flask"),
    "HEAD": ({"method": "HEAD"}, 200, "flask"),
    "POST": ({"method": "POST"}, 405, "flask"),
}


def test_both_ways_give_the_same_answer(rest: Rest) -> None:
    for case, (sent, status, way) in CASES.items():
        long, short = rest.get(way="flask", **sent), rest.get(way="short", **sent)
        assert (long.status_code, short.status_code, rest.last_way) == (status, status, way), case
        assert short.data == long.data, case
        assert headers_of(short) == headers_of(long), case


def headers_of(answer: TestResponse) -> list[tuple[str, str]]:
    """Return the headers, without the figures that each request changes: budget and request id."""
    return sorted(
        (name, "" if name.startswith(("x-ratelimit", "x-request-id")) else value) for name, value in answer.headers.items(lower=True)
    )


def test_requests_of_both_ways_share_one_budget_and_cost_one_token_each(rest: Rest) -> None:
    answers = [rest.get(way=way, key="small") for way in ("short", "flask", "short", "short", "flask")]
    assert [each.status_code for each in answers] == [200, 200, 200, 429, 429]
    assert [each.headers["X-RateLimit-Remaining"] for each in answers] == ["2", "1", "0", "0", "0"]
    assert answers[3].json["error"]["code"] == "too_many_requests"  # type: ignore[index]
    assert answers[3].headers["Retry-After"] == answers[4].headers["Retry-After"]


def test_a_credential_is_checked_once(rest: Rest) -> None:
    for key in ("a", "bad", "reader"):
        rest.get(way="short")
        before = rest.keys.calls
        rest.get(way="short", key=key)
        assert rest.keys.calls == before + 2  # the request that reads the snapshot, and this one


def test_short_way_follows_the_snapshot_and_its_age(rest: Rest) -> None:
    assert json.loads(rest.get(way="short").data) | {"timestamp": ""} == {
        "timestamp": "", "market_data": {}, "strategy": {"total_pnl": -0.29}, "execution": {}, "system": {},
        "seq": 7, "epoch": "e", "age_ms": 0.0, "stale": False,
    }  # fmt: skip
    rest.now += timedelta(seconds=5)
    assert json.loads(rest.get(way="short").data)["stale"] is True
    rest.bus.publish_snapshot(Snapshot(format_time(rest.now), 8, "e", {}, {}))
    rest.get(way="flask")
    answer = json.loads(rest.get(way="short").data)
    assert (rest.last_way, answer["seq"], answer["age_ms"], answer["stale"]) == ("short", 8, 0.0, False)


def test_without_any_snapshot_both_ways_are_503(bus: Bus) -> None:
    rest = Rest(bus)
    for way in ("flask", "short"):
        answer = rest.get(way=way)
        assert (answer.status_code, rest.last_way, answer.headers["Retry-After"]) == (503, "flask", "2")
