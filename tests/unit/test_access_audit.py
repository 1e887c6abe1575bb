"""Counts of refusals and uses: one event per key or address and minute, and never a credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from api.access.audit import MAX_GROUPS, AuditCounts
from api.access.authenticator import CallerAuthenticator
from api.access.model import Access, anonymous
from api.access.table import AccessTable, Tables
from api.errors import Unauthorized
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.http_requests import Refused
from api.hub.transport.web.opening import opening_of
from config.access.modes import REQUIRED

START = datetime(2026, 3, 2, 6, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def counts() -> tuple[AuditCounts, Clock]:
    clock = Clock()
    return AuditCounts("rest", clock), clock


def of_key(key_id: str) -> Access:
    return Access(frozenset(), anonymous().patterns, key_id=key_id, name=f"name of {key_id}")


def test_refusals_of_an_address_are_one_event_after_their_minute() -> None:
    audit, clock = counts()
    for number in range(10_000):
        audit.refused(Unauthorized("unknown_key", sent=True, key_id=f"key{number:05}"), "192.0.2.1")
    audit.refused(Unauthorized("malformed", sent=True), "192.0.2.1")
    clock.pass_seconds(59)
    assert audit.take_refusals() == []
    clock.pass_seconds(1)
    [event] = audit.take_refusals()
    assert (event.at, event.actor, event.action, event.key_id, event.ip) == (clock.now, "rest", "refuse", None, "192.0.2.1")
    assert event.details["count"] == 10_001
    assert event.details["reasons"] == {"unknown_key": 10_000, "malformed": 1}
    assert event.details["keys"] == [f"key{number:05}" for number in range(5)]
    assert audit.take_refusals(all_of_them=True) == []


def test_refusals_of_a_known_key_count_for_the_key() -> None:
    audit, _ = counts()
    for address in ("192.0.2.1", "192.0.2.2"):
        audit.refused(Unauthorized("revoked", sent=True, key_id="abcd1234"), address)
    audit.limited(of_key("abcd1234"), "192.0.2.1", "RATE_REQUESTS")
    audit.limited(None, "192.0.2.1", "RATE_CONNECTIONS_PER_IP")
    found = [(each.action, each.key_id, each.ip, each.details["count"]) for each in audit.take_refusals(all_of_them=True)]
    assert found == [("refuse", "abcd1234", None, 2), ("limit", "abcd1234", None, 1), ("limit", None, "192.0.2.1", 1)]


class Session:
    """A session without a credential."""

    address = "192.0.2.1"

    def has(self, digest: bytes) -> bool:
        return False


def test_refusals_of_handshakes_and_later_requests_are_counted_once() -> None:
    audit, clock = counts()
    authenticator = CallerAuthenticator(REQUIRED, anonymous(), Tables(AccessTable()), clock, audit)
    credentials = RequestCredentials(authenticator, audit)
    key = {"HTTP_X_API_KEY": "tw_abcd1234_" + "A" * 43}
    for environ in (key, {"HTTP_X_API_KEY": "x"}):
        with pytest.raises(Refused):
            credentials.present(opening_of(environ, "polling"), "192.0.2.1")
        with pytest.raises(Refused):
            credentials.check(environ, cast(Any, Session()))
    [event] = audit.take_refusals(all_of_them=True)
    assert (event.key_id, event.ip, event.details["keys"]) == (None, "192.0.2.1", ["abcd1234"])
    assert event.details["reasons"] == {"unknown_key": 1, "another_credential": 1, "malformed": 2}


def test_many_addresses_share_one_event() -> None:
    audit, _ = counts()
    for number in range(MAX_GROUPS + 500):
        audit.refused(Unauthorized("malformed", sent=True), f"2001:db8::{number:x}")
    found = audit.take_refusals(all_of_them=True)
    assert len(found) == MAX_GROUPS + 1
    assert [each.details["count"] for each in found if each.ip is None] == [500]


def test_address_that_is_none_has_no_ip() -> None:
    audit, _ = counts()
    for address in ("", "/run/hub.sock", "fe80::1%eth0", "evil'); DROP"):
        audit.refused(Unauthorized("malformed", sent=True), address)
    assert {each.ip for each in audit.take_refusals(all_of_them=True)} == {None, "fe80::1"}


def test_uses_are_taken_once_and_new_addresses_are_noted() -> None:
    audit, clock = counts()
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        audit.used(of_key("abcd1234"), address)
    audit.used(anonymous(), "192.0.2.3")
    assert audit.take_uses() == {"abcd1234": clock.now}
    assert audit.take_uses() == {}
    assert [(each.action, each.key_id, each.ip) for each in audit.take_new()] == [
        ("new_address", "abcd1234", "192.0.2.1"),
        ("new_address", "abcd1234", "192.0.2.2"),
    ]
    audit.used(of_key("abcd1234"), "192.0.2.2")
    assert audit.take_new() == []
    assert set(audit.take_uses()) == {"abcd1234"}
