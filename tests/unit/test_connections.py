"""The connections of a caller: places of this hub, and leases of others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api.access.audit import AuditCounts
from api.access.connections import ConnectionCounts, LeaseChange, LimitedHandshakes
from api.access.model import Access, CallerLimits, Handshake, anonymous
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal
from api.hub.transport.limits.callers import CallerBuckets
from config.access.patterns import EVERYTHING
from config.fields import Rate

ADDRESS = "192.0.2.1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def of_key(key_id: str = "abc12345", **limits: Any) -> Access:
    return Access(frozenset(), EVERYTHING, key_id=key_id, limits=CallerLimits(**limits))


def three() -> tuple[ConnectionCounts, Clock]:
    """Return connections with a limit of three."""
    clock = Clock()
    return ConnectionCounts(3, 5, clock, Peers()), clock


def opened(it: ConnectionCounts, count: int, access: Access, address: str = ADDRESS, name: str = "s") -> list[str]:
    names = [f"{name}{number}" for number in range(count)]
    for each in names:
        it.open(f"{each}/", each, access, address)
    return [f"{each}/" for each in names]


def refusal(it: ConnectionCounts, access: Access, address: str = ADDRESS) -> Refusal:
    with pytest.raises(Refusal) as caught:
        it.check(access, address)
    return caught.value


def changes(it: ConnectionCounts, *, renew: bool = False) -> list[LeaseChange]:
    return it.take_changes(renew=renew)


def test_connection_above_the_limit_is_refused_until_one_ends() -> None:
    it, _ = three()
    clients = opened(it, 3, of_key())
    refused = refusal(it, of_key())
    assert (refused.code, refused.details["max_connections"]) == (ErrorCode.TOO_MANY_REQUESTS, 3)
    it.check(of_key("other123"), ADDRESS)
    it.close(clients[1])
    it.close(clients[1])  # has no effect
    it.check(of_key(), ADDRESS)
    assert it.count("key:abc12345") == 2


def test_key_has_a_limit_of_its_own() -> None:
    it, _ = three()
    opened(it, 5, of_key(connections=5))
    assert refusal(it, of_key(connections=5)).details["max_connections"] == 5


def test_session_has_one_place_for_all_its_namespaces() -> None:
    it, _ = three()
    clients = opened(it, 3, of_key())
    it.open("s0/metrics", "s0", of_key(), ADDRESS)
    it.close(clients[0])
    assert it.count("key:abc12345") == 3
    it.close("s0/metrics")
    assert it.count("key:abc12345") == 2


def test_callers_without_a_credential_count_by_address_and_have_no_leases() -> None:
    it, _ = three()
    opened(it, 3, anonymous())
    refusal(it, anonymous())
    it.check(anonymous(), "192.0.2.2")
    it.check(of_key(), ADDRESS)
    assert changes(it, renew=True) == []


def test_callers_of_this_machine_without_a_credential_are_exempt() -> None:
    it, _ = three()
    opened(it, 10, anonymous(), "127.0.0.1")
    it.check(anonymous(), "127.0.0.1")
    opened(it, 3, of_key(), "127.0.0.1", name="k")
    refusal(it, of_key(), "127.0.0.1")


def test_sessions_with_a_credential_on_this_machine_count_by_address_too() -> None:
    it, _ = three()
    clients = [opened(it, 1, of_key(f"key{number:05}"), "127.0.0.1", f"k{number}")[0] for number in range(5)]
    assert refusal(it, of_key("other123"), "127.0.0.1").details["max_connections"] == 5
    it.check(anonymous(), "127.0.0.1")
    it.check(of_key("other123"), "::1")
    it.close(clients[0])
    it.check(of_key("other123"), "127.0.0.1")


def test_leases_follow_the_sessions() -> None:
    it, _ = three()
    clients = opened(it, 2, of_key())
    assert changes(it) == [LeaseChange("key:abc12345", 3, (), ("s0", "s1"), ())]
    assert changes(it) == []
    it.close(clients[0])
    opened(it, 1, of_key(), name="t")
    assert changes(it, renew=True) == [LeaseChange("key:abc12345", 3, ("s1",), ("t0",), ("s0",))]
    for client in (clients[1], "t0/"):
        it.close(client)
    assert changes(it) == [LeaseChange("key:abc12345", 3, (), (), ("s1", "t0"))]
    assert changes(it, renew=True) == []


def test_session_that_ends_before_its_lease_is_written_needs_none() -> None:
    it, _ = three()
    for client in opened(it, 2, of_key()):
        it.close(client)
    assert changes(it) == [LeaseChange("key:abc12345", 3, (), (), ())]


def test_leases_of_other_hubs_count_until_they_expire() -> None:
    it, clock = three()
    opened(it, 1, of_key())
    [change] = changes(it)
    it.note(change, [clock.now + 5, clock.now + 20])
    refusal(it, of_key())
    assert changes(it) == [LeaseChange("key:abc12345", 3, (), (), ())]  # reads them again
    clock.now += 5
    it.check(of_key(), ADDRESS)


def test_session_without_a_place_is_in_the_log_of_access() -> None:
    audit = AuditCounts("hub", lambda: datetime(2026, 3, 2, tzinfo=UTC))
    it = ConnectionCounts(3, 5, Clock(), Peers(), audit)
    it.open("s/", "s", of_key(), ADDRESS)
    it.open("t/", "t", Access(frozenset(), EVERYTHING, subject="ada"), ADDRESS)
    refusals = [it.surplus(change, session) for change, session in zip(changes(it), ("s", "t"), strict=True)]
    assert [each.details["max_connections"] for each in refusals] == [3, 3]
    found = [(each.action, each.key_id, each.ip, each.details["reasons"]) for each in audit.take_refusals(all_of_them=True)]
    assert found == [("limit", "abc12345", None, {"RATE_CONNECTIONS": 1}), ("limit", None, ADDRESS, {"RATE_CONNECTIONS": 1})]


def test_hub_without_redis_counts_its_own() -> None:
    it, clock = three()
    opened(it, 2, of_key())
    [change] = changes(it)
    it.note(change, [clock.now + 5, clock.now + 20])
    it.note_failure()
    opened(it, 1, of_key(), name="t")
    refusal(it, of_key())


def test_handshake_of_a_caller_with_all_connections_is_refused() -> None:
    it, _ = three()
    opened(it, 3, of_key())

    class Inner:
        def authenticate(self, handshake: Handshake) -> Access:
            return of_key(handshake.headers["x-api-key"])

    limited = LimitedHandshakes(Inner(), it)
    assert limited.authenticate(Handshake("websocket", ADDRESS, {"x-api-key": "other123"})).key_id == "other123"
    with pytest.raises(Refusal, match="More than 3 connections"):
        limited.authenticate(Handshake("websocket", ADDRESS, {"x-api-key": "abc12345"}))


def test_sessions_of_a_key_share_a_bucket_that_outlives_them() -> None:
    clock = Clock()
    buckets = CallerBuckets(Rate(50, 1), clock)
    shared = buckets.of(of_key())
    assert shared is not None
    assert [shared.take(150), shared.take(50), shared.take(1)] == [True, True, False]  # 200 at once
    assert buckets.of(of_key()) is shared
    assert buckets.of(of_key("other123")) is not shared
    assert buckets.of(anonymous()) is None
    clock.now += 1
    assert [shared.take(50), shared.take(1)] == [True, False]


def test_key_has_a_rate_of_its_own() -> None:
    shared = CallerBuckets(Rate(50, 1), Clock()).of(of_key(events=Rate(10, 1)))
    assert shared is not None
    assert [shared.take(40), shared.take(1)] == [True, False]
