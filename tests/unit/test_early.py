"""The check of a credential before a request is parsed, and the reading of its head."""

from __future__ import annotations

import http.client
import io
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.access.audit import AuditCounts
from api.access.authenticator import CallerAuthenticator
from api.access.hosts import Hosts, Origins
from api.access.model import anonymous
from api.access.peers import Peers
from api.access.table import AccessTable, Tables
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.early import Early, EarlyCredentials
from api.hub.transport.web.head import read_head
from config.access.keys import digest_of, new_key
from config.access.modes import REQUIRED
from db.api_keys import ApiKey
from tests.support.access import UNKNOWN_KEY

NOW = datetime(2026, 3, 2, tzinfo=UTC)
KEY_ID, KEY = new_key()
LINE = b"GET /socket.io/?EIO=4&transport=polling&t=Pf_1.x HTTP/1.1\r\n"
PLAIN = {"Host": "127.0.0.1:5001", "User-Agent": "a client", "Connection": "keep-alive"}

_names = st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True)
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


def head_of(fields: Mapping[str, str]) -> bytes:
    return "".join([*(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]).encode("latin-1")


def make(peers: Peers | None = None, origins: tuple[str, ...] = ()) -> tuple[EarlyCredentials, AuditCounts]:
    row = ApiKey(KEY_ID, "a bot", digest_of(KEY), ("read",), ("*",), (), None, None, None, NOW, "ada")
    audit = AuditCounts("hub", lambda: NOW)
    authenticator = CallerAuthenticator(REQUIRED, anonymous(), Tables(AccessTable().updated([row], [])), lambda: NOW, audit)
    return EarlyCredentials(RequestCredentials(authenticator), peers or Peers(), Hosts(["hub.example"]), Origins(origins)), audit


def check(fields: Mapping[str, str], *, line: bytes = LINE, tail: bytes = b"", peers: Peers | None = None) -> Early | None:
    """Check a head; `tail` are further bytes before its empty line."""
    early, _ = make(peers, ("https://app.example",))
    return early.check(line, head_of(fields)[:-2] + tail + b"\r\n", "192.0.2.1", lambda: "127.0.0.1")


@given(st.dictionaries(_names, _values, min_size=1, max_size=8))
@settings(max_examples=100)
def test_plain_head_is_read_as_the_standard_library_reads_it(fields: dict[str, str]) -> None:
    data, read = head_of(fields), read_head(head_of(fields))
    if read is None:
        assert len({name.lower() for name in fields}) < len(fields)
        return
    expected = http.client.parse_headers(io.BytesIO(data))
    for name in (*fields, "Other"):
        assert read.get(name, "-") == (expected.get(name) or ("-" if name not in fields else "")).strip(" \t")
    assert [name for name, _ in read._headers] == expected.keys()


@pytest.mark.parametrize(
    "head",
    [
        b"A: b\r\n c\r\n\r\n",
        b"A: b\n\r\n",
        b"A: b\nB: c\r\n\r\n",
        b"A: b\rB: c\r\n\r\n",
        b"A: b\r\na: c\r\n\r\n",
        b"A b\r\n\r\n",
        b"A : b\r\n\r\n",
        b"A_B: c\r\n\r\n",
        b": b\r\n\r\n",
        b"\xe9: b\r\n\r\n",
        b"\r\n\r\n",
        b"".join(b"A%d: b\r\n" % number for number in range(101)) + b"\r\n",
    ],
)
def test_head_with_an_odd_line_is_left_to_the_standard_library(head: bytes) -> None:
    assert read_head(head) is None


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-API-Key"])
def test_good_credential_is_taken_out_of_the_head(name: str) -> None:
    result = check({**PLAIN, name: KEY if name == "X-API-Key" else f"Bearer {KEY}"})
    assert result is not None
    assert result.presented is not None
    assert (result.presented.access.key_id, result.presented.digest) == (KEY_ID, digest_of(KEY))
    assert (result.target, result.answer, result.closes) == ("/socket.io/?EIO=4&transport=polling&t=Pf_1.x", b"", False)
    assert result.head.values == {each.lower(): value for each, value in PLAIN.items()}
    assert result.head._headers == list(PLAIN.items())


def answer_of(result: Early | None) -> tuple[int, dict[str, str], bytes]:
    assert result is not None
    assert result.presented is None
    line, _, rest = result.answer.partition(b"\r\n")
    headers = http.client.parse_headers(io.BytesIO(rest))
    body = rest.partition(b"\r\n\r\n")[2]
    assert int(headers["Content-Length"]) == len(body)
    return int(line.split()[1]), {name.lower(): value for name, value in headers.items()}, body


@pytest.mark.parametrize("credential", [UNKNOWN_KEY, "short", "a.b.c", ""])
def test_bad_credential_is_answered(credential: str) -> None:
    status, headers, body = answer_of(check({**PLAIN, "Authorization": f"Bearer {credential}"}))
    assert (status, orjson.loads(body)["error"]["code"]) == (401, "unauthorized")
    assert headers["www-authenticate"] == 'Bearer realm="tickwire", error="invalid_token"'
    assert headers["cache-control"] == "no-store"
    assert "date" in headers
    assert "connection" not in headers
    assert "access-control-allow-origin" not in headers


def test_page_of_an_allowed_origin_can_read_the_answer() -> None:
    _, headers, _ = answer_of(check({**PLAIN, "X-API-Key": UNKNOWN_KEY, "Origin": "https://app.example"}))
    assert headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize("field", [("Connection", "close"), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")])
def test_connection_ends_after_the_answer_if_the_client_wants_it_or_sends_a_body(field: tuple[str, str]) -> None:
    result = check({**PLAIN, field[0]: field[1], "X-API-Key": UNKNOWN_KEY})
    _, headers, _ = answer_of(result)
    assert result is not None
    assert result.closes
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, LINE),
        ({"X-API-Key": KEY, "Authorization": f"Bearer {KEY}"}, LINE),
        ({"X-API-Key": KEY, "Content-Length": "5"}, LINE),
        ({"X-API-Key": UNKNOWN_KEY, "Host": "evil.example"}, LINE),
        ({"X-API-Key": UNKNOWN_KEY, "Origin": "https://evil.example"}, LINE),
        ({"X-API-Key": UNKNOWN_KEY, "X_Odd": "1"}, LINE),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"&t=", b"&sid=")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"&t=", b"&token=")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"EIO=4", b"EIO=3")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"EIO=4", b"EI%4f=4")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"=polling", b"=websocket")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"GET", b"POST")),
        ({"X-API-Key": UNKNOWN_KEY}, LINE.replace(b"HTTP/1.1", b"HTTP/1.0")),
        ({"X-API-Key": UNKNOWN_KEY}, b"GET /hub/health HTTP/1.1\r\n"),
    ],
    ids=range(14),
)
def test_application_decides_about_other_requests(fields: dict[str, str], line: bytes) -> None:
    assert check({**PLAIN, **fields}, line=line) is None


@pytest.mark.parametrize("tail", [b" folded\r\n", b"X-API-Key: other\n", b"A: b\rX-API-Key: other\r\n", b"x-api-key:other\r\n"])
def test_second_credential_cannot_hide_in_an_odd_line(tail: bytes) -> None:
    assert check({**PLAIN, "X-API-Key": KEY}, tail=tail) is None


def test_refusal_is_counted_for_the_client_of_a_trusted_proxy() -> None:
    early, audit = make(Peers(["192.0.2.1"]))
    for peer in ("192.0.2.1", "192.0.2.2"):
        fields = {**PLAIN, "X-API-Key": UNKNOWN_KEY, "X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
        assert early.check(LINE, head_of(fields), peer, lambda: "127.0.0.1") is not None
    assert {event.ip for event in audit.take_refusals(all_of_them=True)} == {"203.0.113.9", "192.0.2.2"}
