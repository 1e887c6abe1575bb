"""Processes of a PostgreSQL whose supervisor was killed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import psutil

from ops.supervisor import StartError

log = logging.getLogger(__name__)


def remove_remains(data: Path) -> None:
    """Remove the remains of a killed PostgreSQL before a start.

    Otherwise the new one refuses to start.

    Its backends end by themselves. Each is in a session of its own, so that no process group
    contains them. Its lock file contains a pid, which after a reboot may belong to any process.
    """
    lock = data / "postmaster.pid"
    left = postgres_in(data)
    if lock.is_file() and any(lock.read_text().split("\n", 1)[0].strip() == str(process.pid) for process in left):
        raise StartError(f"a PostgreSQL that this command did not start (pid {lock.read_text().split()[0]}) uses {data}: stop it first")
    _, stubborn = psutil.wait_procs(left, timeout=5)
    end_processes(stubborn)
    lock.unlink(missing_ok=True)


def end_processes(stubborn: Sequence[psutil.Process]) -> None:
    """Kill processes that did not end in time. Raises `StartError` if one stays."""
    for process in stubborn:
        log.warning("killing a process of an earlier PostgreSQL", extra={"pid": process.pid})
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, left = psutil.wait_procs(stubborn, timeout=5)
    if left:
        raise StartError(f"a process of an earlier PostgreSQL (pid {left[0].pid}) does not end, even by SIGKILL: it may wait for a disk")


def postgres_in(data: Path) -> list[psutil.Process]:
    """Return the PostgreSQL processes with this working directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data):
                found.append(process)
    return found
