"""Rights of connected clients without a transport: broadcasts by rights, the heap of expiries."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.access.audit import NoAudit
from api.access.authenticator import CallerAuthenticator
from api.access.model import Access, anonymous
from api.access.table import Tables
from api.hub.alerts.requests import AlertRequests
from api.hub.alerts.rules import RuleIndex
from api.hub.clients import Client, Clients
from api.hub.fanout import Fanout
from api.hub.messages import Message, decode
from api.hub.rights import audience
from api.hub.rights.audience import Audience
from api.hub.rights.expiry import Expiries
from api.hub.rights.live import LiveRights
from api.hub.rooms.candles import CandleRooms
from api.hub.rooms.prices import PriceRooms
from api.hub.topic_log import TopicLog
from api.hub.transport.limits.bucket import Allowance, Bucket
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import Frame
from config.access.keys import digest_of
from config.access.modes import REQUIRED
from config.access.patterns import compile_patterns
from db import topics
from db.api_keys import ApiKey
from db.revoked_tokens import RevokedToken

PAIRS = ("EUR_USD", "GBP_USD", "BTCUSDT")
NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY = "tw_abcd1234_" + "k" * 43
ALLOWANCE = Allowance(50, 200, lambda: 0.0)
ALERT = {"instrument1": "EUR_USD", "instrument2": "GBP_USD", "correlation": 0.5}


class Owner:
    def blocked(self) -> None:
        raise AssertionError

    queued = overflowed = broken = blocked


class Hub:
    """Clients of one fan-out, with the bytes that each received, and a clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON
        self.clients = Clients()
        self.fanout = Fanout(lambda: 0.0, lambda seconds, function: None)
        self.received: dict[str, list[Any]] = {}
        self.expelled: list[tuple[str, Any]] = []

    def add(self, name: str, access: Access, *rooms: str) -> Client:
        client = Client(name, self.fanout, access, Bucket(ALLOWANCE), "")
        box = Outbox(Owner(), 2**20)
        events = self.received[name] = []

        def take(data: bytes) -> int:
            rest = data
            while rest:
                start = rest.index(b"42[")
                size = rest[1] if rest[1] < 126 else int.from_bytes(rest[2:4])
                events.append(tuple(orjson.loads(rest[start + 2 : start + size])))
                rest = rest[start + size :]
            return len(data)

        box.open(take)
        self.clients.add(client)
        self.fanout.add(name, box)
        self.fanout.join(name, rooms)
        return client

    def expel(self, client: str, namespace: str, error: bytes) -> None:
        self.expelled.append((client, orjson.loads(error)))
        self.clients.remove(client)
        self.fanout.remove(client)

    def accept(self, client: str, namespace: str, auth: Mapping[str, Any]) -> None:
        raise AssertionError

    def live(self, tables: Tables) -> LiveRights:
        log = TopicLog()
        rooms = PriceRooms(self.fanout, log, PAIRS, 1000), CandleRooms(self.fanout, log, PAIRS, lambda: "")
        alerts = AlertRequests(RuleIndex(), set(PAIRS), lambda series: None, "abc")
        authenticator = CallerAuthenticator(REQUIRED, anonymous(), tables, lambda: self.now, NoAudit())
        return LiveRights(self.clients, rooms, alerts, authenticator, self, lambda: self.now)


def rights(scopes: str = "read", instruments: str = "*", **more: Any) -> Access:
    return Access(frozenset(scopes.split()), compile_patterns(instruments.split()), **more)


def row(scopes: str = "read", instruments: str = "*", **changes: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": "abcd1234", "name": "x", "digest": digest_of(KEY), "scopes": scopes.split(), "instruments": instruments.split(), "bots": (),
        "rate_requests": None, "rate_events": None, "max_connections": None, "created": NOON, "created_by": "ada", "changed": 1,
    }  # fmt: skip
    return ApiKey(**values | changes)


# broadcasts


def broadcast(hub: Hub, channel: str, body: Mapping[str, Any]) -> None:
    Audience(hub.clients, {"/": hub.fanout}).send(decode(channel, orjson.dumps(body), set(PAIRS)))
    hub.fanout.flush()


