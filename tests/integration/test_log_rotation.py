"""Rotation: no record is lost by a rename, and the logs of children stay small."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from config.logs import rotation
from config.logs import setup as logs
from config.logs.format import ACCESS
from config.logs.rotation import KEPT_FILES, ROTATION_SECONDS, Rotation, numbered, rotate
from ops.children import spawn
from tests.conftest import until
from tests.support.compose import compose

log = logging.getLogger("hub.relay")
THREADS, RENAMES = 4, 5


@pytest.fixture(autouse=True)
def _restored_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("name", ["hub.relay", ACCESS])
def test_rename_under_load_loses_no_record(tmp_path: Path, name: str) -> None:
    file, done = tmp_path / "tickwire.log", threading.Event()
    logs.configure("hub", file=file)
    written = [0] * THREADS

    def write(thread: int) -> None:
        logger = logging.getLogger(name)
        while not done.is_set():
            with logs.batched_access_records():
                for _ in range(10):
                    logger.info("a record", extra={"place": [thread, written[thread]]})
                    written[thread] += 1

    threads = [threading.Thread(target=write, args=(each,)) for each in range(THREADS)]
    for each in threads:
        each.start()
    try:
        for rename in range(RENAMES):
            file.rename(tmp_path / f"tickwire.log.{rename}")
            until(file.exists)  # the next record makes it
    finally:
        done.set()
        for each in threads:
            each.join()
    lines = [json.loads(line) for part in tmp_path.iterdir() for line in part.read_text().splitlines()]
    assert sorted(line["place"] for line in lines) == [[thread, number] for thread in range(THREADS) for number in range(written[thread])]
    assert len(list(tmp_path.iterdir())) == RENAMES + 1


def test_folder_that_vanishes_costs_lines_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    logs.configure("hub", file=folder / "log")
    log.info("first")
    (folder / "log").unlink()
    folder.rmdir()
    for _ in range(3):
        log.info("lost")
    folder.mkdir()
    monkeypatch.setattr("config.logs.handler.RETRY_SECONDS", 0)
    log.info("last")
    messages = [(line["message"], line.get("records_lost")) for line in map(json.loads, (folder / "log").read_text().splitlines())]
    assert messages == [("the log was not written", 3), ("last", None)]


def test_log_of_a_child_is_copied_and_truncated_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "MAX_BYTES", 50_000)
    file, now = tmp_path / "postgres.log", [0.0]
    look = Rotation(tmp_path, lambda: now[0]).look
    code = "import itertools, time\nfor n in itertools.count():\n print(n, 'x' * 90, flush=True)\n n % 40 or time.sleep(0.001)"
    child = spawn(("python3", "-c", code), env=None, log_file=file, inherit=(), death_signal=Signals.SIGKILL)
    try:
        for _ in range(KEPT_FILES + 2):
            until(lambda: file.stat().st_size > 50_000)
            look()  # it is not time yet, except the first time
            now[0] += ROTATION_SECONDS
            look()
    finally:
        child.kill()
        child.wait()
    parts = [numbered(file, number) for number in range(KEPT_FILES, 0, -1)]
    assert set(tmp_path.iterdir()) <= {file, *parts}
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in parts)
    numbers = [int(line.split()[0]) for part in parts for line in part.read_text().splitlines()[1:-1]]
    assert numbers == sorted(set(numbers))  # in order, and none twice


def test_log_is_rotated_when_its_child_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "MAX_BYTES", 10)
    file = tmp_path / "redis.log"
    for number in range(KEPT_FILES + 2):
        child = spawn(("echo", f"start {number}"), env=None, log_file=file, inherit=(), death_signal=Signals.SIGKILL)
        child.wait()
        file.write_text(f"long enough {number}\n")
    assert numbered(file, 1).read_text() == f"long enough {KEPT_FILES}\n"
    assert numbered(file, KEPT_FILES).read_text() == "long enough 1\n"
    assert len(list(tmp_path.iterdir())) == KEPT_FILES + 1


def test_failed_rotation_leaves_the_log_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "redis.log"
    file.write_text("x" * 100)
    numbered(file, 0).mkdir()  # in the place of the copy
    with pytest.raises(OSError, match="directory"):
        rotate(file, 10)
    assert file.read_text() == "x" * 100
    monkeypatch.setattr(rotation, "MAX_BYTES", 10)
    with caplog.at_level(logging.WARNING):
        Rotation(tmp_path, lambda: 0.0).look()
    assert [record.getMessage() for record in caplog.records] == ["the logs are not rotated"]


def test_docker_rotates_the_log_of_each_service() -> None:
    for service in compose()["services"].values():
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}
