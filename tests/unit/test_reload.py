"""`up --reload`: the files that changed, the processes that use them, and the time of restarts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

import pytest

from cli.system import processes
from config import settings as settings_module
from ops.reload.choice import concerned, graph_of
from ops.reload.reloader import Reloader
from ops.reload.source_files import SourceFiles
from tests.support.processes import ROOT

ENTRIES = {"jobs": ("jobs.main",), "hub": ("wsgi", "api.hub"), "rest": ("wsgi", "api.rest")}
TREE = {
    "wsgi.py": "def hub():\n    import api.hub\n\n\ndef rest():\n    import api.rest\n",
    "manage.py": "import cli\n",
    "api/__init__.py": "",
    "api/hub.py": "from db.bus import write\n",
    "api/rest.py": "from db import read\n",
    "cli/__init__.py": "",
    "db/__init__.py": "",
    "db/read.py": "",
    "db/bus/__init__.py": "",
    "db/bus/write.py": "def run():\n    from ..read import rows\n",
    "db/bus/step.lua": "return 1\n",
    "jobs/main.py": "import db.bus.write\n",
    "jobs/broken.py": "def (\n",
}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def paths(names: Iterable[str]) -> list[PurePosixPath]:
    return [PurePosixPath(name) for name in names]


# the choice of processes


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (["db/bus/write.py"], ["jobs", "hub"]),
        (["db/read.py"], ["jobs", "hub", "rest"]),  # two of them import it inside a function
        (["db/bus/step.lua"], ["jobs", "hub"]),
        (["db/bus/__init__.py"], ["jobs", "hub"]),
        (["api/__init__.py"], ["hub", "rest"]),
        (["wsgi.py"], ["hub", "rest"]),
        (["api/rest.py", "jobs/main.py"], ["jobs", "rest"]),
        (["cli/__init__.py", "manage.py", "jobs/broken.py", "api/new.py"], []),
        ([], []),
    ],
)
def test_process_is_concerned_if_it_imports_a_changed_file(changed: list[str], names: list[str]) -> None:
    sources = {PurePosixPath(name): text for name, text in TREE.items() if name.endswith(".py")}
    assert concerned(paths(changed), graph_of(sources), ENTRIES) == names


def test_processes_of_up_are_concerned_by_their_own_files() -> None:
    entries = {each.name: each.modules for each in processes(settings_module.load({}, dotenv=None), {})}
    graph = graph_of(SourceFiles(ROOT).sources())
    of = {
        name: concerned(paths([name]), graph, entries)
        for name in (
            *("jobs/store/writer.py", "jobs/observer/loop.py", "api/hub/relay/relay.py", "api/rest/limits/slots.py", "api/access/model.py"),
            *("config/gunicorn/eventlet_worker.py", "config/gunicorn/rest_worker.py", "db/bus/report.lua", "config/settings.py"),
            *("db/reports/fills.py", "ops/supervisor.py", "cli/system.py"),
        )
    }
    assert of == {
        "jobs/store/writer.py": ["jobs"],
        "jobs/observer/loop.py": ["observer"],
        "api/hub/relay/relay.py": ["hub"],
        "api/rest/limits/slots.py": ["rest"],
        "api/access/model.py": ["hub", "rest"],
        "config/gunicorn/eventlet_worker.py": ["hub"],
        "config/gunicorn/rest_worker.py": ["rest"],
        "db/bus/report.lua": ["jobs", "books", "observer", "hub", "rest"],
        "config/settings.py": ["jobs", "books", "observer", "hub", "rest"],
        "db/reports/fills.py": ["observer", "rest"],
        "ops/supervisor.py": [],
        "cli/system.py": [],
    }


def test_every_process_of_up_has_its_modules() -> None:
    modules = {path.removesuffix(".py").replace("/", ".") for path in map(str, SourceFiles(ROOT).sources())}
    for process in processes(settings_module.load({}, dotenv=None), {}):
        assert process.modules
        assert set(process.modules) <= modules
        assert process.argv[2] in (process.modules[0].removesuffix(".__main__"), "gunicorn")


# the files


def test_changed_files_are_those_with_another_time_or_size(tmp_path: Path) -> None:
    write(tmp_path, {**TREE, "db/__pycache__/read.py": "", "db/notes.md": "", "tests/test_read.py": ""})
    files = SourceFiles(tmp_path)
    assert files.changed() == set()
    write(tmp_path, {"db/read.py": "# longer\n", "db/added.py": "", "db/notes.md": "more", "db/__pycache__/read.py": "more"})
    (tmp_path / "api/rest.py").unlink()
    assert files.changed() == set(paths(["db/read.py", "db/added.py", "api/rest.py"]))
    assert files.changed() == set()
    assert files.read(PurePosixPath("api/rest.py")) is None


# the time of restarts


class Recorder:
    """Records the processes that it would restart."""

    modules = ENTRIES

    def __init__(self) -> None:
        self.restarted: list[list[str]] = []

    def restart(self, names: Collection[str]) -> None:
        self.restarted.append(list(names))


class Clock:
    """A clock on which each look is due."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def reloader(tmp_path: Path, recorder: Recorder) -> Reloader:
    write(tmp_path, TREE)
    return Reloader(tmp_path, recorder, Clock())


def test_changes_count_together_until_they_end(tmp_path: Path, reloader: Reloader, recorder: Recorder) -> None:
    reloader.look()
    write(tmp_path, {"api/rest.py": "# first\n"})
    reloader.look()
    write(tmp_path, {"jobs/main.py": "# second\n"})
    reloader.look()
    assert recorder.restarted == []
    reloader.look()
    reloader.look()
    assert recorder.restarted == [["jobs", "rest"]]


def test_look_that_is_not_due_reads_nothing(tmp_path: Path, recorder: Recorder) -> None:
    write(tmp_path, TREE)
    reloader = Reloader(tmp_path, recorder, lambda: 0.0)
    write(tmp_path, {"api/rest.py": "# changed\n"})
    for _ in range(3):
        reloader.look()
    assert recorder.restarted == []


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [("x = 1\ndef (\n", 2, "invalid syntax"), ("x = '\0'\n", None, "source code string cannot contain null bytes")],
)
def test_syntax_error_names_its_file_and_delays_the_restart(
    tmp_path: Path,
    reloader: Reloader,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    text: str,
    line: int | None,
    reason: str,
) -> None:
    write(tmp_path, {"api/rest.py": text, "jobs/main.py": "# correct\n"})
    for _ in range(4):
        reloader.look()
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "syntax error" in record.getMessage()
    assert (record.__dict__["file"], record.__dict__["line"], record.__dict__["reason"]) == ("api/rest.py", line, reason)
    assert recorder.restarted == []
    write(tmp_path, {"api/rest.py": "x = 1\n"})
    for _ in range(3):
        reloader.look()
    assert recorder.restarted == [["jobs", "rest"]]


def test_file_that_no_process_uses_restarts_nothing(
    tmp_path: Path, reloader: Reloader, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write(tmp_path, {"cli/__init__.py": "# changed\n"})
    for _ in range(3):
        reloader.look()
    assert recorder.restarted == []
    [record] = [each for each in caplog.records if each.name == "ops.reload.reloader"]
    assert record.__dict__["files"] == ["cli/__init__.py"]
