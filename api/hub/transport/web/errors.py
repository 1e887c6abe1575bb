"""Errors of the hub's HTTP server itself: in the one error shape, without the header `Server`."""

from __future__ import annotations

import re
from typing import Any

from config.http_errors import error_answer

# status -> message
_MESSAGES = {
    400: "the request is malformed",
    408: "the request did not arrive in time",
    414: "the request line is too long",
    431: "the header fields are too many or too long",
    429: "this address has too many connections",
    505: "the HTTP version is not supported: use HTTP/1.1",
}
_raw_error = re.compile(rb"HTTP/1\.0 (4\d\d) ([^\r\n]*)\r\n").match


def request_error(status: int, retry_after: int | None = None) -> bytes:
    """Return a whole answer, head and body; an unknown status counts as 400.

    `retry_after` is in seconds.
    """
    status = status if status in _MESSAGES else 400
    return error_answer(status, _MESSAGES[status], *([] if retry_after is None else [f"Retry-After: {retry_after}"]))


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
        self.wfile.write(request_error(int(code)))
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
            data = request_error(431 if b"Header" in error[2] else int(error[1]))
        return int(self._file.write(data))