def test_correlation_alert_needs_both_instruments_and_one_room() -> None:
    hub = Hub()
    hub.add("every", rights(), "price_EUR_USD", "price_GBP_USD")
    hub.add("second", rights(instruments="EUR_USD GBP_USD"), "price_GBP_USD")
    hub.add("one", rights(instruments="EUR_*"), "price_EUR_USD")
    hub.add("outside", rights())
    hub.add("observer", rights("observe"), "price_EUR_USD")
    broadcast(hub, topics.CORRELATION_ALERTS, {**ALERT, "instruments": 5})
    assert {name: len(events) for name, events in hub.received.items()} == {"every": 1, "second": 1, "one": 0, "outside": 0, "observer": 0}
    assert hub.received["every"] == [("correlation_alert", {**ALERT, "instruments": 5})]


def test_data_ready_has_one_frame_for_each_set(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []
    cut = audience._cut

    def counted(message: Message, kept: tuple[str, ...]) -> Frame:
        made.append(kept)
        return cut(message, kept)

    monkeypatch.setattr(audience, "_cut", counted)
    hub = Hub()
    for number in range(5):
        hub.add(f"every{number}", rights())
        hub.add(f"euro{number}", rights(instruments="EUR_*"))
        hub.add(f"same{number}", rights("read observe", instruments="EUR_USD X*"))
        hub.add(f"none{number}", rights("observe"))
    broadcast(hub, topics.DATA_READY, {"data_type": "volatility", "instruments": ["EUR_USD", "GBP_USD"]})
    expected = {"every": [["EUR_USD", "GBP_USD"]], "euro": [["EUR_USD"]], "same": [["EUR_USD"]], "none": []}
    for name, events in hub.received.items():
        assert [body["instruments"] for _, body in events] == expected[name[:-1]]
    assert made == [("EUR_USD",)]
    broadcast(hub, topics.DATA_READY, {"data_type": "volatility"})
    assert [len(hub.received[name]) for name in ("every0", "euro0", "none0")] == [2, 2, 0]


def test_clients_with_equal_rights_share_a_batch() -> None:
    hub = Hub()
    for number in range(10):
        hub.add(str(number), rights(), "price_EUR_USD")
    broadcast(hub, topics.CORRELATION_ALERTS, ALERT)
    assert (hub.fanout.batches, hub.fanout.delivered) == (1, 10)
    for number in range(10):
        hub.clients.remove(str(number))
    assert not hub.clients.rights
    assert hub.clients._identities == {}


# expiry


def test_heap_notifies_and_ends_in_the_order_of_time() -> None:
    hub, seen = Hub(), list[tuple[str, str, float]]()
    expiries = Expiries(
        hub.clients,
        lambda: hub.now,
        lambda client, now: seen.append(("notice", client.id, (now - NOON).total_seconds())),
        lambda client: seen.append(("end", client.id, (hub.now - NOON).total_seconds())),
    )
    lives = [5, 10, 60, 61, 100, 300]
    random.Random(1).shuffle(lives)
    for life in lives:
        expiries.watch(hub.add(str(life), rights(key_id=str(life), expires_at=NOON + life * SECOND)))
    expiries.watch(hub.add("leeway", rights(subject="ada", expires_at=NOON + 20 * SECOND, leeway=30 * SECOND)))
    expiries.watch(hub.add("for ever", rights(key_id="e")))
    for _ in range(400):
        hub.now += SECOND
        expiries.tick(lambda: None)
    assert seen == [
        ("notice", "61", 1), ("notice", "5", 4), ("end", "5", 5), ("notice", "10", 8), ("end", "10", 10), ("notice", "leeway", 16),
        ("notice", "100", 40), ("notice", "60", 48), ("end", "leeway", 50), ("end", "60", 60), ("end", "61", 61), ("end", "100", 100),
        ("notice", "300", 240), ("end", "300", 300),
    ]  # fmt: skip


def test_many_expired_clients_let_others_run_in_between() -> None:
    hub, ended, pauses = Hub(), list[str](), list[int]()
    expiries = Expiries(hub.clients, lambda: hub.now, lambda client, now: None, lambda client: ended.append(client.id))
    for number in range(250):
        expiries.watch(hub.add(str(number), rights(subject=str(number), expires_at=NOON + SECOND)))
    hub.now += 60 * SECOND
    expiries.tick(lambda: pauses.append(len(ended)))
    assert (len(ended), len(set(ended))) == (250, 250)
    assert pauses == [0, 0, 50, 150, 250]  # each client has a notice, then its end


def test_entries_of_earlier_rights_have_no_effect_and_are_removed() -> None:
    hub, ended = Hub(), list[str]()
    expiries = Expiries(hub.clients, lambda: hub.now, lambda client, now: None, lambda client: ended.append(client.id))
    client = hub.add("one", rights(subject="ada", expires_at=NOON + 10 * SECOND))
    expiries.watch(client)
    for life in range(3_000):
        client = hub.clients.change(client, rights(subject="ada", expires_at=NOON + timedelta(hours=1 + life)))
        expiries.watch(client)
    assert len(expiries._heap) < 1_100
    hub.now += timedelta(hours=2000)
    expiries.tick(lambda: None)
    assert ended == []
    hub.clients.remove("one")
    hub.now += timedelta(hours=2000)
    expiries.tick(lambda: None)
    assert (ended, expiries._heap) == ([], [])


# changes of the table


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"scopes": "read observe"}, None),
        ({"instruments": "EUR_* GBP_* BTC*"}, None),  # the same instruments by other patterns
        ({"expires": NOON + 60 * SECOND}, None),
        ({"rate_events": "5/s"}, None),
        ({"instruments": "EUR_*"}, "key_changed"),
        ({"instruments": "* !BTCUSDT"}, "key_changed"),
        ({"scopes": "observe"}, "key_changed"),
        ({"instruments": "?"}, "revoked"),  # a row that cannot be read grants nothing
        ({"expires": NOON}, "expired"),
        ({"revoked": NOON}, "revoked"),
    ],
)
def test_changed_key_ends_its_clients_if_rights_shrink(changes: dict[str, Any], reason: str | None) -> None:
    hub, tables = Hub(), Tables()
    tables.take([row()], [])
    assert tables.table is not None
    live = hub.live(tables)
    tables.listen(lambda change: live.take(change, lambda: None))
    hub.add("one", tables.table.by_id["abcd1234"].access, "price_BTCUSDT")
    hub.add("other", rights(key_id="other123"))
    tables.take([row(changed=2, **changes)], [])
    assert [(client, body["details"]) for client, body in hub.expelled] == (
        [] if reason is None else [("one", {"reason": reason, "reconnect": False})]
    )
    if reason is None:
        assert hub.clients["one"].access is tables.table.by_id["abcd1234"].access
        assert list(hub.fanout.rooms("one")) == ["price_BTCUSDT"]


