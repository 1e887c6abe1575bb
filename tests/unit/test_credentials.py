"""Reading of credentials, and the lookup of a key: by digest, then in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.audit import NoAudit
from api.access.authenticator import CallerAuthenticator
from api.access.credentials import Credential, read_credential, refuse_query
from api.access.model import Access, Handshake, anonymous
from api.access.table import AccessTable, TableChange, Tables
from api.errors import ErrorCode, Refusal, Unauthorized
from config.access.keys import digest_of, id_of, is_key_id, new_key
from config.access.modes import OFF, OPTIONAL, REQUIRED, AuthMode
from db.api_keys import ApiKey
from db.revoked_tokens import RevokedToken

NOW = datetime(2026, 3, 2, 6, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEY_ID, KEY = "abcd1234", "tw_abcd1234_" + "A" * 43
OTHER = "tw_zzzz9999_" + "B" * 43
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"


def row(key: str = KEY, **changes: Any) -> ApiKey:
    values: dict[str, Any] = {
        "id": str(id_of(key)), "name": "first", "digest": hashlib.sha256(key.encode()).digest(), "scopes": ("read", "report"),
        "instruments": ("EUR_*",), "bots": ("mm-1",), "rate_requests": "60/m", "rate_events": None, "max_connections": 3,
        "created": NOW, "created_by": "ada", "expires": None, "revoked": None, "last_used": None, "changed": 7,
    }  # fmt: skip
    return ApiKey(**values | changes)


def token_row(**values: Any) -> RevokedToken:
    return RevokedToken(**{"jti": None, "sub": None, "before": None, "expires": NOW, "changed": 9} | values)


class Verifier:
    """A verifier that accepts every token as `access`."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def verify(self, token: str, address: str, digest: bytes | None = None) -> Access:
        return self.access


class Counting(NoAudit):
    def __init__(self) -> None:
        self.uses: list[tuple[str | None, str]] = []
        self.reasons: list[str] = []

    def used(self, access: Access, address: str) -> None:
        self.uses.append((access.key_id, address))

    def refused(self, refusal: Unauthorized, address: str) -> None:
        self.reasons.append(refusal.reason)


def handshake(headers: Mapping[str, str] | None = None, auth: Mapping[str, Any] | None = None) -> Handshake:
    return Handshake("rest", "192.0.2.1", headers or {}, auth=auth)


def made(mode: AuthMode = REQUIRED, *rows: ApiKey, token: Access | None = None) -> tuple[CallerAuthenticator, Counting, Tables]:
    tables, audit = Tables(AccessTable().updated(rows, ())), Counting()
    verifier = None if token is None else Verifier(token)
    return CallerAuthenticator(mode, anonymous(frozenset({"read"})), tables, lambda: NOW, audit, verifier), audit, tables


@pytest.mark.parametrize(
    ("headers", "auth", "text"),
    [
        ({}, None, None),
        ({}, {}, None),
        ({}, {"token": None, "api_key": None, "other": "x"}, None),
        ({"authorization": f"Bearer {KEY}"}, None, KEY),
        ({"authorization": f"bearer  {JWT}"}, None, JWT),
        ({"x-api-key": KEY}, None, KEY),
        ({"x-api-key": KEY, "authorization": f"Bearer {KEY}"}, {"api_key": KEY, "token": KEY}, KEY),
        ({}, {"token": JWT}, JWT),
        ({}, {"token": KEY}, KEY),
        ({}, {"api_key": KEY}, KEY),
    ],
)
def test_credential_is_read(headers: dict[str, str], auth: dict[str, Any] | None, text: str | None) -> None:
    found = read_credential(headers, auth)
    assert (found.text if found else None) == text
    assert text is None or repr(found).find(text[-30:]) == -1


