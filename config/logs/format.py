"""Formats of log records: one JSON object per line for machines, or plain text for people.

One record is always one line, without control characters and without secrets. A field that a call
passes as `extra` has at most 200 characters, because clients may have sent it.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pythonjsonlogger.json import JsonFormatter

from config import request_ids
from config.secrets import scrub

ACCESS = "access"  # logger of one record per request; its fields are numbers and names of ours
MAX_FIELD = 200  # characters of a field, and of an argument of a message
MAX_EVENT = 64  # of the name of a client's event
MAX_MESSAGE = 1000
MAX_TRACEBACK = 20_000
_LIMITS = {"event": MAX_EVENT}
_SERVER_MESSAGE = 200  # gunicorn quotes requests in its messages
_MAX_INTEGER = 2**64
# C0 and C1 controls, DEL, line and paragraph separators, directions of writing, lone surrogates.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
_FIRST = ("timestamp", "level", "message", "service")
_TRACES = ("exc_info", "stack_info")


def clean(text: str, limit: int) -> str:
    """The text on one line, without secrets, with at most `limit` characters."""
    # What is cut off needs no scrubbing, but a secret at the cut would lose its end.
    text = _CONTROLS.sub(_escape, scrub(text[: 2 * MAX_TRACEBACK]))
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Json(JsonFormatter):
    """`timestamp, level, message, service`, then the fields that the call passed as `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(message)s %(name)s",
            rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
        self._service = {"service": service}

    def format(self, record: logging.LogRecord) -> str:
        return self._facts(record) if record.name == ACCESS else super().format(_prepared(record))

    def _facts(self, record: logging.LogRecord) -> str:
        """A record of the access log. Its fields are clean, and ten times as fast to write."""
        head = {"timestamp": self.formatTime(record), "level": record.levelname, "message": record.msg}
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        return orjson.dumps({**head, **self._service, "logger": ACCESS, **fields}).decode()

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z"

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Tracebacks keep their line feeds, which JSON escapes."""
        cleaned: dict[str, Any] = dict.fromkeys(name for name in _FIRST if name in log_data)
        for name, value in log_data.items():
            if name in _TRACES:
                cleaned[name] = "\n".join(clean(line, MAX_TRACEBACK) for line in _trace(value).split("\n"))
            elif name in ("message", "timestamp"):
                cleaned[name] = value
            else:
                cleaned[clean(str(name), MAX_EVENT)] = _field(name, value)
        return {**cleaned, **request_ids.fields()}


class Text(logging.Formatter):
    """A line with the fields: `12:00:01 INFO hub: relay connected channel=price_updates`."""

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {service}: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(_prepared(record))
        return clean(text, MAX_MESSAGE + MAX_TRACEBACK + len(record.__dict__) * MAX_FIELD)

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {name: _field(name, value) for name, value in record.__dict__.items() if name not in _STANDARD}
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in {**fields, **request_ids.fields()}.items())

    def formatException(self, ei: Any) -> str:
        return _trace(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _trace(stack_info)


def _prepared(record: logging.LogRecord) -> logging.LogRecord:
    """A copy of the record whose message is complete and clean."""
    copy = logging.makeLogRecord(record.__dict__)
    copy.msg, copy.args = _message(record), None
    return copy


def _message(record: logging.LogRecord) -> str:
    limit = _SERVER_MESSAGE if record.name.startswith("gunicorn") else MAX_MESSAGE
    arguments = record.args
    if isinstance(arguments, Mapping):
        arguments = {name: _argument(value) for name, value in arguments.items()}
    elif arguments:
        arguments = tuple(map(_argument, arguments))
    try:
        text = _text(record.msg) % arguments if arguments else _text(record.msg)
    except (TypeError, ValueError, KeyError, OverflowError):
        text = f"{_text(record.msg)} {_text(arguments)}"
    return clean(text, limit)


def _argument(value: object) -> object:
    """The value for a conversion of a message: numbers stay, others become text."""
    return value if _is_short(value) else clean(_text(value), MAX_FIELD)


def _field(name: str, value: object) -> object:
    """The value of a field: numbers and small containers stay, others become text."""
    if value is None or _is_short(value):
        return value
    limit = _LIMITS.get(name, MAX_FIELD)
    if isinstance(value, dict | list | tuple):
        try:
            text = json.dumps(_scrubbed(value), ensure_ascii=False, default=_text)
        except (TypeError, ValueError, RecursionError):
            text = _text(value)
        text = clean(text, 10 * limit)
        return json.loads(text) if len(text) <= limit and _is_json(text) else clean(text, limit)
    return clean(_text(value), limit)


def _scrubbed(value: Any) -> Any:
    """A container with clean texts: as a part of JSON, a secret would be escaped differently."""
    if isinstance(value, dict):
        return {clean(_text(name), MAX_FIELD): _scrubbed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(each) for each in value]
    return value if value is None or _is_short(value) else clean(_text(value), MAX_FIELD)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_short(value: object) -> bool:
    """True for a Boolean, and for a number that JSON has and that is written with few digits."""
    if type(value) is float:
        return math.isfinite(value)
    return isinstance(value, int) and type(value) in (int, bool) and abs(value) <= _MAX_INTEGER


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - any object may be logged
        return f"<{type(value).__name__}>"


def _trace(value: object) -> str:
    """A traceback: its beginning and its end, if it is very long."""
    text, half = scrub(_text(value)), MAX_TRACEBACK // 2
    return text if len(text) <= MAX_TRACEBACK else f"{text[:half]} … {text[-half:]}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _ESCAPES.get(match[0]) or (f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}")
