"""The remains of an upgrade of PostgreSQL that was killed: a start goes back to the old data."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path
from signal import Signals

import psutil

from ops.embedded.remains import end_processes, postgres_in
from ops.private_files import sync

log = logging.getLogger(__name__)

NEW = "postgres.new"  # the new cluster, until it takes the place of the old one
_STOP_SECONDS = 20.0


def undo_upgrade(hub_dir: Path) -> None:
    """Make the old data usable again and remove the new cluster, if an upgrade has left one.

    The caller holds the data directory. The new cluster has served no client, so nothing is lost.
    """
    data, new = hub_dir / "postgres", hub_dir / NEW
    if not new.exists():
        return
    log.warning("an upgrade of PostgreSQL was interrupted: the old data are used", extra={"path": str(data)})
    end_processes(_tools(hub_dir))
    _stop_servers(data)
    _stop_servers(new)
    control = data / "global" / "pg_control"
    disabled = control.with_name("pg_control.old")  # the name that pg_upgrade --link gives it
    if disabled.exists() and not control.exists():
        disabled.rename(control)
        sync(control.parent)
    shutil.rmtree(new)


def _tools(hub_dir: Path) -> list[psutil.Process]:
    """Return pg_upgrade, and the pg_ctl that it has started, if they outlived the command."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() in ("pg_upgrade", "pg_ctl") and str(hub_dir) in " ".join(process.cmdline()):
                found.append(process)
    return found


def _stop_servers(data: Path) -> None:
    """Stop the servers that pg_upgrade has left: they are not its children any more."""
    processes = postgres_in(data)
    lock = data / "postmaster.pid"
    pid = lock.read_text().split("\n", 1)[0].strip() if lock.is_file() else ""
    for process in processes:
        if str(process.pid) == pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(Signals.SIGINT)  # fast: a checkpoint is written
    _, left = psutil.wait_procs(processes, timeout=_STOP_SECONDS)
    end_processes(left)
