"""The facts of a request that opens a session, and the reading of a usual WebSocket handshake."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from api.access.model import Presented
from api.hub.transport.web.head import read_head
from api.hub.transport.web.http_requests import handshake_headers
from api.hub.transport.websocket import is_upgrade

PRESENTED = "tickwire.presented"  # in an environment: the result of an earlier check
OF_BODIES = frozenset({"content-length", "transfer-encoding", "expect", "content-type"})

_END_OF_HEAD = b"\r\n\r\n"
_MAX_REMEMBERED = 64  # query strings
_request_line = re.compile(rb"GET /socket\.io/\?([\w=&.-]+) HTTP/1\.1\r\n").match
_USUAL_BYTES = bytes([*b"\t\r\n", *range(32, 127)])  # of a head


class Opening(NamedTuple):
    """A request that opens a session over `transport`.

    `headers` has names in lower case: the kept ones and those of a WebSocket handshake. `peer` is
    the address of the client's end of the connection, `local()` that of ours. `presented` is the
    result of an earlier check of the credential, which `headers` then lack.
    """

    transport: str
    query: str
    headers: Mapping[str, str]
    peer: str
    local: Callable[[], str]
    presented: Presented | None = None


def opening_of(environ: Mapping[str, Any], transport: str) -> Opening:
    """Return the facts of a request in the form of WSGI."""
    query, peer = environ.get("QUERY_STRING", ""), environ.get("REMOTE_ADDR", "")
    return Opening(transport, query, handshake_headers(environ), peer, lambda: environ.get("SERVER_NAME", ""), environ.get(PRESENTED))


def opens_websocket(environ: Mapping[str, Any]) -> bool:
    """Return True for a WebSocket handshake that opens a session, in the form of WSGI."""
    usual = environ["REQUEST_METHOD"] == "GET" and _names_websocket(environ.get("QUERY_STRING", ""))
    return usual and is_upgrade(handshake_headers(environ))


def read_opening(data: bytes, peer: str, local: Callable[[], str]) -> tuple[Opening, int] | None:
    """Return the WebSocket handshake that `data` begins with, and the length of its head.

    None for every other request: one of another kind, one that is incomplete, and one with an
    unusual line, which the HTTP server reads.
    """
    line = _request_line(data)
    if line is None or not _names_websocket(query := line[1].decode()):
        return None
    end = data.find(_END_OF_HEAD, line.end()) + len(_END_OF_HEAD)
    if end < len(_END_OF_HEAD) or data[:end].translate(None, _USUAL_BYTES):
        return None
    head = read_head(data[line.end() : end])
    if head is None or not OF_BODIES.isdisjoint(head.values) or not is_upgrade(head.values):
        return None
    return Opening("websocket", query, head.values, peer, local), end


@lru_cache(maxsize=_MAX_REMEMBERED)
def arguments_of(query: str) -> Mapping[str, str]:
    """Return the first value of each argument of a query string."""
    return {name: values[0] for name, values in parse_qs(query).items()}


def _names_websocket(query: str) -> bool:
    arguments = arguments_of(query)
    return arguments.get("transport") == "websocket" and "sid" not in arguments
