"""The bytes of one connection, joined to complete requests. No I/O."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from typing import IO, Any

from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

from config.gunicorn.http_errors import RefusedRequest, refusal
from config.gunicorn.uploads import Upload, is_upload

log = logging.getLogger("rest.worker")

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024
_MAX_CHUNKED_BYTES = 2 * MAX_BODY_BYTES  # of a chunked body with its framing
_MAX_LINE_BYTES = 8190
_END = b"\r\n\r\n"
_bare_line_feed = re.compile(rb"(?<!\r)\n")
_is_chunk_size = re.compile(rb"[0-9A-Fa-f]+").fullmatch


class RequestReader:
    """Takes bytes as they arrive, in pieces of any size; returns requests with their bodies.

    gunicorn's parser reads each head once, after the head is complete. A body is read whole before
    the request is returned, so that the application never waits for a client. It is in memory; an
    upload is in a file without a name. `peer` is the address of the client as `accept` returns it.
    """

    def __init__(self, config: Any, peer: Any) -> None:
        self._config = config
        self._peer = peer
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer in which the head does not end
        self._request: Any = None  # whose body is incomplete
        self._chunk = 0  # position of the next chunk-size line
        self._body_bytes = 0  # of all chunks so far
        self._requests = 0
        self.is_upload = False  # the last request is an upload
        self._upload: Upload | None = None  # its body, while it arrives
        self.continue_due = False  # the client waits for `100 Continue` before it sends the body

    @property
    def started(self) -> bool:
        """True if a request has begun to arrive."""
        return bool(self._buffer) or self._request is not None

    @property
    def in_body(self) -> bool:
        """True if a head is complete, but its body is not."""
        return self._request is not None

    @property
    def in_upload(self) -> bool:
        """True while the body of an upload arrives."""
        return self._upload is not None

    def close(self) -> None:
        """Drop the part of an upload that has arrived."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.close()

    def feed(self, data: bytes) -> None:
        """Append bytes of the client."""
        self._buffer += data

    def next_request(self) -> Any:
        """Return the next complete request (a gunicorn `Request`), or None until it is complete.

        Raises `RefusedRequest`; the connection is then of no further use.
        """
        try:
            if self._request is None and not self._read_head():
                return None
            body = self._read_body()
        except (ParseException, NoMoreData) as error:
            raise refusal(error) from error
        except RefusedRequest:
            raise
        except Exception:  # of one client, so that the worker goes on
            log.exception("failed to parse a request")
            raise RefusedRequest(400, "the request is malformed") from None
        if body is None:
            return None
        request, self._request = self._request, None
        request.body = io.BytesIO(body) if isinstance(body, bytes) else body
        self.continue_due = False
        return request

    def _read_head(self) -> bool:
        end = self._buffer.find(_END, max(0, self._searched - len(_END) + 1))
        if end < 0:
            if self._is_hopeless():
                with contextlib.suppress(NoMoreData):
                    self._parse(bytes(self._buffer))  # usually raises a fitting error
                raise RefusedRequest(431, "the header fields are too many or too long")
            self._searched = len(self._buffer)
            return False
        if end > MAX_HEAD_BYTES:
            raise RefusedRequest(431, "the header fields are too many or too long")
        head = bytes(self._buffer[: end + len(_END)])
        del self._buffer[: len(head)]
        self._searched = self._chunk = self._body_bytes = 0
        self._request = self._parse(head)
        self.is_upload = is_upload(self._request)
        if self.is_upload:
            self._upload = Upload.of(self._request)
        self.continue_due, self._request._expected_100_continue = self._request._expected_100_continue, False
        return True

    def _is_hopeless(self) -> bool:
        """Return True if no further byte can make a valid head of the buffer."""
        return (
            len(self._buffer) > MAX_HEAD_BYTES
            or (len(self._buffer) > _MAX_LINE_BYTES + 4 and self._buffer.find(b"\r\n", 2, _MAX_LINE_BYTES + 4) < 0)
            or _bare_line_feed.search(self._buffer, max(0, self._searched - 1)) is not None
        )

    def _parse(self, head: bytes) -> Any:
        self._requests += 1
        return Request(self._config, IterUnreader([head]), self._peer, self._requests)

    def _read_body(self) -> bytes | IO[bytes] | None:
        """Return the body and remove it from the buffer; None until it is complete."""
        if self._upload is not None:
            if not self._upload.take(self._buffer):
                return None
            upload, self._upload = self._upload, None
            return upload.file
        reader = self._request.body.reader
        if isinstance(reader, ChunkedReader):
            end = self._find_last_chunk()
            if end is None:
                return None
            content, unreader = bytearray(), IterUnreader([bytes(self._buffer[:end])])
            reader = ChunkedReader(self._request, unreader)
            while piece := reader.read(MAX_BODY_BYTES):
                content += piece
            del self._buffer[:end]
            return bytes(content)
        length = reader.length if isinstance(reader, LengthReader) else 0
        if length > MAX_BODY_BYTES:
            raise _too_large()
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _find_last_chunk(self) -> int | None:
        """Return the end of the chunked body, None until it has arrived.

        Each chunk is visited once. Behind malformed framing the body ends, and gunicorn's reader
        then raises its error. Raises `RefusedRequest` for a body that is too large.
        """
        while True:
            buffer, start = self._buffer, self._chunk
            if len(buffer) > _MAX_CHUNKED_BYTES + MAX_HEAD_BYTES:
                raise _too_large()
            if start and len(buffer) >= start and buffer[start - 2 : start] != b"\r\n":
                return start
            end = buffer.find(b"\r\n", start)
            if end < 0:
                return len(buffer) if len(buffer) - start > _MAX_LINE_BYTES else None
            size = bytes(buffer[start:end]).split(b";", 1)[0].rstrip(b" \t")
            if not _is_chunk_size(size):
                return end + 2
            if int(size, 16) == 0:
                return self._find_end_of_trailers(end)
            self._body_bytes += int(size, 16)
            if self._body_bytes > MAX_BODY_BYTES:
                raise _too_large()
            self._chunk = end + 2 + int(size, 16) + 2

    def _find_end_of_trailers(self, line_end: int) -> int | None:
        if self._buffer[line_end + 2 : line_end + 4] == b"\r\n":
            return line_end + 4
        end = self._buffer.find(_END, line_end)
        if end < 0 and len(self._buffer) - line_end > MAX_HEAD_BYTES:
            raise RefusedRequest(431, "the trailer fields are too many or too long")
        return end + len(_END) if end >= 0 else None


def _too_large() -> RefusedRequest:
    return RefusedRequest(413, f"the body exceeds {MAX_BODY_BYTES} bytes")
