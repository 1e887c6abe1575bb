"""The compared servers, started as in production, and their CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from signal import Signals

import psutil

from ops.children import kill_group, spawn, tail
from ops.embedded.server import free_port
from tests.bench import npm
from tests.bench.client import SOCKET_IO
from tests.bench.compiler import NoCompiler, compiled
from tests.bench.cores import Cores
from tests.bench.peers import nchan

ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
LOOP = "c" if find_spec("tickwire_sendmany") else "python"  # of Tickwire: a hub that cannot use it does not start
_CPU_CLOCK = 2  # of another process, as clock_getcpuclockid(3) makes it


class BenchError(Exception):
    """The benchmark cannot continue; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to measure; the load generator expects its `protocol` and `greeting`."""

    key: str
    label: str
    argv: Callable[[int], tuple[str, ...]]  # by port
    protocol: str = "socketio"
    greeting: bool = False
    path: str = SOCKET_IO  # of its clients
    environ: Mapping[str, str] = field(default_factory=dict)
    helper: Callable[[int], tuple[str, ...]] | None = None  # a process beside it, which is not measured
    missing: Callable[[], str | None] = lambda: None  # the reason why it cannot run
    most_rounds: int = 9


def _python(module: str) -> Callable[[int], tuple[str, ...]]:
    return lambda port: (sys.executable, "-m", module, str(port))


def _hub(port: int) -> tuple[str, ...]:
    return (sys.executable, "-m", "gunicorn", "-c", "config/gunicorn/hub.py", "wsgi:hub()")


def _uncompiled() -> str | None:
    try:
        compiled("peers/floor.c")
    except NoCompiler as error:
        return str(error)
    return None


PEERS = {
    peer.key: peer
    for peer in (
        Peer("tickwire", "Tickwire", _hub, greeting=True, environ={"FANOUT_LOOP": LOOP}),
        Peer(
            "tickwire_python", "Tickwire, Python loop", _hub, greeting=True, environ={"FANOUT_LOOP": "python"}, most_rounds=2,
            missing=lambda: None if LOOP == "c" else "the same as Tickwire: the C extension is not installed",
        ),
        Peer("node", "Socket.IO on Node", lambda port: ("node", str(npm.NODE.folder / "server.mjs"), str(port)), missing=npm.NODE.install),
        Peer(
            "bun", "Bun", lambda port: (f"{npm.BUN.folder}/node_modules/.bin/bun", f"{npm.BUN.folder}/server.ts", str(port)),
            protocol="plain", path="/?ids={ids}", missing=npm.BUN.install,
        ),
        Peer(
            "nchan", "nchan on nginx", _python("tests.bench.peers.nchan"), protocol="plain", path="/sub?ids={ids}", missing=nchan.missing,
            helper=_python("tests.bench.peers.nchan_publisher"), most_rounds=2,
        ),
        Peer("flask", "Flask-SocketIO, eventlet", _python("tests.bench.peers.flask_stock"), most_rounds=2),
        Peer("floor", "floor, Python: bare send()", _python("tests.bench.peers.floor"), protocol="raw"),
        Peer(
            "floor_c", "floor, C: bare send()", lambda port: (str(compiled("peers/floor.c")), str(port)), protocol="raw",
            missing=_uncompiled,
        ),
        Peer(
            "join_c", "C, a batch joined per client", lambda port: (str(compiled("peers/floor.c")), str(port), "joined"), protocol="raw",
            missing=_uncompiled,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of all processes of a server. Shared pages count once in `pss`, not in `uss`."""

    rss: int
    pss: int
    uss: int


class Server:
    """A running peer: its process and the descendants."""

    def __init__(self, peer: Peer, port: int, pid: int) -> None:
        self.peer, self.port, self.pid = peer, port, pid
        self._pids = [pid]

    def find_processes(self) -> None:
        """Find the descendants; call it when the server is ready and has started them."""
        self._pids = [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def cpu(self) -> float:
        """Return the user and system seconds of all processes so far, with nanosecond resolution.

        The ticks of /proc have 10 ms.
        """
        try:
            return sum(time.clock_gettime((~pid << 3) | _CPU_CLOCK) for pid in self._pids)
        except OSError:
            raise BenchError(f"a process of {self.peer.label} has ended") from None

    def kill(self) -> None:
        """Kill all processes at once, as `kill -9` does."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, Signals.SIGKILL)

    def memory(self) -> Memory:
        """Return the memory of all processes."""
        each = [psutil.Process(pid).memory_full_info() for pid in self._pids]
        return Memory(sum(one.rss for one in each), sum(one.pss for one in each), sum(one.uss for one in each))


@contextlib.contextmanager
def running(peer: Peer, environ: dict[str, str], log: Path, cores: Cores) -> Iterator[Server]:
    """Start the peer and wait until it serves; the end of the block kills it and its children."""
    port = free_port()
    env = {**os.environ, "NODE_ENV": "production", **environ, **peer.environ, "WEBSOCKET_PORT": str(port)}
    with cores.of_server():
        popen = spawn(peer.argv(port), env=env, log_file=log, inherit=(), death_signal=Signals.SIGKILL)
    helper = spawn(peer.helper(port), env=env, log_file=log, inherit=(), death_signal=Signals.SIGKILL) if peer.helper else None
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _serves(peer, port):
            if popen.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{peer.label} does not start{tail(log)}")
            time.sleep(0.05)
        server = Server(peer, port, popen.pid)
        server.find_processes()
        yield server
    finally:
        for process in (popen, helper):
            if process is not None:
                kill_group(process.pid)
                process.wait()


def _serves(peer: Peer, port: int) -> bool:
    if peer.protocol != "socketio":
        return any(one.laddr.port == port for one in psutil.net_connections("tcp4") if one.status == psutil.CONN_LISTEN)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
