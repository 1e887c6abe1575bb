"""Finished log records: their fields, their limits, and no secret in any of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.logs import setup as logs
from config.logs.buffer import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_RECORDS, MAX_TRACEBACK_BYTES, LogBuffer
from config.process.variables import other_secrets
from config.secrets import SCRUBBER, is_secret_name, mask_named
from config.settings import Settings

log = logging.getLogger("jobs.store.writer")
CANARY = "canary-4f6b-do-not-show"


@pytest.fixture
def buffer() -> Iterator[LogBuffer]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.setLevel(logging.DEBUG)
    yield logs.keep_records("jobs")
    root.handlers[:] = handlers
    root.setLevel(level)


def taken(buffer: LogBuffer) -> list[dict[str, Any]]:
    return [json.loads(text) for text in buffer.take(MAX_RECORDS)]


def test_record_has_the_fields_of_the_contract(buffer: LogBuffer) -> None:
    log.warning("writer waits: %s", "no answer", extra={"channel": "price_updates", "attempt": 3})
    [record] = taken(buffer)
    timestamp = record.pop("timestamp")
    assert (len(timestamp), timestamp[-1]) == (27, "Z")
    assert record == {
        "level": "WARNING", "message": "writer waits: no answer", "service": "jobs", "logger": "jobs.store.writer",
        "fields": {"channel": "price_updates", "attempt": 3},
    }  # fmt: skip
    assert taken(buffer) == []


def test_buffer_keeps_the_newest_records(buffer: LogBuffer) -> None:
    for number in range(MAX_RECORDS + 5):
        log.info("line", extra={"number": number})
    found = taken(buffer)
    assert [found[0]["fields"]["number"], found[-1]["fields"]["number"], len(found)] == [5, MAX_RECORDS + 4, MAX_RECORDS]


def test_second_buffer_of_a_process_replaces_the_first(buffer: LogBuffer) -> None:
    other = logs.keep_records("hub")
    log.info("once")
    assert ([record["service"] for record in taken(other)], taken(buffer)) == (["hub"], [])


def test_message_and_traceback_are_cut(buffer: LogBuffer) -> None:
    try:
        raise ValueError("é" * 20_000)
    except ValueError:
        log.exception("é" * 5_000, extra={"reason": "é" * 5_000})
    [record] = taken(buffer)
    assert 1_000 < len(record["message"].encode()) <= MAX_MESSAGE_BYTES
    trace = record["fields"]["exc_info"]
    assert len(trace.encode()) <= MAX_TRACEBACK_BYTES
    assert trace.startswith("Traceback")


def test_record_with_too_many_fields_loses_them(buffer: LogBuffer) -> None:
    log.info("many", extra={f"field_{number}": "x" * 200 for number in range(200)})
    [text] = buffer.take(1)
    assert len(text) <= MAX_RECORD_BYTES
    assert (json.loads(text)["message"], json.loads(text)["fields"]) == ("many", {})


def test_record_that_cannot_be_formatted_does_not_disturb_its_caller(buffer: LogBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(buffer, "_text", lambda record: 1 / 0)
    log.info("odd")
    assert taken(buffer) == []


# secrets


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "jwt_secret", "api_token", "X-API-Key", "Authorization", "set-cookie", "keys"])
def test_value_of_a_secret_name_is_masked(name: str, buffer: LogBuffer) -> None:
    assert is_secret_name(name)
    log.info("nested", extra={name: CANARY, "headers": {name: CANARY, "Host": "a"}, "list": [{name: [CANARY]}], "none": None})
    [record] = taken(buffer)
    assert CANARY not in json.dumps(record)
    assert (record["fields"][name], record["fields"]["headers"]["Host"]) == ("***", "a")


@pytest.mark.parametrize(
    "text",
    [
        f"GET /prices?token={CANARY}&limit=5 HTTP/1.1",
        f"GET /prices?api_key={CANARY}",
        f"redis://:{CANARY}@h/0",
        f"unix:///run/redis.sock?password={CANARY}&db=0",
        f"postgresql://tickwire:{CANARY}@db:5432/x",
        f"Authorization: Basic {CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"{{'Cookie': 'session={CANARY}; theme=dark', 'Host': 'a'}}",
        f'{{"X-API-Key": "{CANARY}", "Host": "a"}}',
        f"client_secret = '{CANARY} with a blank'",
        f"Set-Cookie: id={CANARY}; Path=/",
    ],
)
def test_canary_of_urls_and_headers_is_in_no_part_of_a_record(text: str, buffer: LogBuffer) -> None:
    log.info(text)
    log.info("refused %s", text, extra={"reason": text, "details": {"text": [text]}})
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed", stack_info=True)
    found = buffer.take(MAX_RECORDS)
    assert len(found) == 3
    assert CANARY.encode() not in b"".join(found)


def secret_settings() -> dict[str, str]:
    """Every secret variable with a canary of its own."""
    names = [row.metadata["name"] or row.name for row in fields(Settings) if row.metadata["secret"]]
    urls = {"database_url": "postgresql://u:{}@h/db", "redis_url": "redis://:{}@h/0"}
    return {name: urls.get(name, "{}").format(f"{CANARY}-{name.replace('_', '-')}") for name in names}


def test_canary_of_every_setting_is_in_no_record(buffer: LogBuffer) -> None:
    environ = {name.upper(): value for name, value in secret_settings().items()}
    assert {"DATABASE_URL", "REDIS_URL", "OANDA_API_TOKEN", "JWT_SECRET"} <= environ.keys()
    SCRUBBER.learn((*environ.values(), *other_secrets({"DB_PASSWORD": f"{CANARY}-db"}, dotenv=None)))
    for value in (*environ.values(), f"{CANARY}-db", *(f"{CANARY}-{name.replace('_', '-')}" for name in secret_settings())):
        log.error("no login with %s", value, extra={"text": value, "texts": [f"<{value}>"], value: 1})
    assert CANARY.encode() not in b"".join(buffer.take(MAX_RECORDS))


@given(st.text(max_size=200))
def test_masked_text_is_masked_once(text: str) -> None:
    assert mask_named(mask_named(text)) == mask_named(text)


@pytest.mark.parametrize("text", ["source is live", "a monkey ate 3 tokens", "the keys cannot be read", "secretary"])
def test_plain_text_is_unchanged(text: str) -> None:
    assert mask_named(text) == text
