"""Errors of the hub's HTTP server itself: in the one error shape, without the header `Server`."""

from __future__ import annotations

import re
from typing import Any

import orjson

from api.errors import http_error_body

# status -> reason and message
_TEXTS = {
    400: ("Bad Request", "the request is malformed"),
    408: ("Request Timeout", "the request did not arrive in time"),
    414: ("Request URI Too Long", "the request line is too long"),
    431: ("Request Header Fields Too Large", "the header fields are too many or too long"),
    429: ("Too Many Requests", "this address has too many connections"),
    505: ("HTTP Version Not Supported", "the HTTP version is not supported: use HTTP/1.1"),
}
_raw_error = re.compile(rb"HTTP/1\.0 (4\d\d) ([^\r\n]*)\r\n").match


def error_answer(status: int, retry_after: int | None = None) -> bytes:
    """Return a whole answer, head and body; an unknown status counts as 400.

    `retry_after` is in seconds.
    """
    status = status if status in _TEXTS else 400
    reason, message = _TEXTS[status]
    body = orjson.dumps(http_error_body(reason.lower().replace(" ", "_"), message))
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    head = "\r\n".join([*lines, "", ""])
    return head.encode("ascii") + body


class JsonErrors:
    """Goes before eventlet's `HttpProtocol`, and replaces its answers to malformed requests.

    eventlet passes some of them to `wfile.write`, as bytes of HTTP/1.0, and others to `send_error`.
    It writes the answers of the application with `wfile.writelines`.
    """

    wfile: Any
    close_connection: bool

    def setup(self) -> None:
        """Open the files of the connection."""
        super().setup()  # type: ignore[misc]
        self.wfile = _ErrorFile(self.wfile)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the error; the standard library calls it for heads that it cannot read."""
        self.wfile.write(error_answer(int(code)))
        self.close_connection = True


class _ErrorFile:
    """A file of a connection that writes eventlet's own errors in our shape."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        """Write bytes."""
        if error := _raw_error(data):
            data = error_answer(431 if b"Header" in error[2] else int(error[1]))
        return int(self._file.write(data))
