"""Logs: one JSON object per line with the contract's fields, or a line of text."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import logs
from config.log_handler import RETRY_SECONDS, LastingHandler
from db.timestamps import parse_time

log = logging.getLogger("hub.relay")


@pytest.fixture(autouse=True)
def _restored_root_logger() -> Iterator[None]:
    root, scheduler = logging.getLogger(), logging.getLogger("apscheduler")
    handlers, level, scheduler_level = list(root.handlers), root.level, scheduler.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    scheduler.setLevel(scheduler_level)


def written(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_record_is_one_json_line_with_its_fields(tmp_path: Path) -> None:
    logs.configure("hub", file=tmp_path / "log")
    log.warning("relay lost the %s", "bus", extra={"channel": "price_updates", "attempt": 3})
    (record,) = written(tmp_path / "log")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["timestamp"])
    parse_time(record.pop("timestamp"))
    assert record == {
        "level": "WARNING", "message": "relay lost the bus", "service": "hub", "logger": "hub.relay",
        "channel": "price_updates", "attempt": 3,
    }  # fmt: skip


def test_exception_stays_on_one_line(tmp_path: Path) -> None:
    logs.configure("hub", file=tmp_path / "log")
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        log.exception("failed")
    (record,) = written(tmp_path / "log")
    assert record["message"] == "failed"
    assert "ValueError: first line\nsecond line" in record["exc_info"]


def test_field_of_another_type_is_logged_as_text(tmp_path: Path) -> None:
    logs.configure("hub", file=tmp_path / "log")
    log.info("odd", extra={"path": tmp_path, "bytes": b"\xff", "text": "é\n\x00"})
    assert len(written(tmp_path / "log")) == 1


def test_text_format_shows_the_fields(tmp_path: Path) -> None:
    logs.configure("jobs", style="text", file=tmp_path / "log")
    log.info("source is live", extra={"source": "synthetic", "ticks": 31})
    line = (tmp_path / "log").read_text()
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    jobs: source is live source=synthetic ticks=31\n", line)


def test_level_applies_to_every_logger(tmp_path: Path) -> None:
    logs.configure("hub", level="WARNING", file=tmp_path / "log")
    log.info("unheard")
    logging.getLogger("another").warning("heard")
    assert [record["message"] for record in written(tmp_path / "log")] == ["heard"]


def test_scheduler_logs_no_line_per_run(tmp_path: Path) -> None:
    for level, expected in (("DEBUG", logging.WARNING), ("ERROR", logging.ERROR)):
        logs.configure("jobs", level=level, file=tmp_path / "log")
        assert logging.getLogger("apscheduler.executors").getEffectiveLevel() == expected


def test_second_configuration_writes_a_line_once(tmp_path: Path) -> None:
    for service in ("gunicorn", "hub"):
        logs.configure(service, file=tmp_path / "log")
    log.info("once")
    assert [record["service"] for record in written(tmp_path / "log")] == ["hub"]


def test_log_without_a_file_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("hub")
    log.info("here")
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["message"]) == ("", "here")


def test_log_on_a_full_disk_loses_lines_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    file = tmp_path / "log"
    full, room = os.open("/dev/full", os.O_WRONLY), os.open(file, os.O_WRONLY | os.O_CREAT)
    with os.fdopen(full, "w") as stream:
        handler = LastingHandler(stream, lambda: now[0])
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s %(records_lost)s", defaults={"records_lost": ""}))
        records = [logging.LogRecord("x", logging.INFO, "", 0, f"line {number}", (), None) for number in range(6)]
        handler.handle(records[0])
        handler.handle(records[1])
        now[0] += RETRY_SECONDS
        handler.handle(records[2])  # tried, and lost
        os.dup2(room, stream.fileno())
        handler.handle(records[3])  # lost without an attempt
        now[0] += RETRY_SECONDS
        handler.handle(records[4])
        handler.handle(records[5])
    os.close(room)
    lines = file.read_text().splitlines()
    # The stream may still hold the lines whose write failed.
    assert lines[-3:] == ["WARNING the log was not written 4", "INFO line 4 ", "INFO line 5 "]
    assert capsys.readouterr().err == ""
