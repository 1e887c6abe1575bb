"""Structured logs: one JSON object a line for machines, or plain text for people."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter


class _Json(JsonFormatter):
    """`timestamp, level, message, service`, then whatever the call passed as `extra`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def configure(service: str, *, level: str = "INFO", style: str = "json", file: Path | None = None) -> None:
    """Send every log record of this process to stderr, or to `file`, as `style` (`json` or `text`)."""
    handler: logging.Handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    if style == "json":
        handler.setFormatter(
            _Json(
                "%(asctime)s %(levelname)s %(message)s %(name)s",
                rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
                static_fields={"service": service},
            )
        )
    else:
        handler.setFormatter(_Text(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Its own chatter at INFO is a line for every run of every job.
    logging.getLogger("apscheduler").setLevel(max(logging.WARNING, root.level))
    # Tells the URL of every request at INFO: a line each, and account numbers are in them.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, root.level))


class _Text(logging.Formatter):
    """A line for people, event fields included: `12:00:01 INFO hub: relay connected channel=price_updates`."""

    _standard = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {service}: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in record.__dict__.items() if name not in self._standard)
        return super().formatMessage(record) + extra
