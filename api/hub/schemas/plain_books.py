"""The messages of `/ws` in the AsyncAPI document."""

from __future__ import annotations

from typing import Any, NamedTuple

from marshmallow import Schema

from api.access.model import OBSERVE, OPEN, READ
from api.schemas.books import HeartbeatMessage, InternalOrderbook, OrderbookLevel, ServerStatus, WebSocketMessage

CHANNEL, ADDRESS = "books", "/ws"
SCHEMAS: tuple[type[Schema], ...] = (OrderbookLevel, InternalOrderbook, HeartbeatMessage, ServerStatus, WebSocketMessage)
_TEXT, _NUMBER = {"type": "string"}, {"type": ["number", "null"]}
_ALERT = {
    "type": "object",
    "required": ["severity", "code", "message", "symbol", "value", "threshold"],
    "properties": {
        "severity": {"enum": ["warning", "critical"]},
        "code": {**_TEXT, "description": "The reason of a book's state, or `queue`, `lag`, `books` or `heartbeat`"},
        "message": _TEXT,
        "symbol": {"type": ["string", "null"]},
        "value": _NUMBER,
        "threshold": _NUMBER,
    },
}
_ERROR = {
    "type": "object",
    "required": ["code", "message", "details"],
    "properties": {"code": _TEXT, "message": _TEXT, "details": {"type": "object"}},
}


class _Row(NamedTuple):
    summary: str
    scope: str
    payload: dict[str, Any]


def _enveloped(kind: str, data: type[Schema] | dict[str, Any]) -> dict[str, Any]:
    content = data if isinstance(data, dict) else {"$ref": f"#/components/schemas/{data.__name__}"}
    narrowed = {"properties": {"type": {"const": kind}, "data": content}}
    return {"allOf": [{"$ref": f"#/components/schemas/{WebSocketMessage.__name__}"}, narrowed]}


def _own(kind: str, **fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": ["type", *fields], "properties": {"type": {"const": kind}, **fields}}


_SENT = {
    "orderbook": _Row("A book, complete in itself", READ, _enveloped("orderbook", InternalOrderbook)),
    "heartbeat": _Row("Sign of life of the process `books`", OBSERVE, _enveloped("heartbeat", HeartbeatMessage)),
    "status": _Row("First frame, then each change of `status` or `current_scenario`", OBSERVE, _enveloped("status", ServerStatus)),
    "alert": _Row("A book leaves `live`, or the status becomes worse", OBSERVE, _enveloped("alert", _ALERT)),
    "gap_notice": _Row(
        "Books that a slow client did not receive",
        READ,
        _own("gap_notice", dropped={"type": "object", "additionalProperties": {"type": "integer"}}, reason={"const": "slow_consumer"}),
    ),
    "error": _Row("A refused frame, or the end of the connection", OPEN, _own("error", error=_ERROR)),
}
_PING = _Row("Request for a sign of life", READ, _own("ping"))
_PONG = _Row("The answer to `ping`", READ, _own("pong", timestamp={**_TEXT, "format": "date-time"}, data={"type": "object"}))
_ROWS = {**_SENT, "ping": _PING, "pong": _PONG}


def server(host: str) -> dict[str, Any]:
    """Return the server of the document."""
    return {
        "host": "{host}",
        "pathname": ADDRESS,
        "protocol": "ws",
        "description": "Order books for any WebSocket client. Options of the URL: `symbols`, `depth`. "
        "`auth:TOKEN` is the first frame of a client that cannot set a header",
        "variables": {"host": {"default": host, "description": "Behind a proxy, the address of the proxy"}},
    }


def channel() -> dict[str, Any]:
    """Return the channel of the document."""
    return {
        "address": ADDRESS,
        "title": "Order books over a plain WebSocket",
        "servers": [{"$ref": f"#/servers/{CHANNEL}"}],
        "messages": {name: {"$ref": f"#/components/messages/{CHANNEL}.{name}"} for name in _ROWS},
    }


def messages() -> dict[str, Any]:
    """Return the messages among the components of the document."""
    return {f"{CHANNEL}.{name}": {"name": name, "summary": row.summary, "payload": row.payload} for name, row in _ROWS.items()}


def operations() -> dict[str, Any]:
    """Return the operations of the document, from the side of the hub."""
    ping = {"action": "receive", **_uses("ping"), "reply": _uses("pong")}
    sent = {f"{CHANNEL}.{name}": {"action": "send", **_uses(name), **_scope(row)} for name, row in _SENT.items()}
    return {f"{CHANNEL}.ping": ping, **sent}


def _uses(name: str) -> dict[str, Any]:
    return {"channel": {"$ref": f"#/channels/{CHANNEL}"}, "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"}]}


def _scope(row: _Row) -> dict[str, str]:
    return {"x-scope": row.scope} if row.scope else {}
