"""Finished log records for other readers: without secrets, bounded, and never in the way."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from config.logs.format import ACCESS, Json
from config.secrets import MASK, is_secret_name, mask_named

MAX_RECORDS = 1_000  # that wait; the oldest are dropped
MAX_MESSAGE_BYTES = 2 * 1024
MAX_TRACEBACK_BYTES = 4 * 1024
MAX_RECORD_BYTES = 16 * 1024  # above it, a record loses its fields
_TRACES = ("exc_info", "stack_info")
# Attributes of a record without its fields.
_BARE = ("name", "msg", "args", "levelname", "levelno", "created", "msecs", "pathname", "lineno")
_TOP = ("timestamp", "level", "message", "service", "logger")


class FinishedRecord(Json):
    """`timestamp, level, message, service, logger, fields`; values of secret names are `***`.

    The record passes the scrubber before anything of it is cut.
    """

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        found = super().process_log_record(log_data)
        top = {name: found.pop(name, "") for name in _TOP}
        top["message"] = _cut(mask_named(str(top["message"])), MAX_MESSAGE_BYTES)
        return {**top, "fields": {name: _field(name, value) for name, value in found.items()}}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        return json.dumps(log_data, ensure_ascii=False)


def _field(name: str, value: Any) -> Any:
    if name in _TRACES:
        return _cut_middle("\n".join(map(mask_named, str(value).split("\n"))), MAX_TRACEBACK_BYTES)
    return _masked(name, value)


def _masked(name: str, value: Any) -> Any:
    if is_secret_name(name) and value is not None:
        return MASK
    if isinstance(value, dict):
        return {mask_named(key): _masked(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked("", each) for each in value]
    return mask_named(value) if isinstance(value, str) else value


def _cut(text: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= limit else raw[: limit - 3].decode(errors="ignore") + "…"


def _cut_middle(text: str, limit: int) -> str:
    """The beginning and the end of a text, in at most `limit` bytes of UTF-8."""
    raw, half = text.encode(errors="replace"), (limit - 5) // 2
    return text if len(raw) <= limit else f"{raw[:half].decode(errors='ignore')} … {raw[-half:].decode(errors='ignore')}"


class LogBuffer(logging.Handler):
    """Keeps the newest records, finished, until `take` removes them.

    Any thread or greenlet may log, and none waits: an append to a deque is atomic. Records of the
    access log are left out: a second of them would replace all others.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._waiting: deque[bytes] = deque(maxlen=MAX_RECORDS)
        self.setFormatter(FinishedRecord(service))

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the record, without the lock of `logging`."""
        wanted = record.name != ACCESS and self.filter(record)
        if wanted:
            self.emit(record)
        return bool(wanted)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, or drop it if it cannot be formatted: the caller goes on."""
        try:
            self._waiting.append(self._text(record))
        except Exception:  # noqa: BLE001 - a record about it would be dropped too
            self.handleError(record)

    def _text(self, record: logging.LogRecord) -> bytes:
        text = self.format(record).encode(errors="replace")
        if len(text) <= MAX_RECORD_BYTES:
            return text
        bare = logging.makeLogRecord({name: record.__dict__[name] for name in _BARE})
        return self.format(bare).encode(errors="replace")

    @property
    def waits(self) -> bool:
        """Whether a record waits."""
        return bool(self._waiting)

    def take(self, most: int) -> Sequence[bytes]:
        """Remove and return the oldest records, at most `most`."""
        found: list[bytes] = []
        while self._waiting and len(found) < most:
            found.append(self._waiting.popleft())
        return found
