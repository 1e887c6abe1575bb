"""The log forwarder: from a process to the stream, with Redis away and back."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.logs.buffer import MAX_RECORDS, LogBuffer
from config.settings import Settings
from db.bus import Bus
from db.timestamps import utc_now
from health.system.recent_logs import recent_logs
from ops import embedded
from ops.log_forwarder import BATCH_RECORDS, LogForwarder
from tests.conftest import until
from tests.support.processes import Breakable, Web, stopped

CANARY = "canary-77aa-do-not-show"


def logged(buffer: LogBuffer, *numbers: int) -> None:
    """Log one record per number, into this buffer alone."""
    for number in numbers:
        buffer.handle(logging.LogRecord("x", logging.INFO, "", 0, f"line {number}", (), None))


def messages(bus: Bus) -> list[str]:
    """Messages of the stream, the oldest first."""
    return [orjson.loads(text)["message"] for text in bus.recent_logs()][::-1]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Breakable]:
    with Breakable(embedded.redis(tmp_path), tmp_path) as process:
        yield process


def test_records_are_dropped_while_redis_is_away(redis: Breakable, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    buffer = LogBuffer("hub")
    with closing(Bus(redis.url, utc_now, timeout=60)) as bus, closing(bus.with_timeout(0.3)) as hasty_bus:
        forwarder = LogForwarder(buffer, bus)
        logged(buffer, 1)
        assert forwarder.send()
        redis.kill()
        logged(buffer, *range(2, 2 + BATCH_RECORDS), 900)
        assert not forwarder.send()
        assert forwarder.dropped == BATCH_RECORDS  # one batch per attempt
        redis.start()
        logged(buffer, 901)
        assert forwarder.send()
        assert messages(bus) == ["line 1", "line 900", "line 901"]
        with stopped(redis.pid):  # it answers nothing
            logged(buffer, 902)
            assert not LogForwarder(buffer, hasty_bus).send()
    assert [each for each in caplog.records if each.name != "redis.client"] == []  # it never logs about itself


def test_caller_never_waits_and_the_buffer_stays_bounded(redis: Breakable) -> None:
    buffer, stop = LogBuffer("hub"), threading.Event()
    with closing(Bus(redis.url, utc_now, timeout=60)) as bus:
        thread = threading.Thread(target=LogForwarder(buffer, bus).run, args=(stop,), daemon=True)
        with stopped(redis.pid):
            thread.start()
            logged(buffer, *range(3 * MAX_RECORDS))
            assert len(buffer.take(10 * MAX_RECORDS)) <= MAX_RECORDS
            logged(buffer, 7)
        until(lambda: messages(bus) and messages(bus)[-1] == "line 7")
        logged(buffer, 8)
        stop.set()
        thread.join(60)
        assert messages(bus)[-1] == "line 8"  # the last records of a process


def test_end_of_a_process_sends_its_last_records(redis: Breakable) -> None:
    buffer, stop = LogBuffer("hub"), threading.Event()
    stop.set()
    logged(buffer, 1)
    with closing(Bus(redis.url, utc_now)) as bus:
        LogForwarder(buffer, bus).run(stop)
        assert messages(bus) == ["line 1"]


# the processes of the product


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {"LOG_LEVEL": "DEBUG", "JWT_SECRET": f"{CANARY}-setting-of-at-least-32-bytes"}


def test_records_of_hub_and_rest_are_in_the_stream_without_secrets(
    shared_hub: Web, shared_settings: Settings, shared_variables: dict[str, str], folder: Path
) -> None:
    with (
        Web("rest", shared_settings, folder / "rest.log", **shared_variables) as rest,
        closing(Bus(str(shared_settings.redis_url), utc_now)) as bus,
    ):
        for url in (shared_hub.url, rest.url):
            headers = {
                "Authorization": f"Basic {CANARY}",
                "Cookie": f"session={CANARY}",
                "X-API-Key": CANARY,
            }
            with pytest.raises(urllib.error.HTTPError):
                request(f"{url}/socket.io/?token={CANARY}&api_key={CANARY}", headers)

        def services() -> set[str]:
            return {record["service"] for record in recent(bus)["logs"]}

        until(lambda: services() >= {"hub", "rest"})
        assert any(record["message"] == "relay connected" for record in recent(bus, service="hub")["logs"])
        assert CANARY.encode() not in b"".join(bus.recent_logs())
        debug = recent(bus, level="DEBUG", exact=True)["logs"]
        assert {record["level"] for record in debug} <= {"DEBUG"}


def request(url: str, headers: dict[str, str]) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60):  # noqa: S310
        pass


def recent(bus: Bus, **query: Any) -> dict[str, Any]:
    return recent_logs(bus, **{"level": "DEBUG", "limit": 1000, **query})


# the answer of the route


def record(number: int, level: str = "INFO", service: str = "jobs") -> bytes:
    return orjson.dumps(
        {"timestamp": "t", "level": level, "message": f"m{number}", "service": service, "logger": "x", "fields": {"n": number}, "more": 1}
    )


def test_recent_logs_are_the_newest_of_at_least_the_level(bus: Bus) -> None:
    bus.append_logs(
        [record(1), record(2, "ERROR"), b"{", record(3, "WARNING", "hub"), b'{"level": 7}', record(4, "DEBUG"), record(5, "WARNING")]
    )

    def numbers(**query: Any) -> list[int]:
        answer = recent(bus, **query)
        assert answer["count"] == len(answer["logs"])
        assert answer["level"] == query.get("level", "DEBUG")
        return [each["fields"]["n"] for each in answer["logs"]]

    assert numbers(level="WARNING") == [5, 3, 2]
    assert numbers(level="WARNING", exact=True) == [5, 3]
    assert numbers(level="WARNING", limit=2) == [5, 3]
    assert numbers(service="hub") == [3]
    assert numbers() == [5, 4, 3, 2, 1]
    assert recent(bus, limit=1)["logs"] == [
        {"timestamp": "t", "level": "WARNING", "message": "m5", "service": "jobs", "logger": "x", "fields": {"n": 5}}
    ]
