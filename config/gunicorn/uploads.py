"""The body of an upload of REST: large, in a file without a name, and with a time of its own."""

from __future__ import annotations

import tempfile
from typing import IO, Any

from gunicorn.http.body import LengthReader

from config.gunicorn.http_errors import RefusedRequest

UPLOAD_PATH = "/scenarios/recordings"
MAX_UPLOAD_BYTES = 64 * 1024 * 1024
UPLOAD_SECONDS = 120.0
MAX_UPLOADS = 4  # that arrive at the same time; credentials are checked after the body


def is_upload(request: Any) -> bool:
    """Return True for the only route with large bodies."""
    return bool(request.method == "POST" and request.path == UPLOAD_PATH)


class Upload:
    """A body of `length` bytes that arrives in a file. The file is gone as soon as it is closed."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it outlives this function

    @classmethod
    def of(cls, request: Any) -> Upload:
        """Return the upload of a request. Raises `RefusedRequest`."""
        reader = request.body.reader
        if not isinstance(reader, LengthReader):
            raise RefusedRequest(411, "an upload needs the header Content-Length")
        if reader.length > MAX_UPLOAD_BYTES:
            raise RefusedRequest(413, f"the body exceeds {MAX_UPLOAD_BYTES} bytes")
        try:
            return cls(reader.length)
        except OSError:
            raise _no_room() from None

    def take(self, buffer: bytearray) -> bool:
        """Move bytes from the begin of the buffer to the file; return True if that was the last.

        The file is then at its begin. Raises `RefusedRequest`.
        """
        part = bytes(buffer[: self._left])
        try:
            self.file.write(part)
        except OSError:
            self.close()
            raise _no_room() from None
        del buffer[: len(part)]
        self._left -= len(part)
        if self._left:
            return False
        self.file.seek(0)
        return True

    def close(self) -> None:
        """Drop the file."""
        self.file.close()


def _no_room() -> RefusedRequest:
    return RefusedRequest(503, "there is no room for an upload just now, try again")
