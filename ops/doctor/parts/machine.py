"""Checks of this machine: ports, limits, disk, data of the embedded PostgreSQL."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from config.process.descriptors import descriptors_needed
from ops.doctor.evidence import Evidence
from ops.doctor.parallel import Missing
from ops.doctor.results import Problem, Result, failure, result, warning
from ops.doctor.subject import Subject
from ops.embedded.environment import FREE_BYTES
from ops.embedded.postgres import data_version
from ops.process import Unfit
from ops.running import check_ports, listeners
from ops.upgrade.clusters import OLD_VERSION

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_MIN_SOMAXCONN = 2048  # the backlog of the hub
_FREE_SHARE = 0.1
_MEGABYTE = 1024 * 1024


def ports(subject: Subject, evidence: Evidence) -> Result:
    """Each port of the settings is free, or one of our processes listens on it."""
    wanted = listeners(subject.settings)
    ours = _own_pids(subject, evidence)
    problems, held = [], 0
    for prefix, host, port in wanted:
        try:
            check_ports((prefix, host, port))
        except Unfit as error:
            holder = _listener(port)
            if holder is not None and _is_ours(holder, ours, evidence):
                held += 1
            else:
                problems.append(_taken(prefix, port, str(error), holder))
    text = ", ".join(str(port) for _, _, port in wanted)
    return result("ports", f"{text}: {'free' if not held else 'in use by this system'}", problems)


def _taken(prefix: str, port: int, text: str, holder: psutil.Process | None) -> Problem:
    if "in use" not in text:  # the address itself is wrong
        return failure(text, f"set {prefix}_HOST and {prefix}_PORT to an address of this machine")
    name = "a process that this user may not see" if holder is None else _name(holder)
    return failure(f"{prefix}_PORT {port} is taken by {name}", f"stop it, or set another {prefix}_PORT")


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.name()} (pid {process.pid})"
    return f"pid {process.pid}"


def _listener(port: int) -> psutil.Process | None:
    """Return the process that listens on the port; None if this user may not see it."""
    with suppress(psutil.Error, OSError):
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid:
                return psutil.Process(each.pid)
    return None


def _own_pids(subject: Subject, evidence: Evidence) -> set[int]:
    """The processes of `run.json`, and those of this host in the registry."""
    ours = set(subject.system.pids.values()) if subject.system else set()
    if not isinstance(evidence.processes, Missing):
        reports = [process.report for process in evidence.processes.expected() if process.report]
        ours |= {report.body["pid"] for report in reports if report.body.get("host") == socket.gethostname() and "pid" in report.body}
    return ours


def _is_ours(process: psutil.Process, ours: set[int], evidence: Evidence) -> bool:
    """Return True for our processes and their workers.

    Without the registry, a server of this checkout counts as ours.
    """
    with suppress(psutil.Error):
        if ours & {process.pid, *(each.pid for each in process.parents())}:
            return True
        if isinstance(evidence.processes, Missing):
            return Path(process.cwd()) == Path.cwd() and any(word.startswith("wsgi:") for word in process.cmdline())
    return False


def limits(subject: Subject, evidence: Evidence) -> Result:
    """File descriptors and waiting connections of a hub."""
    chosen = subject.settings
    needed = descriptors_needed(chosen.websocket_max_clients, 2 * chosen.ws_max_connections)
    has, waiting = _hard_limit(subject), _somaxconn()
    problems = []
    if has is not None and has < needed:
        text = f"the hard `ulimit -n` is {has}: a hub needs {needed} for WEBSOCKET_MAX_CLIENTS and WS_MAX_CONNECTIONS"
        problems.append(warning(text, f"raise `ulimit -Hn` to {needed} (systemd: LimitNOFILE={needed}), or lower these settings"))
    if waiting is not None and waiting < _MIN_SOMAXCONN:
        text = f"net.core.somaxconn is {waiting}: connections of many clients at once are refused"
        problems.append(warning(text, f"sysctl -w net.core.somaxconn={_MIN_SOMAXCONN}, and a line of /etc/sysctl.d/tickwire.conf"))
    return result("limits", f"{'no limit' if has is None else f'{has:,}'} file descriptors, {needed:,} needed", problems)


def _hard_limit(subject: Subject) -> int | None:
    """The hard limit of descriptors of a running hub, else of this process; None: no limit."""
    has = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    pids = subject.system.pids if subject.system else {}
    with suppress(psutil.Error, AttributeError, KeyError, OSError):  # macOS has no limits of other processes
        has = psutil.Process(pids["hub"]).rlimit(psutil.RLIMIT_NOFILE)[1]
    return None if has == resource.RLIM_INFINITY else has


def _somaxconn() -> int | None:
    return int(_SOMAXCONN.read_text()) if _SOMAXCONN.is_file() else None


def disk(subject: Subject, evidence: Evidence) -> Result:
    """Room on the disk of the data directory, and partitions that should have been dropped."""
    folder = subject.settings.hub_data_dir.resolve()
    found = os.statvfs(next(each for each in (folder, *folder.parents) if each.exists()))
    free, share = found.f_frsize * found.f_bavail, found.f_bavail / max(1, found.f_blocks)
    text = f"{free // _MEGABYTE:,} MB free ({share:.0%}) on the disk of {folder}"
    remedy = "free some room, move HUB_DATA_DIR, or lower the RETENTION_* settings"
    problems = [failure(text, remedy)] if free < FREE_BYTES else [warning(text, remedy)] if share < _FREE_SHARE else []
    old = [] if isinstance(evidence.database, Missing) else evidence.database.old_partitions
    if old:
        names = ", ".join(old[:3]) + (f" and {len(old) - 3} more" if len(old) > 3 else "")
        problems.append(warning(f"partitions older than their retention: {names}", "`manage.py job run retention` drops them"))
    return result("disk", text, problems)


def embedded_postgres(subject: Subject, evidence: Evidence) -> Result:
    """The version of the data of the embedded PostgreSQL."""
    name, version = "embedded PostgreSQL", data_version(subject.settings.hub_data_dir)
    if subject.settings.database_url:
        return result(name, f"not used: {subject.settings.database_setting} is set")
    if version is None:
        return result(name, "no data yet")
    old = [warning(f"its data are of version {OLD_VERSION}", "stop `manage.py up`, then run `manage.py upgrade-database`")]
    return result(name, f"data of version {version}", old if version == OLD_VERSION else [])
