"""Shared parts of both embedded servers: description, port, environment, log."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ops.supervisor import Process, StartError, Unfit

# Without the environment of the operator's shell: its PGPORT or PGOPTIONS belong to other servers.
ENV = {"PATH": os.defpath, "LC_ALL": "C"}
START_SECONDS = 300.0  # crash recovery and a long append-only file take long
_PORTS = range(20000, 32000)
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Process):
    """A process with the address `url`, which contains its password and survives restarts."""

    url: str = field(repr=False)


def wheel(name: str) -> Path:
    """Return the folder of an installed package without importing it.

    Only its binaries are used, and its import is slow.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise StartError(f"the package {name} is not installed: run `make run`, or pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]).resolve()


def free_port(avoid: Collection[int] = ()) -> int:
    """Return a free port of the loopback interface that also stays free for a restart.

    The kernel assigns no port outside the ephemeral range to an outgoing connection.
    """
    low, high = map(int, _EPHEMERAL.read_text().split()) if _EPHEMERAL.is_file() else (32768, 60999)
    ports = [port for port in _PORTS if not low <= port <= high and port not in avoid] or list(_PORTS)
    start = random.randrange(len(ports))  # noqa: S311  # so that two simultaneous starts try different ports
    for port in ports[start:] + ports[:start]:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise Unfit(f"no port on 127.0.0.1 is free between {_PORTS.start} and {_PORTS.stop}: end what listens there, or use your own servers")


def log_file(hub_dir: Path, name: str) -> Path:
    """Return the path of the server's log, in a folder that exists."""
    file = hub_dir / "logs" / f"{name}.log"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    return file
