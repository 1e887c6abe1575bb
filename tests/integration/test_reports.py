"""`POST /reports`: in effect once, refusals, limits, rights."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
import redis as redis_client
from flask.testing import FlaskClient

from api.access.model import Access, Authenticator, Handshake, OpenAuthenticator
from api.app import create_app
from config import settings as settings_module
from config.access.patterns import EVERYTHING
from db import topics
from db.bus import Bus
from db.postgres import Store
from tests.conftest import Servers
from tests.support.reports import MOMENT, fill_body

NDJSON = "application/x-ndjson"
NOW = MOMENT + timedelta(seconds=1)


class Caller:
    """An authenticator of one key that may report for `mm-1`."""

    def __init__(self, *scopes: str) -> None:
        self._access = Access(frozenset(scopes), EVERYTHING, bots=frozenset({"mm-1"}), key_id="abcd1234", name="bot")

    def authenticate(self, handshake: Handshake) -> Access:
        return self._access


def client_of(bus: Bus, authenticator: Authenticator | None = None, **changes: Any) -> FlaskClient:
    """A client of REST without a database: `POST /reports` uses the bus alone."""
    nothing = replace(settings_module.load({"SOURCES": ""}, dotenv=None), **changes)
    store = Store("postgresql://127.0.0.1:1/none")
    return create_app(nothing, bus, store, lambda: NOW, "1", authenticator or OpenAuthenticator()).test_client()


@pytest.fixture
def client(bus: Bus) -> FlaskClient:
    bus.open_reports()
    return client_of(bus)


def post(client: FlaskClient, *reports: Any) -> Any:
    answer = client.post("/reports", json={"reports": reports})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


def test_example_of_the_contract(client: FlaskClient) -> None:
    assert post(client, fill_body(17), fill_body(17), fill_body(18, quantity="-1")) == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": [{"index": 2, "id": "f-18", "code": "invalid_payload", "message": "quantity: Must be a positive decimal string."}],
        "timestamp": "2025-11-18T12:34:57.789123Z",
    }
    conflict = {"index": 0, "id": "f-17", "code": "conflict", "message": "The id was used for another content; the first report stays."}
    assert post(client, fill_body(17, price="2"))["rejected"] == [conflict]


def test_reports_sent_twice_and_shuffled_are_in_effect_once(client: FlaskClient, bus: Bus) -> None:
    numbers = [*range(600), *range(600)]
    random.Random(15).shuffle(numbers)
    accepted = duplicates = 0
    for start in range(0, 1200, 400):
        answer = post(client, *(fill_body(number) for number in numbers[start : start + 400]))
        accepted, duplicates = accepted + answer["accepted"], duplicates + answer["duplicates"]
        assert answer["rejected"] == []
    assert (accepted, duplicates) == (600, 600)
    assert sorted(each.report.id for each in bus.read_reports(2000, 0)) == sorted(f"f-{number}" for number in range(600))


def test_lines_are_reports_and_bad_lines_are_named(client: FlaskClient) -> None:
    lines = [orjson.dumps(fill_body(1)), b"{oops", b"", orjson.dumps(fill_body(2))[:-1] + b',"id":"f-2"}']
    answer = client.post("/reports", data=b"\n".join(lines), content_type=NDJSON).json
    assert answer is not None
    assert answer["accepted"] == 1
    assert [(each["index"], each["message"][:9]) for each in answer["rejected"]] == [(1, "Not JSON:"), (2, "id: Given")]


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b"{", "application/json", "body"), (b"[]", "application/json", "body"), (b'{"reports": []}', "application/json", "reports"),
        (b'{"reports": 5}', "application/json", "reports"), (b'{"fills": []}', "application/json", "fills"),
        (b'{"reports":[' + b",".join([b"1"] * 501) + b"]}", "application/json", "reports"), (b"\n", NDJSON, "reports"),
        (b"x", "text/plain", "Content-Type"),
    ],
)  # fmt: skip
def test_body_that_is_no_batch_is_refused(client: FlaskClient, body: bytes, kind: str, field: str) -> None:
    answer = client.post("/reports", data=body, content_type=kind)
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["error"]["code"] == "invalid_payload"
    assert field in answer.json["error"]["details"]


def test_body_above_one_mebibyte_is_refused(client: FlaskClient) -> None:
    assert client.post("/reports", data=b" " * (1024 * 1024 + 1), content_type=NDJSON).status_code == 413


def test_store_is_needed_for_an_instrument_that_the_bus_does_not_have(client: FlaskClient, bus: Bus) -> None:
    """The store is away: a refusal of a disabled instrument would be wrong for ever."""
    answer = client.post("/reports", json={"reports": [fill_body(1), fill_body(2, symbol="NO_SUCH")]})
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"]["details"]) == (503, {"part": "database"})
    assert int(answer.headers["Retry-After"]) >= 1
    assert bus.unprocessed_reports() == 0
    assert post(client, fill_body(1))["accepted"] == 1


def test_full_bus_accepts_nothing(servers: Servers, bus: Bus) -> None:
    with closing(Bus(servers.redis_url, lambda: NOW, limit=2)) as small:
        small.set_instruments({"EUR_USD": "fx"})
        client = client_of(small)
        assert post(client, fill_body(1))["accepted"] == 1
        answer = client.post("/reports", json={"reports": [fill_body(2), fill_body(3)]})
        assert answer.json is not None
        assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
        assert answer.json["error"]["details"] == {"part": "observer"}
        assert int(answer.headers["Retry-After"]) >= 1
        assert small.unprocessed_reports() == 1


def test_bot_above_its_rate_is_refused_as_a_whole(bus: Bus) -> None:
    client = client_of(bus, reports_rate=1)
    assert post(client, fill_body(1), fill_body(2), fill_body(3))["accepted"] == 3
    answer = client.post("/reports", json={"reports": [fill_body(4), fill_body(5)]})
    assert answer.json is not None
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "too_many_requests")
    assert int(answer.headers["Retry-After"]) == answer.json["error"]["details"]["retry_after"] >= 1
    assert bus.unprocessed_reports() == 3
    assert post(client, fill_body(6, bot="mm-2"))["accepted"] == 1


def test_key_reports_for_its_bots_alone_and_needs_the_scope(bus: Bus) -> None:
    answer = post(client_of(bus, Caller("report")), fill_body(1), fill_body(2, bot="mm-2"))
    assert (answer["accepted"], [each["code"] for each in answer["rejected"]]) == (1, ["forbidden"])
    assert client_of(bus, Caller("read", "publish")).post("/reports", json={"reports": [fill_body(1)]}).status_code == 403


def test_lifetime_of_ids_is_the_setting(bus: Bus, raw_redis: redis_client.Redis) -> None:
    post(client_of(bus, report_dedupe_seconds=100), fill_body(1))
    lifetime = raw_redis.ttl(topics.report_key("mm-1", "fill", "f-1"))
    assert isinstance(lifetime, int)
    assert 0 < lifetime <= 100