def test_restored_store_without_the_key_ends_its_clients() -> None:
    hub, tables = Hub(), Tables()
    tables.take([row()], [])
    live = hub.live(tables)
    tables.listen(lambda change: live.take(change, lambda: None))
    assert tables.table is not None
    hub.add("one", tables.table.by_id["abcd1234"].access)
    tables.take([], [], whole=True)
    assert [(client, body["details"]["reason"]) for client, body in hub.expelled] == [("one", "revoked")]


def test_revoked_subject_ends_tokens_that_were_issued_before() -> None:
    hub, tables = Hub(), Tables()
    tables.take([], [])
    live = hub.live(tables)
    tables.listen(lambda change: live.take(change, lambda: None))
    for name, issued in (("before", NOON - SECOND), ("after", NOON), ("without", None)):
        hub.add(name, rights(subject="ada", issued_at=issued, jti=name))
    hub.add("eve", rights(subject="eve", issued_at=NOON - SECOND))
    tables.take([], [RevokedToken(None, "ada", NOON, NOON + SECOND, 1)])
    assert sorted(client for client, _ in hub.expelled) == ["before", "without"]
    tables.take([], [RevokedToken("after", None, None, NOON + SECOND, 2)])
    assert len(hub.expelled) == 3
    assert [client.id for client in hub.clients] == ["eve"]


def test_many_clients_of_a_key_let_others_run_in_between() -> None:
    hub, tables, pauses = Hub(), Tables(), list[int]()
    tables.take([row()], [])
    live = hub.live(tables)
    tables.listen(lambda change: live.take(change, lambda: pauses.append(len(hub.clients))))
    assert tables.table is not None
    for number in range(250):
        hub.add(str(number), tables.table.by_id["abcd1234"].access)
    tables.take([row(revoked=NOON, changed=2)], [])
    assert (len(hub.expelled), pauses) == (250, [150, 50])
