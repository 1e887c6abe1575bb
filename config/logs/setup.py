"""Start of the logs, with the settings of the process; `config.logs.format` formats the records."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from config import secrets, settings
from config.logs.buffer import LogBuffer
from config.logs.counts import LOG_COUNTS
from config.logs.format import Json, Text
from config.logs.handler import LastingFileHandler, LastingHandler
from config.performance_log import performance
from config.process.variables import other_secrets
from config.settings import Settings, SettingsError

log = logging.getLogger(__name__)

_started: dict[str, Settings] = {}  # service -> settings, of this process


def start(service: str) -> Settings:
    """Load the settings of this process and configure its logs.

    Prints the problems and exits with 2 if a variable is invalid, or if `LOG_FILE` or
    `PERFORMANCE_LOG_FILE` cannot be written.
    """
    try:
        chosen = settings.load(service=service)
        secrets.SCRUBBER.learn((*chosen.secrets, *other_secrets(service=service)))
        configure(service, level=chosen.log_level, style=chosen.log_format, file=chosen.log_file)
        configure_performance(service, style=chosen.log_format, file=chosen.performance_log_file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(SettingsError({"LOG_FILE": f"cannot be written: {error.strerror}"}), file=sys.stderr)
        sys.exit(2)
    sys.excepthook, threading.excepthook = _log_exception, _log_thread_exception
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
    handler = LastingFileHandler(file) if file else LastingHandler(sys.stderr)
    handler.setFormatter(_formatter(service, style))
    root = logging.getLogger()
    root.handlers[:] = [handler, LOG_COUNTS]
    root.setLevel(level)
    # At INFO APScheduler logs a line for every run of every job.
    logging.getLogger("apscheduler").setLevel(max(logging.WARNING, root.level))
    # At INFO httpx logs the URL of every request, which may contain an account number.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, root.level))
    # At DEBUG redis logs each failed call, also those of the log forwarder.
    logging.getLogger("redis").setLevel(max(logging.INFO, root.level))


def configure_performance(service: str, *, style: str = "json", file: Path | None = None) -> None:
    """Send the performance lines to `file` alone, if there is one. Call it after `configure`.

    The file has them at every `LOG_LEVEL`; the lines of single batches need DEBUG. Raises
    `SettingsError` if it cannot be written.
    """
    performance.handlers[:], performance.propagate = [], file is None
    performance.setLevel(logging.NOTSET if file is None else min(logging.INFO, logging.getLogger().level))
    if file is None:
        return
    try:
        handler = LastingFileHandler(file)
    except OSError as error:
        raise SettingsError({"PERFORMANCE_LOG_FILE": f"cannot be written: {error.strerror}"}) from error
    handler.setFormatter(_formatter(service, style))
    performance.addHandler(handler)


def _formatter(service: str, style: str) -> logging.Formatter:
    return Json(service) if style == "json" else Text(service)


def keep_records(service: str) -> LogBuffer:
    """Keep the finished records of this process from now on, beside its log; return the buffer."""
    root = logging.getLogger()
    buffer = LogBuffer(service)
    root.handlers[:] = [*(each for each in root.handlers if not isinstance(each, LogBuffer)), buffer]
    return buffer


@contextmanager
def batched_access_records() -> Iterator[None]:
    """Write the access records of the block in few writes."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, LastingHandler)]
    for each in handlers:
        each.batching = True
    try:
        yield
    finally:
        for each in handlers:
            each.batching = False
            each.write_waiting()


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an exception that ends the process, except a request to end it."""
    if issubclass(kind, Exception):
        log.critical("the process ends with an error", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def _log_thread_exception(failed: threading.ExceptHookArgs) -> None:
    if issubclass(failed.exc_type, Exception) and failed.exc_value is not None:
        name = failed.thread.name if failed.thread else None
        error = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        log.error("a thread ended with an error", extra={"thread_name": name}, exc_info=error)
