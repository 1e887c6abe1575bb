"""Errors over HTTP in the one shape, and whole answers for requests that no application sees."""

from __future__ import annotations

from typing import Any

import orjson

_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    411: "Length Required",
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_CODES = {500: "internal", 503: "unavailable"}  # of other statuses: the reason


def http_error_body(code: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the body of an error over HTTP."""
    return {"error": {"code": code, "message": message, "details": details or {}}}


def error_answer(status: int, message: str, *headers: str) -> bytes:
    """Return a whole answer, head and body, after which the connection ends.

    `headers` are further lines of the head.
    """
    reason = _REASONS[status]
    code = _CODES.get(status) or reason.lower().replace(" ", "_")
    body = orjson.dumps(http_error_body(code, message))
    head = (f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join([*head, "Connection: close", "", ""]).encode("ascii") + body
