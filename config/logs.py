"""Structured logs: one JSON object per line for machines, or plain text for people."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from config import settings
from config.log_handler import LastingHandler
from config.settings import Settings, SettingsError

_started: dict[str, Settings] = {}  # service -> settings, of this process


class _Json(JsonFormatter):
    """`timestamp, level, message, service`, then the fields that the call passed as `extra`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def start(service: str) -> Settings:
    """Load the settings of this process and configure its logs.

    Prints the problems and exits with 2 if a variable is invalid, or if `LOG_FILE` cannot be
    written.
    """
    try:
        chosen = settings.load()
        configure(service, level=chosen.log_level, style=chosen.log_format, file=chosen.log_file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(SettingsError({"LOG_FILE": f"cannot be written: {error.strerror}"}), file=sys.stderr)
        sys.exit(2)
    _started[service] = chosen
    return chosen


def started(service: str) -> Settings:
    """Return the settings of this process, and call `start` if it has not run yet.

    A configuration of gunicorn calls `start` before the application is loaded. The application
    takes over its settings.
    """
    return _started.get(service) or start(service)


def configure(service: str, *, level: str = "INFO", style: str = "json", file: Path | None = None) -> None:
    """Send all log records to stderr, or to `file`, as `style` (`json` or `text`)."""
    handler = LastingHandler(file.open("a") if file else sys.stderr)
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
    # At INFO APScheduler logs a line for every run of every job.
    logging.getLogger("apscheduler").setLevel(max(logging.WARNING, root.level))
    # At INFO httpx logs the URL of every request, which may contain an account number.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, root.level))


class _Text(logging.Formatter):
    """A line with the fields: `12:00:01 INFO hub: relay connected channel=price_updates`."""

    _standard = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {service}: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in record.__dict__.items() if name not in self._standard)
        return super().formatMessage(record) + extra
