"""The client programs of PostgreSQL: their choice by version, and their run."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from config.process.variables import read_variables
from config.secrets import scrub
from db.backups import major_of, without_password
from ops.children import describe_end, kill_group, spawn, stop_asked
from ops.embedded.postgres import NEWEST, programs_of
from ops.embedded.server import ENV
from ops.process import StartError, StopAsked, Unfit

_POLL_SECONDS = 0.05
_TAIL_LINES = 10  # of the output of a program that failed


@dataclass(frozen=True, slots=True)
class Program:
    """A client program, and its version as it prints it, such as 18.4."""

    path: Path
    version: str


def choose(name: str, at_least: int, *, embedded: bool) -> Program:
    """Return a program of PostgreSQL of the major version `at_least` or newer. Raises `Unfit`.

    For a server of the operator's own, a program on the PATH comes first: that of the wheel has no
    TLS.
    """
    ours = programs_of(NEWEST) / name
    found = shutil.which(name)
    candidates = [ours] if embedded or found is None else [Path(found), ours]
    for path in candidates:
        version = _version_of(path)
        if major_of(version) >= at_least:
            return Program(path, version)
    raise Unfit(f"{name} of PostgreSQL {at_least} or newer is needed: install the package postgresql-client-{at_least}")


def _version_of(path: Path) -> str:
    done = subprocess.run((str(path), "--version"), capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"\) (\S+)", done.stdout)
    return found[1] if found else ""


def connection(url: str, *, embedded: bool) -> tuple[str, dict[str, str]]:
    """Return the connection string for a command line, and the environment with the password."""
    words, password = without_password(url)
    # Programs of the operator's own servers read PGSSLROOTCERT and others, as our processes do.
    env = dict(ENV) if embedded else {name: value for name, value in read_variables(None, None, None).items() if value is not None}
    return words, {**env, "PGCONNECT_TIMEOUT": "10", **({"PGPASSWORD": password} if password else {})}


def run(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    name: str | None = None,
    watch: Callable[[], None] = lambda: None,
    interruptible: bool = True,
) -> None:
    """Run a program to its end; `watch` is called meanwhile and may raise.

    Its output is in the error alone, after `name`, by default that of the file. Raises `StartError`
    if it fails, and `StopAsked` on a stop signal, which waits if the program is not
    `interruptible`.
    """
    with tempfile.NamedTemporaryFile(prefix="tickwire-", suffix=".log") as output:
        child = spawn(argv, env=env, log_file=Path(output.name), inherit=(), death_signal=Signals.SIGINT)
        try:
            while child.poll() is None:
                if interruptible and stop_asked():
                    raise StopAsked
                watch()
                time.sleep(_POLL_SECONDS)
        finally:
            if child.poll() is None:
                kill_group(child.pid)
                child.wait()
        if child.returncode != 0:
            text = Path(output.name).read_text(errors="replace").strip().splitlines()[-_TAIL_LINES:]
            failed = f"{name or Path(argv[0]).name} failed ({describe_end(child.returncode)})"
            raise StartError(scrub("\n  ".join((failed, *text))))


def private_folder(folder: Path) -> None:
    """Create the folder, if it is missing, for its owner alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
