"""`manage.py up` whose processes are killed, or which is stopped while it starts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from ops import running
from ops.reload.source_files import FILES, FOLDERS
from tests.conftest import until
from tests.support.answers import get
from tests.support.processes import ROOT
from tests.support.up import PROCESSES, START_SECONDS, Environment, Up, all_gone, copy_data, execute, family, make_data, manage, starter


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a migrated database."""
    return make_data(tmp_path_factory.mktemp("data") / "var")


@pytest.fixture
def up_on_data(data: Path, tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start an `up` on a copy of that data: these tests need no initdb."""
    with starter(Environment(copy_data(data, tmp_path / "var")), tmp_path) as start:
        yield start


class Development(NamedTuple):
    """An `up --reload` on a copy of the source tree, with synthetic prices."""

    tree: Path
    environment: Environment
    system: Up


@pytest.fixture(scope="module")
def development(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Development]:
    """Shared by the tests of the start and of the reload."""
    folder = tmp_path_factory.mktemp("development")
    environment = Environment(copy_data(data, folder / "var"))
    environment["SOURCES"] = "synthetic"
    tree = copy_product(folder / "tree")
    with starter(environment, folder, "--reload", root=tree) as start:
        yield Development(tree, environment, start().ready())


def copy_product(root: Path) -> Path:
    """Copy the files that run, compiled ones included, so that a test can edit them."""
    for folder in (*FOLDERS, "clients/web", "data/scenarios"):
        shutil.copytree(ROOT / folder, root / folder)
    for file in FILES:
        shutil.copy2(ROOT / file, root / file)
    return root


def test_ready_line_follows_the_first_synthetic_price(development: Development) -> None:
    rest = development.system.run["rest"]
    status, body = get(rest, "/price/latest?symbol=EUR_USD")
    assert (status, json.loads(body)["seq"] >= 1) == (200, True)
    source = json.loads(get(rest, "/health")[1])["sources"]["synthetic"]
    assert source["state"] in ("connecting", "live")
    until(lambda: running.answers(rest, "/health"), 30, "health")
    shown = manage(development.environment, "status").stdout
    assert re.search(r"^source synthetic: live since \S+Z, last record \d+ s ago$", shown, re.MULTILINE), shown


@pytest.mark.slow
def test_edited_file_restarts_the_processes_that_use_it(development: Development) -> None:
    tree, _, system = development
    route, loop = Path("api/rest/routes/health.py"), Path("jobs/observer/loop.py")
    first = system.run["pids"]
    (tree / route).write_text("def (\n")
    until(lambda: "a changed file has a syntax error" in system.errors.read_text(), 30, "the error")
    assert f"file={route} line=1" in system.errors.read_text()
    assert system.run["pids"] == first
    assert running.answers(system.run["rest"], "/health/live")
    for file in (route, loop):
        (tree / file).write_text((ROOT / file).read_text() + "# edited\n")
    until(lambda: are_other(system, first, "rest", "observer"), 30, "the new processes")
    until(lambda: running.answers(system.run["rest"], "/health"), 30, "health")
    assert {**system.run["pids"], "rest": 0, "observer": 0} == {**first, "rest": 0, "observer": 0}
    assert "child ended, restarting" not in system.errors.read_text()


def are_other(system: Up, before: dict[str, int], *names: str) -> bool:
    """Return True if each of these processes runs with another pid than before."""
    pids = system.run["pids"]
    return all(pids.get(name, before[name]) != before[name] for name in names)


@pytest.fixture(scope="module")
def system(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running system whose processes recover in each test; it ends well after that."""
    folder = tmp_path_factory.mktemp("system")
    with starter(Environment(copy_data(data, folder / "var")), folder) as start:
        running_one = start().ready()
        yield running_one
        assert running_one.end(signal.SIGINT) == 0


@pytest.mark.slow
def test_killed_child_is_restarted(system: Up) -> None:
    for name in sorted(PROCESSES):
        before = system.run
        os.kill(before["pids"][name], signal.SIGKILL)
        until(lambda: system.run["pids"].get(name, before["pids"][name]) != before["pids"][name], 30, f"the new pid of {name}")  # noqa: B023
        until(lambda: running.answers(before["rest"], "/health"), 30, f"health after the end of {name}")  # noqa: B023
        assert f"child ended, restarting child={name}" in system.errors.read_text()
        after = system.run
        assert {**after, "pids": {}} == {**before, "pids": {}}
        assert {**after["pids"], name: 0} == {**before["pids"], name: 0}, name


@pytest.mark.slow
def test_pause_of_up_changes_nothing_for_its_children(system: Up) -> None:
    """Ctrl-Z sends SIGTSTP to the process group of the terminal: that of `up` alone."""
    before, supervisor = system.run, psutil.Process(system.process.pid)
    assert {os.getpgid(process.pid) for process in family(system)}.isdisjoint({os.getpgid(supervisor.pid)})
    for number in (signal.SIGTSTP, signal.SIGSTOP):
        supervisor.send_signal(number)
        until(lambda: supervisor.status() == psutil.STATUS_STOPPED, 20, "the pause")
        assert psutil.STATUS_STOPPED not in [process.status() for process in family(system)]
        assert running.answers(before["rest"], "/health/live")
        supervisor.send_signal(signal.SIGCONT)
        until(lambda: supervisor.status() != psutil.STATUS_STOPPED, 20, "the end of the pause")
    supervisor.suspend()
    os.kill(before["pids"]["rest"], signal.SIGKILL)
    supervisor.resume()
    until(lambda: system.run["pids"].get("rest", before["pids"]["rest"]) != before["pids"]["rest"], 30, "the new pid of REST")
    assert {**system.run["pids"], "rest": 0} == {**before["pids"], "rest": 0}
    assert "Traceback" not in system.errors.read_text()


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user cannot mount a file system")
    disk.chmod(0o755)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    """Take the space that the disk has left."""
    with file.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(1 << 16))


@pytest.mark.slow
def test_full_disk_loses_nothing_and_all_goes_on_with_room(data: Path, small_disk: Path, tmp_path: Path) -> None:
    environment = Environment(copy_data(data, small_disk / "var"))
    environment.update(SOURCES="synthetic", INGESTION_INTERVAL_SECONDS="0.1")
    with starter(environment, tmp_path) as start:
        system = start().ready()
        run = system.run

        def seqs() -> list[int]:
            rows = execute(run["database_url"], "SELECT seq FROM prices WHERE instrument = 'EUR_USD' ORDER BY seq")
            return [row[0] for row in rows or []]

        until(seqs, 30, "the first stored price")
        filler = small_disk / "filler"

        def is_redis_gone() -> bool:
            fill(filler)
            return "child waits child=redis" in system.errors.read_text()

        until(is_redis_gone, 30, "the end of Redis")
        filler.unlink()
        before = len(seqs())
        until(lambda: len(seqs()) > before + 5, 30, "further prices")
        stored = seqs()
        assert stored == list(range(stored[0], stored[0] + len(stored)))
        assert "Traceback" not in system.errors.read_text()
        until(lambda: running.answers(run["rest"], "/health"), 30, "health")
        assert system.end(signal.SIGTERM) == 0
