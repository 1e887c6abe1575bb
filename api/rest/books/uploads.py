"""Uploads of recordings: one file of a form, checked line by line before it is kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import request
from werkzeug.datastructures import FileStorage

from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError, invalid_payload
from db.instruments import all_instruments
from db.scenarios.files import recording_folders
from db.scenarios.lines import BadLine
from db.scenarios.recording import BadRecording
from db.scenarios.unpacking import MAX_PACKED_BYTES, NotGzip, TooLarge
from db.scenarios.uploads import NAME_RULE, BadName, RecordingExists, keep_recording, remove_unfinished

_FORM = "multipart/form-data"
_FIELD = "file"

log = logging.getLogger(__name__)
# A check of 512 MiB takes about a minute of one core: one at a time leaves room for other requests.
_checking = threading.Lock()


def receive_recording() -> dict[str, Any]:
    """Keep the recording in the form of the current request; return its summary.

    Raises `ApiError`: 409 `conflict`, 413, 422 and 503; then nothing is kept.
    """
    if (request.content_length or 0) > MAX_PACKED_BYTES:
        raise _too_large(f"the body exceeds {MAX_PACKED_BYTES} bytes")
    file = _file()
    if not _checking.acquire(blocking=False):
        raise ApiError(503, ErrorCode.UNAVAILABLE, "another recording is checked just now, try again", {"part": "recordings"})
    try:
        return _keep(file)
    finally:
        _checking.release()


def _keep(file: FileStorage) -> dict[str, Any]:
    app, name = context(), file.filename or ""
    folders = recording_folders(app.settings.hub_data_dir)
    with app.store.transaction() as cursor:
        instruments = {each.symbol for each in all_instruments(cursor)}
    with _refusals(name):
        remove_unfinished(folders[-1], app.clock())
        summary = keep_recording(file.stream, name, folders, instruments)
    log.info("a recording was uploaded", extra=summary)
    return summary


def _file() -> FileStorage:
    """Return the only field of the form. Raises 422 for another form, and 413."""
    if request.mimetype != _FORM:
        raise invalid_payload({"Content-Type": [f"Use {_FORM}."]})
    problems = {name: [f"Unknown field: use {_FIELD}."] for name in (*request.files, *request.form) if name != _FIELD}
    files = request.files.getlist(_FIELD)
    if _FIELD in request.form or not files or not files[0].filename:
        problems[_FIELD] = ["Missing: the file, with its name."]
    elif len(files) > 1:
        problems[_FIELD] = ["Given more than once: use it once."]
    if problems:
        raise invalid_payload(problems)
    if "\\" in files[0].headers.get("Content-Disposition", ""):  # werkzeug drops the path of C:\\a\\b.gz
        raise invalid_payload({_FIELD: [f"Its name {NAME_RULE}."]})
    return files[0]


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Answer with the fault of the file; `details.line` is the number of a bad line."""
    try:
        yield
    except BadName as error:
        raise invalid_payload({_FIELD: [f"Its name {error}."]}) from None
    except RecordingExists as error:
        raise ApiError(409, ErrorCode.CONFLICT, str(error), {_FIELD: [name]}) from None
    except TooLarge as error:
        raise _too_large(str(error)) from None
    except BadLine as error:
        message = f"invalid arguments: {_FIELD}: {error}"
        raise ApiError(422, ErrorCode.INVALID_PAYLOAD, message, {_FIELD: [str(error)], "line": error.number}) from None
    except (BadRecording, NotGzip) as error:
        raise invalid_payload({_FIELD: [str(error)]}) from None
    except OSError as error:
        log.warning("an uploaded recording cannot be written", extra={"recording": name, "reason": str(error)})
        raise ApiError(503, ErrorCode.UNAVAILABLE, "the recording cannot be written just now", {"part": "recordings"}) from None


def _too_large(message: str) -> ApiError:
    return ApiError(413, "request_entity_too_large", message)
