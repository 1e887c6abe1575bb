"""Logs: one JSON object per line with the contract's fields, or a line of text."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.logs import setup as logs
from config.logs.format import MAX_EVENT, MAX_FIELD, Json, Text
from config.logs.handler import RETRY_SECONDS, LastingHandler
from config.secrets import SCRUBBER
from db.timestamps import parse_time

log = logging.getLogger("hub.relay")


@pytest.fixture(autouse=True)
def _restored_root_logger() -> Iterator[None]:
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in ("apscheduler", "httpx", "redis")]
    handlers, level, levels = list(root.handlers), root.level, [each.level for each in libraries]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for library, before in zip(libraries, levels, strict=True):
        library.setLevel(before)


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


def test_redis_logs_no_line_per_failed_call(tmp_path: Path) -> None:
    for level, expected in (("DEBUG", logging.INFO), ("ERROR", logging.ERROR)):
        logs.configure("jobs", level=level, file=tmp_path / "log")
        assert logging.getLogger("redis.client").getEffectiveLevel() == expected


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


# arbitrary text in every part of a record

_CONTROL = {"Cc", "Zl", "Zp", "Cs"}
any_text = st.text(st.characters(), max_size=300) | st.text(st.sampled_from("\n\r\x00\x1b\x85\u2028\u2029\x7f\ud800%s{}'\"a "))
any_value = st.recursive(
    any_text | st.binary() | st.none() | st.booleans() | st.integers() | st.floats() | st.just({1, 2}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3) | st.tuples(inner),
    max_leaves=5,
)


def raised(text: str) -> Any:
    """A raised exception with this text, and a cause with it."""
    try:
        try:
            raise KeyError(text)
        except KeyError as cause:
            raise ValueError(text) from cause
    except ValueError:
        return sys.exc_info()


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for name, each in value.items() for text in (name, *texts_in(each))]
    return [text for each in value for text in texts_in(each)] if isinstance(value, list) else [value] if isinstance(value, str) else []


@given(
    message=any_text,
    arguments=st.lists(any_value, max_size=2) | st.dictionaries(any_text, any_value, min_size=1, max_size=1),
    fields=st.dictionaries(st.sampled_from(["event", "path", "reason", "pair"]), any_value),
    error=any_text | st.none(),
    logger=st.sampled_from(["hub", "gunicorn.error"]),
)
def test_record_of_any_text_is_one_clean_line(
    message: str, arguments: list[Any] | dict[str, Any], fields: dict[str, Any], error: str | None, logger: str
) -> None:
    given_arguments = (arguments,) if isinstance(arguments, dict) else tuple(arguments)
    record = logging.LogRecord(logger, logging.INFO, __file__, 1, message, given_arguments, error if error is None else raised(error))
    record.__dict__.update(fields)
    record.stack_info = error
    for line in (Json("hub").format(record), Text("hub").format(record)):
        assert not [each for each in line if unicodedata.category(each) in _CONTROL]
        assert len(line.splitlines()) == 1
    read = json.loads(Json("hub").format(record))
    for name, value in read.items():
        if name in ("exc_info", "stack_info"):
            value = value.replace("\n", "")
        for text in texts_in(value):
            assert not [each for each in text if unicodedata.category(each) in _CONTROL]
            assert len(text) <= {"event": MAX_EVENT, "message": 1000, "exc_info": 40_000, "stack_info": 40_000}.get(name, MAX_FIELD)
        if isinstance(value, list | dict):
            assert len(json.dumps(value, ensure_ascii=False)) <= MAX_FIELD


@pytest.mark.parametrize("style", [Json, Text])
def test_long_text_of_a_client_is_cut(style: type[Json | Text]) -> None:
    record = logging.LogRecord("hub", logging.INFO, __file__, 1, "got %s", ("y" * 10_000,), None)
    record.__dict__.update(event="e" * 500, path="p" * 500, pairs=["q" * 500] * 10)
    line = style("hub").format(record)
    for letter, most in (("y", 200), ("e", 64), ("p", 200), ("q", 200)):
        assert max(map(len, re.findall(f"{letter}+", line))) <= most
    assert len(line) < 1500
    if style is Json:
        assert json.loads(line)["event"] == f"{'e' * 63}…"


@pytest.mark.parametrize("style", ["json", "text"])
def test_traceback_is_on_one_line_without_secrets(tmp_path: Path, style: str) -> None:
    SCRUBBER.learn(["very-secret-value"])
    logs.configure("hub", style=style, file=tmp_path / "log")
    try:
        try:
            raise KeyError("very-secret-value")
        except KeyError as error:
            raise ValueError("first\u2028line\nsecond very-secret-value Bearer abcdef") from error
    except ValueError:
        log.exception("failed for %s", "very-secret-value", extra={"reason": "redis://:opensesame@h/0", "list": ["very-secret-value"]})
    text = (tmp_path / "log").read_text()
    assert text.count("\n") == 1
    assert "Traceback" in text
    for secret in ("very-secret-value", "abcdef", "opensesame", "\u2028"):
        assert secret not in text


def test_message_that_does_not_fit_its_arguments_is_still_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("hub", file=tmp_path / "log")
    log.info("%d of %s", "x")
    log.info("number %s", 10**5000, extra={"number": 10**5000, "count": 2**63})
    first, second = written(tmp_path / "log")
    assert first["message"] == "%d of %s ('x',)"
    assert (second["message"], second["number"], second["count"]) == ("number <int>", "<int>", 2**63)
    assert capsys.readouterr().err == ""
