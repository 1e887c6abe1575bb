"""The units of systemd and the rotation of log files: valid, and with the commands of the code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import manage
from cli import system
from config import settings
from config.loops import UNFIT_CODE
from tests.support.processes import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = ("tickwire-migrate", "tickwire-jobs", "tickwire-observer", "tickwire-books", "tickwire-rest", "tickwire-hub@", "tickwire-all")
PYTHON = "/usr/bin/env .venv/bin/python "
KEYS = {
    "User": "tickwire",
    "StateDirectory": "tickwire",
    "EnvironmentFile": "/etc/tickwire/env -/etc/tickwire/%p.env",
    "LimitNOFILE": "65536",
    "KillMode": "mixed",
    "TimeoutStopSec": "30",
    "RestartSec": "1",
    "RestartPreventExitStatus": str(UNFIT_CODE),
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "CapabilityBoundingSet": "",
}


def unit(file: str) -> dict[str, str]:
    """Return key -> value of a unit; values of a repeated key are joined by a blank."""
    found: dict[str, str] = {}
    for line in (FOLDER / file).read_text().splitlines():
        key, equal, value = line.partition("=")
        if equal and not line.startswith("#"):
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


def test_units_are_those_of_the_documents() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {"tickwire.target", *(f"{name}.service" for name in SERVICES)}


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_its_keys(name: str) -> None:
    found = unit(f"{name}.service")
    assert KEYS.items() <= found.items()
    once = name == "tickwire-migrate"
    assert (found["Type"], found.get("RemainAfterExit")) == (("oneshot", "yes") if once else ("exec", None))
    # systemd refuses `always` for a oneshot unit.
    assert found["Restart"] == ("on-failure" if once else "always")
    assert found["StartLimitIntervalSec"] == "0"
    if name == "tickwire-all":
        assert found["Conflicts"] == "tickwire.target"
    else:
        assert found["PartOf"] == "tickwire.target"
    if name not in ("tickwire-all", "tickwire-migrate"):
        assert found["Requires"] == "tickwire-migrate.service"
        assert "tickwire-migrate.service" in found["After"].split()


def test_commands_are_those_of_up() -> None:
    for process in system.processes(settings.load({}, dotenv=None), {}):
        name = "tickwire-hub@" if process.name == "hub" else f"tickwire-{process.name}"
        port = "WEBSOCKET_PORT=%i " if process.name == "hub" else ""
        assert unit(f"{name}.service")["ExecStart"] == PYTHON.replace("env ", f"env {port}") + " ".join(process.argv[1:])
        assert process.stop_seconds < int(KEYS["TimeoutStopSec"])
    assert unit("tickwire-all.service")["ExecStart"] == f"{PYTHON}manage.py up"
    assert "manage.py migrate" in unit("tickwire-migrate.service")["ExecStart"]
    assert {"up", "migrate"} <= set(manage.COMMANDS)
    assert {f"{name}.service" for name in SERVICES[:5]} == set(unit("tickwire.target")["Wants"].split())


def migration(folder: Path, *codes: int) -> tuple[int, int]:
    """Run the command of the migration; return its exit code and the number of its attempts.

    Each attempt ends with the next one of `codes`.
    """
    program = folder / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    cases = " ".join(f"{number}) exit {code};;" for number, code in enumerate(codes, 1))
    program.write_text(f"#!/bin/sh\necho x >>calls\ncase $(wc -l <calls) in {cases} esac\n")
    program.chmod(0o700)
    (folder / "sleep").write_text("#!/bin/sh\n")
    (folder / "sleep").chmod(0o700)
    script = unit("tickwire-migrate.service")["ExecStart"].removeprefix("/bin/sh -c '").removesuffix("'")
    done = subprocess.run(["/bin/sh", "-c", script], cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"}, timeout=120, check=False)
    return done.returncode, len((folder / "calls").read_text().split())


def test_migration_is_repeated_until_the_database_answers(tmp_path: Path) -> None:
    assert migration(tmp_path, 1, 1, 0) == (0, 3)


def test_migration_ends_if_the_environment_has_to_change(tmp_path: Path) -> None:
    assert migration(tmp_path, 1, UNFIT_CODE) == (UNFIT_CODE, 2)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_every_unit_without_a_line(tmp_path: Path) -> None:
    def verify(*files: str) -> str:
        done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    assert verify(*(str(file) for file in sorted(FOLDER.iterdir()))) == ""
    wrong = tmp_path / "tickwire-rest.service"
    wrong.write_text((FOLDER / wrong.name).read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in verify(str(wrong), str(FOLDER / "tickwire-migrate.service"))


def test_log_files_are_rotated_by_rename() -> None:
    lines = [line.strip() for line in (ROOT / "deploy" / "logrotate" / "tickwire").read_text().splitlines()]
    assert {"daily", "rotate 14", "compress"} <= set(lines)
    assert "copytruncate" not in lines


@pytest.mark.skipif(shutil.which("logrotate", path="/usr/sbin:/usr/bin") is None, reason="logrotate is not installed")
def test_logrotate_accepts_the_file(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "logrotate" / "tickwire").read_text().replace("su tickwire tickwire", "")
    (tmp_path / "tickwire").write_text(text)
    (tmp_path / "tickwire").chmod(0o600)
    command = ["/usr/sbin/logrotate", "-d", "-s", str(tmp_path / "state"), str(tmp_path / "tickwire")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
