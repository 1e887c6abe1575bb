"""The credential of a handshake, checked before its request is parsed.

An application that sees a request needs an environment, and the request passes several layers of
it, which costs several times as much as the check. So guessed credentials stay cheap.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qs

from api.access.credentials import CREDENTIAL_HEADERS, REFUSED_ARGUMENTS
from api.access.hosts import Hosts, Origins
from api.access.model import Presented
from api.access.peers import Peers
from api.errors import Refusal, Unauthorized
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.head import Head, read_head
from api.hub.transport.web.http_requests import Refused, answer_headers, refused

_MAX_REMEMBERED = 64  # query strings
_TARGET = "/socket.io/?"
_handshake = re.compile(rb"GET (/socket\.io/\?[\w=&.-]+) HTTP/1\.1\r\n").fullmatch
_has_credential = re.compile(rb"\n(?:authorization|x-api-key)\b", re.IGNORECASE).search
_OF_BODIES = frozenset({"content-length", "transfer-encoding", "expect", "content-type"})


class Early(NamedTuple):
    """The result of a check: the rights of the request and its head, or the answer to it."""

    presented: Presented | None
    target: str
    head: Head  # without the credential
    closes: bool  # the connection, after the answer
    answer: bytes = b""


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
        if handshake is None or not _has_credential(b"\n" + head):
            return None
        target = handshake[1].decode()
        transport, read = _transport(target), read_head(head)
        if transport is None or read is None:
            return None
        values = read.values
        carriers = [name for name in CREDENTIAL_HEADERS if name in values]
        if len(carriers) != 1:
            return None
        [name] = carriers
        closes = values.get("connection", "").lower() == "close"
        try:
            presented = self._credentials.authenticate(transport, self._address(peer, values), {name: values[name]})
        except Refusal as refusal:
            return self._refuse(refusal, read, local, closes)
        if presented is None or not _OF_BODIES.isdisjoint(values):
            return None
        return Early(presented, target, read.without(name), closes)

    def _address(self, peer: str, values: Mapping[str, str]) -> str:
        return self._peers.client(peer, values.get("x-forwarded-for"))

    def _refuse(self, refusal: Refusal, head: Head, local: Callable[[], str], closes: bool) -> Early | None:
        """Return the answer to a request from an allowed host and origin; None for another one."""
        host, origin = head.get("host"), head.get("origin")
        if not self._hosts.allow(host, local()) or (origin is not None and not self._origins.allow(origin, host)):
            return None
        closes = closes or not _OF_BODIES.isdisjoint(head.values)  # a body is not read
        usual = isinstance(refusal, Unauthorized) and refusal.sent
        more = [] if origin is None else self._origins.headers(origin)
        answer = _bytes_of(self._unauthorized if usual else refused(refusal), [*more, ("Connection", "close")] if closes else more)
        return Early(None, "", head, closes, answer)


def _bytes_of(answer: Refused, more: Sequence[tuple[str, str]]) -> bytes:
    headers = answer_headers("application/json", answer.body, (*answer.headers, ("Date", _date(int(time.time()))), *more))
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"HTTP/1.1 {answer.status}\r\n{lines}\r\n".encode("latin-1") + answer.body


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _transport(target: str) -> str | None:
    """Return the transport of a handshake; None for a query that is no plain handshake."""
    given = {name: values[0] for name, values in parse_qs(target.removeprefix(_TARGET)).items()}
    if given.get("EIO") != "4" or "sid" in given or not REFUSED_ARGUMENTS.isdisjoint(given):
        return None
    transport = given.get("transport")
    return transport if transport in ("polling", "websocket") else None
