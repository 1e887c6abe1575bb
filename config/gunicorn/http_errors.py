"""Answers of REST's worker to requests that never reach the application, in REST's error shape."""

from __future__ import annotations

from http import HTTPStatus

from gunicorn.http import errors

from config.http_errors import error_answer
from config.request_ids import HEADER

_HEADERS = ("Cache-Control: no-store", "X-Content-Type-Options: nosniff")
_RETRY_SECONDS = 2
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

    def answer(self, request_id: str) -> bytes:
        """Return the whole answer, head and body."""
        more = (f"Retry-After: {_RETRY_SECONDS}",) if self.status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        return error_answer(self.status, str(self), f"{HEADER}: {request_id}", *_HEADERS, *more)


def refusal(error: Exception) -> RefusedRequest:
    """Return the refusal for an exception of gunicorn's parser."""
    for kind, status, message in _KINDS:
        if isinstance(error, kind):
            return RefusedRequest(status, message)
    raise error