@pytest.mark.parametrize(
    ("headers", "auth"),
    [
        ({"authorization": f"Bearer {KEY}", "x-api-key": OTHER}, None),
        ({"authorization": f"Bearer {JWT}", "x-api-key": KEY}, None),
        ({"x-api-key": f"{KEY}, {OTHER}"}, None),
        ({"authorization": f"Bearer {KEY},Bearer {OTHER}"}, None),
        ({"x-api-key": KEY}, {"token": JWT}),
        ({"x-api-key": KEY}, {"api_key": OTHER}),
        ({}, {"token": JWT, "api_key": KEY}),
    ],
)
def test_two_different_credentials_are_an_invalid_payload(headers: dict[str, str], auth: dict[str, Any] | None) -> None:
    with pytest.raises(Refusal) as refusal:
        read_credential(headers, auth)
    assert refusal.value.code is ErrorCode.INVALID_PAYLOAD
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize(
    ("headers", "auth"),
    [
        ({"authorization": "Basic YTpi"}, None),
        ({"authorization": ""}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer x"}, None),
        ({"authorization": f"Bearer {KEY}x"}, None),
        ({"authorization": f"Bearer {KEY[:-1]}é"}, None),
        ({"x-api-key": ""}, None),
        ({"x-api-key": JWT}, None),
        ({}, {"api_key": JWT}),
        ({}, {"api_key": 5}),
        ({}, {"token": [KEY]}),
        ({}, {"token": "\ud800.a.b"}),
        ({}, {"token": "a." * 2 + "b" * 5000}),
    ],
)
def test_malformed_credential_is_unauthorized(headers: dict[str, str], auth: dict[str, Any] | None) -> None:
    with pytest.raises(Unauthorized) as refusal:
        read_credential(headers, auth)
    assert (refusal.value.reason, refusal.value.sent) == ("malformed", True)


@given(text=st.text(max_size=60) | st.from_regex(r"tw_[a-z0-9]{7,9}_[A-Za-z0-9_-]{42,44}"))
def test_any_text_is_a_credential_or_unauthorized(text: str) -> None:
    found = None
    with suppress(Unauthorized):
        found = read_credential({}, {"token": text})
    assert found is None or found.text == text


@pytest.mark.parametrize("query", ["api_key=x", "a=1&token=", "access_token=y", "token", "%74oken=x", "a=1&api%5Fkey=y"])
def test_credential_in_the_query_is_refused(query: str) -> None:
    with pytest.raises(Refusal) as refusal:
        refuse_query(query)
    assert refusal.value.code is ErrorCode.INVALID_PAYLOAD


@pytest.mark.parametrize("query", ["", "page_token=abc", "symbol=EUR_USD&page_token=a", "tokens=1", "symbol=EUR%5FUSD&x=%74oken"])
def test_other_query_is_accepted(query: str) -> None:
    refuse_query(query)


def test_new_keys_have_the_form_of_a_key_and_differ() -> None:
    made = [new_key() for _ in range(50)]
    assert all(id_of(key) == name and is_key_id(name) and len(key) == 55 for name, key in made)
    assert len({key for _, key in made}) == 50
    assert digest_of(KEY) == hashlib.sha256(KEY.encode()).digest()


def test_key_has_the_rights_of_its_row() -> None:
    access = made(REQUIRED, row())[0].authenticate(handshake({"x-api-key": KEY}))
    assert (access.key_id, access.name, access.caller, access.anonymous) == (KEY_ID, "first", f"key:{KEY_ID}", False)
    assert access.includes("EUR_USD")
    assert not access.includes("BTCUSDT")
    assert access.may_report("mm-1")
    assert not access.may_report("mm-2")
    assert not access.allows("observe")
    assert (str(access.limits.requests), access.limits.events, access.limits.connections) == ("60/m", None, 3)


def test_lookup_compares_the_stored_digest_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noting(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return compare(one, two)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    table = AccessTable().updated([row(), row(OTHER)], ())
    credential = Credential(KEY, KEY_ID, digest_of(KEY))
    assert table.find(credential, NOW).key_id == KEY_ID
    assert compared == [(digest_of(KEY), digest_of(KEY))]


def test_unusable_keys_are_refused_with_one_message() -> None:
    rows = {"revoked": row(revoked=NOW), "expired": row(expires=NOW), "unknown_key": row(OTHER)}
    for reason, stored in rows.items():
        authenticator, audit, _ = made(OPTIONAL, stored)
        with pytest.raises(Unauthorized) as refusal:
            authenticator.authenticate(handshake({"x-api-key": KEY}))
        assert (refusal.value.reason, refusal.value.key_id, audit.reasons) == (reason, KEY_ID, [reason])
        assert (str(refusal.value), refusal.value.details) == (str(Unauthorized("x", sent=False)), {})
    assert made(REQUIRED, row(expires=NOW + SECOND))[0].authenticate(handshake({"x-api-key": KEY})).expires_at == NOW + SECOND


def test_row_that_cannot_be_read_grants_nothing_and_stops_no_other() -> None:
    for broken in (row(OTHER, instruments=("bad pattern",)), row(OTHER, rate_events="many")):
        authenticator, audit, _ = made(REQUIRED, broken, row())
        assert authenticator.authenticate(handshake({"x-api-key": KEY})).key_id == KEY_ID
        with pytest.raises(Unauthorized):
            authenticator.authenticate(handshake({"x-api-key": OTHER}))
        assert audit.reasons == ["revoked"]


def test_mode_decides_about_callers_without_a_credential() -> None:
    for mode in (OPTIONAL, OFF):
        access = made(mode, row())[0].authenticate(handshake())
        assert (access.anonymous, set(access.scopes), access.may_report("any")) == (True, {"read"}, False)
    assert made(OFF)[0].authenticate(handshake({"x-api-key": "bad"})).anonymous
    authenticator, audit, _ = made(REQUIRED, row())
    with pytest.raises(Unauthorized) as refusal:
        authenticator.authenticate(handshake())
    assert (refusal.value.sent, audit.reasons) == (False, ["no_credential"])
    with pytest.raises(Unauthorized):
        made(OPTIONAL)[0].authenticate(handshake({"x-api-key": "bad"}))


def test_before_the_first_read_credentials_cannot_be_checked() -> None:
    for mode, headers in ((REQUIRED, {}), (REQUIRED, {"x-api-key": KEY}), (OPTIONAL, {"x-api-key": KEY})):
        authenticator, audit, tables = made(mode)
        tables.table = None
        with pytest.raises(Refusal) as refusal:
            authenticator.authenticate(handshake(headers))
        assert (refusal.value.code, audit.reasons) == (ErrorCode.UNAVAILABLE, [])
    tables.table = None
    assert authenticator.authenticate(handshake()).anonymous


def test_revoked_tokens_are_refused() -> None:
    token = Access(frozenset({"read"}), anonymous().patterns, subject="ada", jti="7c1", issued_at=NOW)
    authenticator, _, tables = made(REQUIRED, token=token)
    auth = handshake(auth={"token": JWT})
    assert authenticator.authenticate(auth) is token
    for revoked, refused in (
        (token_row(jti="other"), False),
        (token_row(sub="eve", before=NOW + SECOND), False),
        (token_row(sub="ada", before=NOW), False),
        (token_row(jti="7c1"), True),
        (token_row(sub="ada", before=NOW + SECOND), True),
    ):
        tables.table = AccessTable().updated((), [revoked])
        if refused:
            with pytest.raises(Unauthorized):
                authenticator.authenticate(auth)
        else:
            assert authenticator.authenticate(auth) is token
    timeless = Access(frozenset(), anonymous().patterns, subject="ada")
    assert AccessTable().updated((), [token_row(sub="ada", before=NOW - SECOND)]).revokes(timeless)


def test_tokens_are_refused_without_a_verifier() -> None:
    with pytest.raises(Unauthorized):
        made(OPTIONAL)[0].authenticate(handshake(auth={"token": JWT}))


def test_change_of_the_table_reaches_its_listeners() -> None:
    tables, changes = Tables(), list[TableChange]()
    tables.listen(changes.append)
    tables.take([], [])
    assert tables.table == AccessTable()
    tables.take([row()], [])
    tables.take([row(scopes=("read",), changed=8)], [token_row(jti="7c1")])
    assert [(set(change.key_ids), set(change.jtis)) for change in changes] == [({KEY_ID}, set()), ({KEY_ID}, {"7c1"})]
    assert tables.table.changed == 9
    before, after = (table.by_id[KEY_ID].access for table in (changes[1].before, changes[1].after))
    known = frozenset({"EUR_USD", "BTCUSDT"})
    assert before.covers(after, known)
    assert not after.covers(before, known)
    assert anonymous().covers(before, known)
    assert not before.covers(anonymous(), known)
