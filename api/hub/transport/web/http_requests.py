"""The HTTP requests of Engine.IO: refusals, bodies and kept headers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Any

import orjson

from api.access.challenge import challenge
from api.access.credentials import CREDENTIAL_HEADERS
from api.access.model import KEPT_HEADERS, Handshake
from api.access.peers import Peers
from api.errors import HTTP_STATUS, Refusal, Unauthorized
from api.hub.transport.wire import WireError

_OF_UPGRADES = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")
_WSGI_NAMES = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in (*KEPT_HEADERS, *_OF_UPGRADES)}  # by the name in lower case
_CREDENTIALS = [(name, _WSGI_NAMES[name]) for name in CREDENTIAL_HEADERS]
_KEPT = [name for name in KEPT_HEADERS if name not in CREDENTIAL_HEADERS]
_BAD_REQUEST, _FORBIDDEN = 3, 4  # codes of Engine.IO


class Refused(Exception):
    """A refused request: the code of Engine.IO, a message, the HTTP status and more headers.

    `kind` is the media type of `body`, which has code and message unless it is given.
    """

    def __init__(
        self,
        code: int,
        message: str,
        status: str = "400 Bad Request",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        kind: str = "application/json",
    ) -> None:
        self.kind = kind
        self.body = orjson.dumps({"code": code, "message": message}) if body is None else body
        self.status = status
        self.headers = headers
        super().__init__(message)


def unknown_sid() -> Refused:
    """Return the refusal of a session that does not exist."""
    return Refused(1, "Session ID unknown")


def bad_request() -> Refused:
    """Return the refusal of a request that the protocol forbids."""
    return Refused(3, "Bad request")


def too_large() -> Refused:
    """Return the refusal of a body above the limit."""
    return Refused(3, "Payload too large", "413 Request Entity Too Large")


def failed() -> Refused:
    """Return the answer to a request after an error of ours."""
    return Refused(_BAD_REQUEST, "", "500 Internal Server Error", body=b"", kind="text/plain")


def refused(refusal: Refusal) -> Refused:
    """Return the refusal of a request by access control or by a limit of its address.

    The body has the error in our one shape too.
    """
    status = HTTPStatus(HTTP_STATUS[refusal.code])
    return Refused(_BAD_REQUEST, "", f"{status.value} {status.phrase}", refusal_headers(refusal), orjson.dumps(refusal_body(refusal)))


def answer_headers(kind: str, body: bytes, more: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers of every answer of Engine.IO; `kind` is the media type of the body."""
    return [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), *more]


def answer_bytes(answer: Refused, more: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the head and the body of an answer that does not pass through the HTTP server."""
    headers = answer_headers(answer.kind, answer.body, (*answer.headers, ("Date", _date(int(time.time()))), *more))
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"HTTP/1.1 {answer.status}\r\n{lines}\r\n".encode("latin-1") + answer.body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def refusal_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """Return the headers of a refusal over HTTP: the way to a right, or the time to wait."""
    headers = [] if (value := challenge(refusal)) is None else [("WWW-Authenticate", value)]
    if retry_after := refusal.details.get("retry_after"):
        headers.append(("Retry-After", str(max(1, ceil(retry_after)))))
    return headers


def refusal_body(refusal: Refusal) -> dict[str, Any]:
    """Return the body of a refusal over HTTP: the shape of Engine.IO, and ours in `error`."""
    code = _FORBIDDEN if isinstance(refusal, Unauthorized) else _BAD_REQUEST
    error = {"code": refusal.code.value, "message": str(refusal), "details": refusal.details}
    return {"code": code, "message": str(refusal), "error": error}


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """Return the body of a request. Raises `Refused`, and `WireError` if it is too large or cut."""
    text = environ.get("CONTENT_LENGTH") or str(limit + 1)
    if not text.isdigit():
        raise bad_request()
    size = min(int(text), limit + 1)  # one byte more than the limit detects a larger body
    try:
        body: bytes = environ["wsgi.input"].read(size)
    except (OSError, ValueError):
        raise WireError(1002, "the request ended within its body") from None
    environ.get("tickwire.body_complete", _nothing)()
    if len(body) > limit:
        raise WireError(1009, "payload too large")
    if environ.get("CONTENT_LENGTH") and len(body) < size:
        raise WireError(1002, "the request ended within its body")
    return body


def _nothing() -> None:
    """Replace the end of the body's time, on a server without one."""


def handshake_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of the request that a handshake needs, by their names in lower case."""
    return {name: environ[key] for name, key in _WSGI_NAMES.items() if key in environ}


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers that a session keeps: those without a credential."""
    return {name: headers[name] for name in _KEPT if name in headers}


def credential_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of the request that carry a credential; usually none."""
    return {name: environ[key] for name, key in _CREDENTIALS if key in environ}


def request_handshake(environ: Mapping[str, Any], peers: Peers) -> Handshake:
    """Return the facts about the caller of a route of the hub itself, such as `/hub/health`."""
    address = peers.client(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"))
    return Handshake("rest", address, credential_headers(environ))
