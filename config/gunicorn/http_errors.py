"""Answers of REST's worker to requests that never reach the application, in REST's error shape."""

from __future__ import annotations

import json

from gunicorn.http import errors

_HEAD = (
    "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
)
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}
_CODES = {500: "internal"}  # of other statuses: the reason
# exceptions of gunicorn's parser -> status and message; a later row is a more general one
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.LimitRequestLine, 414, "the request line is too long"),
    (errors.LimitRequestHeaders, 431, "the header fields are too many or too long"),
    (errors.ExpectationFailed, 417, "the only expectation that is met is 100-continue"),
    (errors.UnsupportedTransferCoding, 501, "the only transfer coding that is supported is chunked"),
    (errors.InvalidRequestLine, 400, "the request line is malformed"),
    (errors.InvalidRequestMethod, 400, "the method is malformed"),
    (errors.InvalidHTTPVersion, 400, "the HTTP version is not supported: use HTTP/1.1"),
    (errors.InvalidChunkSize, 400, "the chunked body is malformed"),
    (errors.ChunkMissingTerminator, 400, "the chunked body is malformed"),
    (errors.InvalidChunkExtension, 400, "the chunked body is malformed"),
    (errors.NoMoreData, 400, "the request ends too early"),
    (errors.ParseException, 400, "a header field is malformed"),
)


class RefusedRequest(Exception):
    """A request that is answered with an error, and its connection closed."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)

    def answer(self) -> bytes:
        """Return the whole answer, head and body."""
        reason = _REASONS[self.status]
        code = _CODES.get(self.status) or reason.lower().replace(" ", "_")
        body = json.dumps({"error": {"code": code, "message": str(self), "details": {}}}, separators=(",", ":"))
        return (_HEAD.format(status=self.status, reason=reason, length=len(body)) + body).encode("ascii")


def refusal(error: Exception) -> RefusedRequest:
    """Return the refusal for an exception of gunicorn's parser."""
    for kind, status, message in _KINDS:
        if isinstance(error, kind):
            return RefusedRequest(status, message)
    raise error
