"""The credential of a polling handshake, checked before its request is parsed.

An application that sees a request needs an environment, and the request passes several layers of
it, which costs several times as much as the check. So guessed credentials stay cheap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from api.access.credentials import CREDENTIAL_HEADERS, REFUSED_ARGUMENTS
from api.access.hosts import Hosts, Origins
from api.access.model import Presented
from api.access.peers import Peers
from api.errors import Refusal, Unauthorized
from api.hub.transport.web.credentials import RequestCredentials
from api.hub.transport.web.head import Head, read_head
from api.hub.transport.web.http_requests import answer_bytes, refused
from api.hub.transport.web.opening import OF_BODIES, arguments_of

_TARGET = "/socket.io/?"
_POLLING = "polling"
_handshake = re.compile(rb"GET (/socket\.io/\?[\w=&.-]+) HTTP/1\.1\r\n").fullmatch
_has_credential = re.compile(rb"\n(?:authorization|x-api-key)\b", re.IGNORECASE).search


class Early(NamedTuple):
    """The result of a check: the rights of the request and its head, or the answer to it."""

    presented: Presented | None
    target: str
    head: Head  # without the credential
    closes: bool  # the connection, after the answer
    answer: bytes = b""


class EarlyCredentials:
    """Checks the credential in the head of a polling handshake, if its request is a usual one.

    Every other request takes the way through the application, which has the same checks.
    WebSocket handshakes have a way of their own (`handshakes.py`).
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
        read = read_head(head) if _is_polling(target) else None
        if read is None:
            return None
        values = read.values
        carriers = [name for name in CREDENTIAL_HEADERS if name in values]
        if len(carriers) != 1:
            return None
        [name] = carriers
        closes = values.get("connection", "").lower() == "close"
        try:
            presented = self._credentials.authenticate(_POLLING, self._address(peer, values), {name: values[name]})
        except Refusal as refusal:
            return self._refuse(refusal, read, local, closes)
        if presented is None or not OF_BODIES.isdisjoint(values):
            return None
        return Early(presented, target, read.without(name), closes)

    def _address(self, peer: str, values: Mapping[str, str]) -> str:
        return self._peers.client(peer, values.get("x-forwarded-for"))

    def _refuse(self, refusal: Refusal, head: Head, local: Callable[[], str], closes: bool) -> Early | None:
        """Return the answer to a request from an allowed host and origin; None for another one."""
        host, origin = head.get("host"), head.get("origin")
        if not self._hosts.allow(host, local) or (origin is not None and not self._origins.allow(origin, host)):
            return None
        closes = closes or not OF_BODIES.isdisjoint(head.values)  # a body is not read
        usual = isinstance(refusal, Unauthorized) and refusal.sent
        more = [] if origin is None else self._origins.headers(origin)
        answer = answer_bytes(self._unauthorized if usual else refused(refusal), [*more, ("Connection", "close")] if closes else more)
        return Early(None, "", head, closes, answer)


def _is_polling(target: str) -> bool:
    """Return True for the target of a plain handshake over polling."""
    given = arguments_of(target.removeprefix(_TARGET))
    plain = given.get("EIO") == "4" and "sid" not in given and REFUSED_ARGUMENTS.isdisjoint(given)
    return plain and given.get("transport") == _POLLING
