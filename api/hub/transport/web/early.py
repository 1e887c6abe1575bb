"""The credential of a handshake, checked before its request is parsed.

A parsed request has an environment and passes the whole application, which costs several times as
much as the check. So guessed credentials stay cheap.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qs

from api.access.credentials import REFUSED_ARGUMENTS
from api.access.hosts import Hosts, Origins
from api.access.model import Presented
from api.access.peers import Peers
from api.errors import Refusal, Unauthorized
from api.hub.transport.http_requests import Refused, refused
from api.hub.transport.web.credentials import RequestCredentials

_MAX_REMEMBERED = 64  # query strings
_handshake = re.compile(rb"GET /socket\.io/\?([\w=&.-]+) HTTP/1\.1\r\n").fullmatch
# The first line of a head gets a line feed before it.
_credential = re.compile(rb"\n(authorization|x-api-key)(:[^\r\n]*)?", re.IGNORECASE).search
_forwarded = re.compile(rb"\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE).findall
_fields = re.compile(rb"\n(host|origin|connection|content-length|transfer-encoding|expect):([^\r\n]*)", re.IGNORECASE).findall


class Early(NamedTuple):
    """The result of a check: the rights, and the head without the credential; or an answer."""

    presented: Presented | None
    head: bytes
    answer: bytes = b""
    closes: bool = False  # the connection, after the answer


class EarlyCredentials:
    """Checks the credential in the head of a handshake, if its request is a usual one.

    Every other request takes the way through the application, which has the same checks.
    """

    def __init__(self, credentials: RequestCredentials, peers: Peers, hosts: Hosts, origins: Origins) -> None:
        self._credentials = credentials
        self._peers = peers
        self._hosts = hosts
        self._origins = origins
        self._unauthorized = refused(Unauthorized("", sent=True))

    def check(self, line: bytes, head: bytes, peer: str, local: Callable[[], str]) -> Early | None:
        """Return the result for a request; None if the application must decide.

        `head` has the lines after the request line, and the empty line. `peer` is the address of
        the client's end of the connection, `local()` that of ours.
        """
        handshake = _handshake(line)
        transport = _transport(handshake[1]) if handshake else None
        if transport is None:
            return None
        text = b"\n" + head
        field = _only_credential(text)
        if field is None:
            return None
        try:
            headers = {field[1].lower().decode(): _value(field[2][1:])}
            presented = self._credentials.authenticate(transport, self._address(peer, text), headers)
        except Refusal as refusal:
            return self._refuse(refusal, text, local)
        return None if presented is None else Early(presented, text[1 : field.start() + 1] + text[field.end() + 2 :])

    def _address(self, peer: str, text: bytes) -> str:
        return self._peers.client(peer, ",".join(map(_value, _forwarded(text)))) if self._peers.is_proxy(peer) else peer

    def _refuse(self, refusal: Refusal, text: bytes, local: Callable[[], str]) -> Early | None:
        """Return the answer to a request from an allowed host and origin; None for another one."""
        fields = {name.lower(): _value(value) for name, value in _fields(text)}
        host, origin = fields.get(b"host"), fields.get(b"origin")
        if not self._hosts.allow(host, local()) or (origin is not None and not self._origins.allow(origin, host)):
            return None
        # A body is not read.
        closes = fields.get(b"connection", "").lower() == "close" or not fields.keys() <= {b"host", b"origin", b"connection"}
        is_plain = isinstance(refusal, Unauthorized) and refusal.sent
        answer = self._unauthorized if is_plain else refused(refusal)
        more = [] if origin is None else self._origins.headers(origin)
        return Early(None, b"", _bytes_of(answer, [*more, ("Connection", "close")] if closes else more), closes)


def _only_credential(text: bytes) -> re.Match[bytes] | None:
    """Return the one credential of a head; None without one, with several, or for odd lines."""
    field = _credential(text)
    if field is None or field[2] is None or _credential(text, field.end()) is not None:
        return None
    lines = text.count(b"\r\n")
    plain = lines == text.count(b"\r") == text.count(b"\n") - 1 and text[field.end() + 2 : field.end() + 3] not in (b" ", b"\t")
    return field if plain else None


def _bytes_of(answer: Refused, more: list[tuple[str, str]]) -> bytes:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer.body))), ("Cache-Control", "no-store")]
    headers += [*answer.headers, ("Date", _date(int(time.time()))), *more]
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    return f"HTTP/1.1 {answer.status}\r\n{''.join(lines)}\r\n".encode("latin-1") + answer.body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _transport(query: bytes) -> str | None:
    """Return the transport of a handshake; None for a query that is no plain handshake."""
    given = {name: values[0] for name, values in parse_qs(query.decode()).items()}
    if given.get("EIO") != "4" or "sid" in given or not REFUSED_ARGUMENTS.isdisjoint(given):
        return None
    transport = given.get("transport")
    return transport if transport in ("polling", "websocket") else None


def _value(raw: bytes) -> str:
    return raw.strip(b" \t").decode("latin-1")
