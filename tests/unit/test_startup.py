"""Start of the processes: one text per failure, and settings and logs once per process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import settings as settings_module
from config.loops import ProcessEnd
from config.process.fanout_loop import MISSING
from db.bus import LayoutDiffers
from ops import startup
from ops.process import Unfit
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running

COMMANDS = {
    "jobs": (sys.executable, "-m", "jobs.scheduler"),
    "health": (sys.executable, "-m", "jobs.health"),
    "hub": (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()"),
    "rest": (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/rest.py", "wsgi:rest()"),
    "manage": (sys.executable, "manage.py", "status"),
}
SERVERS = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    cleared = dict.fromkeys(("DATABASE_URL", "DB_HOST", "REDIS_URL", "REDIS_HOST", "LOG_FILE"), "")
    environment = {**os.environ, **cleared, "SOURCES": "", **environ}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_invalid_settings_are_named_and_the_exit_code_is_2(name: str) -> None:
    ended = run(*COMMANDS[name], API_PORT="http", **SERVERS)
    assert (ended.returncode, ended.stderr) == (
        2,
        "invalid settings:\n  API_PORT: Not a whole number: use 1 to 9 digits, without sign, separator or blank.\n",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_unwritable_log_file_is_named(name: str, tmp_path: Path) -> None:
    ended = run(*COMMANDS[name], LOG_FILE=str(tmp_path), **SERVERS)
    assert (ended.returncode, ended.stderr) == (2, "invalid settings:\n  LOG_FILE: cannot be written: Is a directory\n")


@pytest.mark.parametrize(("service", "verb"), [("jobs", "need"), ("hub", "needs"), ("rest", "needs")])
def test_process_without_servers_ends_with_their_settings(service: str, verb: str) -> None:
    command = COMMANDS["jobs"] if service == "jobs" else (sys.executable, "-c", f"import wsgi; wsgi.{service}()")
    ended = run(*command)
    text = f"{service} alone {verb} DATABASE_URL (or DB_*) and REDIS_URL (or REDIS_*); `manage.py up` brings its own servers\n"
    assert (ended.returncode, ended.stderr) == (1, text)


@pytest.mark.parametrize("service", ["hub", "rest"])
def test_gunicorn_ends_with_its_worker_if_servers_are_missing(service: str) -> None:
    ended = run(*COMMANDS[service], API_PORT=str(free_port()), WEBSOCKET_PORT=str(free_port()))
    assert (ended.returncode, ended.stderr.count(f"{service} alone needs DATABASE_URL")) == (1, 1)


def test_other_layout_is_logged_once_while_the_process_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    stops: list[str] = []
    end = ProcessEnd(lambda code: stops.append("at once"))
    end.in_order(lambda: stops.append("in order"), lambda leave: None)
    monkeypatch.setattr(startup, "PROCESS_END", end)
    for _ in range(3):  # one for each connection that is made anew
        startup._end(LayoutDiffers(8, 16))
    assert ([record.getMessage() for record in caplog.records], stops, end.code) == ([str(LayoutDiffers(8, 16))], ["in order"], 2)


def test_hub_that_waits_for_its_servers_ends_in_order(tmp_path: Path) -> None:
    environ = {"WEBSOCKET_PORT": str(free_port()), "SOURCES": "", **SERVERS}
    with Running([*COMMANDS["hub"]], environ, tmp_path / "log") as hub:
        assert hub.popen is not None
        until(lambda: "no connection to PostgreSQL" in hub.output(), what="the first check")
        hub.popen.terminate()
        assert hub.popen.wait(10) == 0, hub.output()  # gunicorn would kill it after its graceful timeout of 25 s


def test_hub_names_a_missing_extension_before_it_waits_for_servers() -> None:
    program = (
        "import ops.startup as startup\n"
        "startup.find_spec = lambda name: None\n"
        "import wsgi\n"
        "wsgi.hub()\n"
    )  # fmt: skip
    ended = run(sys.executable, "-c", program, FANOUT_LOOP="c", LOG_FORMAT="text", **SERVERS)
    assert (ended.returncode, ended.stderr.count(MISSING), "no connection" in ended.stderr) == (2, 1, False)


def test_application_uses_the_settings_and_logs_of_gunicorn_s_configuration() -> None:
    program = (
        "import config.settings as settings, config.logs.setup as logs\n"
        "calls = []\n"
        "load, configure = settings.load, logs.configure\n"
        "settings.load = lambda **k: calls.append('load') or load(**k)\n"
        "logs.configure = lambda *a, **k: calls.append('configure') or configure(*a, **k)\n"
        "import config.gunicorn.rest, wsgi\n"
        "app = wsgi.rest()\n"
        "print(calls, app.name)\n"
    )
    ended = run(sys.executable, "-c", program, **SERVERS)
    assert (ended.returncode, ended.stdout) == (0, "['load', 'configure'] api.app\n"), ended.stderr


def test_up_without_the_extension_that_the_setting_requires_is_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "find_spec", lambda name: None)
    for loop in ("auto", "python"):
        startup.check_fanout_loop(settings_module.load({"FANOUT_LOOP": loop}, dotenv=None))
    with pytest.raises(Unfit, match=r"^FANOUT_LOOP is c, but the extension is not installed: install a C compiler and Python\.h, then"):
        startup.check_fanout_loop(settings_module.load({"FANOUT_LOOP": "c"}, dotenv=None))
