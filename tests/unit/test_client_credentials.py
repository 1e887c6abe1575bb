"""The credential of the Python client: its forms, its header, its texts."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tickwire_client import Client, ConnectionFailed, Refused, Unauthorized, failures
from tickwire_client.credentials import Credentials, bearer, masked, protocol_log
from tickwire_client.failures import HttpAnswer, of_attempt, of_close, of_event, retry_after_of, spread

from tests.support.canned_http import serving

KEY = "tw_abcdefgh_" + "s" * 43
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("auth", "payload", "header"),
    [
        (None, None, None),
        (KEY, {"api_key": KEY}, f"Bearer {KEY}"),
        (JWT, {"token": JWT}, f"Bearer {JWT}"),
        (f"  {JWT}\n", {"token": JWT}, f"Bearer {JWT}"),
        ({"api_key": KEY}, {"api_key": KEY}, f"Bearer {KEY}"),
        ({"token": KEY}, {"token": KEY}, f"Bearer {KEY}"),
        ({"token": None, "scopes": ["read"]}, {"token": None, "scopes": ["read"]}, None),
    ],
)
def test_forms_of_a_credential(auth: Any, payload: Any, header: str | None) -> None:
    for given in (auth, lambda: auth):
        credentials = Credentials(given)
        assert (credentials.renew(), credentials.payload, bearer(credentials.for_rest())) == (payload, payload, header)


@pytest.mark.parametrize("auth", ["", " ", "a b", "é", "a\nb", "x" * 4097, 7, ["x"], {"token": 7}, {"api_key": "a b"}])
def test_value_that_is_no_credential_is_refused_without_its_text(auth: Any) -> None:
    with pytest.raises(ValueError, match=r"^auth ") as refused:
        Client(auth=auth)
    assert "a b" not in str(refused.value)
    with pytest.raises(ConnectionFailed) as failed:
        Credentials(lambda: auth).renew()
    assert failed.value.code == "auth_failed"


@pytest.mark.parametrize("name", ["api_key", "token", "access_token"])
def test_credential_in_an_address_is_refused(name: str) -> None:
    for url, rest in ((f"http://127.0.0.1:5001?{name}={KEY}", None), ("http://127.0.0.1:5001", f"http://127.0.0.1:5000?a=b&{name}=")):
        with pytest.raises(ValueError, match=f"use the argument auth, not {name}$"):
            Client(url, rest)


def test_replaced_credential_is_not_renewed_twice() -> None:
    calls = iter(["one", "two", "three"])
    credentials = Credentials(lambda: next(calls))
    first = credentials.for_rest()
    assert (first, credentials.for_rest()) == ({"token": "one"}, {"token": "one"})
    assert [credentials.renew(first) for _ in range(3)] == [{"token": "two"}] * 3
    assert credentials.renew() == {"token": "three"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY}.", "key tw_abcdefgh_***."),
        (f'0{{"token":"{JWT}"}}', '0{"token":"***"}'),
        (f"Bearer {JWT}, {KEY}", "Bearer ***, tw_abcdefgh_***"),
        ("eyes of EUR_USD, 1.2.3", "eyes of EUR_USD, 1.2.3"),
    ],
)
def test_masked_text(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_log_of_the_libraries_below_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, protocol_log.name)
    protocol_log.info("Sending packet %s data %s", "MESSAGE", f'0{{"token":"{JWT}"}}')
    assert caplog.messages == ['Sending packet MESSAGE data 0{"token":"***"}']


def test_repr_has_no_credential() -> None:
    for auth in (KEY, JWT, {"token": JWT}, lambda: KEY):
        credentials, client = Credentials(auth), Client(auth=auth)
        credentials.renew()
        assert (repr(credentials), repr(client)) == ("Credentials(***)", "Client('http://127.0.0.1:5001')")
    assert repr(Credentials(None)) == "Credentials(None)"


# failures


def test_refusal_of_connect_has_its_code_and_details() -> None:
    data = {"code": "unauthorized", "message": "A valid credential is needed.", "event": "connect", "details": {}}
    error = of_attempt("http://h", Exception(), [{"message": "unauthorized", "data": data}], None)
    assert isinstance(error, Unauthorized)
    assert (error.code, error.details, str(error)) == ("unauthorized", {}, "no connection to http://h: A valid credential is needed.")
    full = {"code": "server_full", "message": "Full.", "event": "connect", "details": {"max_clients": 1, "retry_after": 7.5}}
    error = of_attempt("http://h", Exception(), [{"message": "server_full", "data": full}], None)
    assert (type(error), error.retry_after, failures.is_permanent(error)) == (ConnectionFailed, 7.5, False)


@pytest.mark.parametrize(
    ("status", "text", "code", "retry_after", "message"),
    [
        (429, '{"code":3,"message":"Too many connections"}', "too_many_requests", 4.0, "Too many connections"),
        (401, '{"error":{"code":"unauthorized","message":"No.","details":{}}}', "unauthorized", 4.0, "No."),
        (503, '{"error":{"code":"server_full","message":"Full.","details":{"retry_after":9}}}', "server_full", 9.0, "Full."),
        (503, "<html>", "unavailable", 4.0, "HTTP 503"),
        (403, "[]", "forbidden", 4.0, "HTTP 403"),
    ],
)
def test_refused_handshake_has_the_code_of_its_body_or_status(status: int, text: str, code: str, retry_after: float, message: str) -> None:
    error = of_attempt("http://h", Exception(), [], HttpAnswer(status, {"retry-after": "4"}, text))
    assert (error.code, error.retry_after, str(error)) == (code, retry_after, f"no connection to http://h: {message}")


def test_other_answers_are_no_refusals() -> None:
    error = of_attempt("http://h", OSError("odd"), [], HttpAnswer(404, {}, ""))
    assert (error.code, str(error)) == (None, "no connection to http://h (odd)")


def test_reason_of_a_closed_connection() -> None:
    details = {"reason": "expired", "reconnect": False}
    error = of_event({"code": "unauthorized", "message": "No.", "event": "disconnect", "details": details})
    again = copy.copy(error)  # as each request raises it
    for each in (error, again):
        assert (str(each), each.details) == ("the hub closed the connection: No. (unauthorized; reason: expired)", details)
    assert isinstance(again, Unauthorized)
    assert isinstance(of_close(4401), Unauthorized)
    assert [of_close(code) for code in (None, 1000, 4429)] == [None] * 3


def test_time_to_wait_is_at_least_the_named_one() -> None:
    waits = [spread(8.0) for _ in range(100)]
    assert 8.0 <= min(waits) < max(waits) <= 10.0
    assert [retry_after_of(value) for value in ("3", 2.5)] == [3.0, 2.5]
    assert [retry_after_of(value) for value in ("Fri, 31 Dec 1999 23:59:59 GMT", None, -1, float("nan"), "inf")] == [None] * 5


# REST


@contextmanager
def answering(status: int, body: Any, **headers: str) -> Iterator[tuple[str, list[str | None]]]:
    """Answer every GET; yield the URL, and the received headers `Authorization`."""
    received: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers["Authorization"])
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
            return

    with serving(Handler) as address:
        yield f"http://{address}", received


def test_redirected_request_has_no_credential() -> None:
    with answering(200, {"symbols": [{}]}) as (target, second), answering(302, {}, Location=f"{target}/symbols") as (url, first):
        assert Client(rest_url=url, auth=KEY).symbols() == [{}]
    assert (first, second) == ([f"Bearer {KEY}"], [None])


def test_missing_right_is_refused_with_its_details() -> None:
    body = {"error": {"code": "forbidden", "message": "The scope 'read' is missing.", "details": {"scope": ["read"]}}}
    with answering(403, body) as (url, _), pytest.raises(Refused) as refused:
        Client(rest_url=url).symbols()
    assert (refused.value.code, refused.value.status, refused.value.details) == ("forbidden", 403, {"scope": ["read"]})
