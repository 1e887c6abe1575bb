"""`manage.py up` whose processes are killed, or which is stopped while it starts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops import running
from tests.conftest import until
from tests.support.up import PROCESSES, START_SECONDS, Environment, Up, all_gone, copy_data, family, make_data, starter


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a migrated database."""
    return make_data(tmp_path_factory.mktemp("data") / "var")


@pytest.fixture
def up_on_data(data: Path, tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start an `up` on a copy of that data: these tests need no initdb."""
    with starter(Environment(copy_data(data, tmp_path / "var")), tmp_path) as start:
        yield start


def test_ready_line_follows_the_first_synthetic_price(data: Path, tmp_path: Path) -> None:
    environment = Environment(copy_data(data, tmp_path / "var"))
    environment["SOURCES"] = "synthetic"
    with starter(environment, tmp_path) as start:
        rest = start().ready().run["rest"]
        status, body = running.get(rest, "/price/latest?symbol=EUR_USD")
        assert (status, json.loads(body)["seq"] >= 1) == (200, True)
        source = json.loads(running.get(rest, "/health")[1])["sources"]["synthetic"]
        assert source["state"] in ("connecting", "live")
        until(lambda: running.answers(rest, "/health"), 30, "health")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_killed_child_is_restarted(up_on_data: Callable[[], Up], name: str) -> None:
    system = up_on_data().ready()
    before = system.run
    os.kill(before["pids"][name], signal.SIGKILL)
    until(lambda: system.run["pids"].get(name, before["pids"][name]) != before["pids"][name], 30, "the new pid in run.json")
    until(lambda: running.answers(before["rest"], "/health"), 30, "health")
    assert f"child ended, restarting child={name}" in system.errors.read_text()
    after = system.run
    assert {**after, "pids": {}} == {**before, "pids": {}}
    assert {key: pid for key, pid in after["pids"].items() if key != name} == {
        key: pid for key, pid in before["pids"].items() if key != name
    }
    assert system.end(signal.SIGTERM) == 0


@pytest.mark.slow
def test_killed_supervisor_leaves_no_process_and_the_directory_starts_again(up_on_data: Callable[[], Up]) -> None:
    first = up_on_data().ready()
    processes = family(first)
    first.process.kill()
    first.process.wait()
    second = up_on_data().ready()  # at once: it waits for the old children by itself
    assert all_gone(processes)
    assert second.end(signal.SIGTERM) == 0


def test_stop_while_starting_leaves_no_process(tmp_path: Path) -> None:
    with starter(Environment(tmp_path / "var"), tmp_path) as start:
        system = start()
        until(lambda: "started child=postgres" in system.errors.read_text(), START_SECONDS, "the start of postgres")
        processes = family(system)
        assert system.end(signal.SIGTERM) == 0
        assert all_gone(processes)
        assert "ready:" not in system.out.read_text()
