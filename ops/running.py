"""A running system from outside: data directory and lock, ports, `run.json`."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import psutil

from config.settings import Settings
from health.reports import ROLES
from ops.private_files import write_private
from ops.process import Unfit

_LOCK = "up.lock"
_RUN = "run.json"


class RunError(Exception):
    """The system cannot be started, or does not run; the text is for the operator."""


class Busy(RunError):
    """Another `up` holds the data directory."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """Content of `run.json`: addresses of a running system, and pids by process name.

    The two last URLs contain passwords.
    """

    rest: str
    hub: str
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    pids: dict[str, int]

    def write(self, hub_dir: Path) -> None:
        """Replace `run.json` in the data directory."""
        write_private(hub_dir / _RUN, json.dumps(asdict(self), indent=2) + "\n")


def read(hub_dir: Path) -> RunFile | None:
    """Return the `run.json` of the data directory; None if there is none, or it is unusable."""
    try:
        return RunFile(**json.loads((hub_dir / _RUN).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def forget(hub_dir: Path) -> None:
    """Remove `run.json`."""
    (hub_dir / _RUN).unlink(missing_ok=True)


def prepare_data_dir(hub_dir: Path) -> None:
    """Create the directory if it is missing. Raises `Unfit` if it cannot be used."""
    # The PostgreSQL of root runs as another user, which needs to enter. All entries inside are
    # private by themselves.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        hub_dir.parent.mkdir(parents=True, exist_ok=True)
        hub_dir.mkdir(exist_ok=True, mode=mode)
    except OSError as error:
        raise Unfit(f"HUB_DATA_DIR {hub_dir} cannot be made ({error.strerror}): set another HUB_DATA_DIR") from error
    if not os.access(hub_dir, os.R_OK | os.W_OK | os.X_OK):
        owner = hub_dir.stat().st_uid
        raise Unfit(f"HUB_DATA_DIR {hub_dir} is not writable for this user: run as its owner (uid {owner}), or set another HUB_DATA_DIR")


@contextmanager
def locked(hub_dir: Path, patience: float = 60.0) -> Iterator[int]:
    """Lock the data directory for this process and its children.

    Yields the file descriptor of the lock.

    Children inherit the descriptor, and the kernel releases the lock after the last of them has
    ended. If the last `up` was killed, this waits up to `patience` seconds for its children, which
    are ending. Raises `Busy` if an `up` runs.
    """
    descriptor = os.open(hub_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip()
            if holder.isdigit() and psutil.pid_exists(int(holder)):
                raise Busy(f"already running on {hub_dir} (pid {holder}): stop that one first, or set another HUB_DATA_DIR")
            if time.monotonic() > deadline:
                raise Busy(f"processes of an earlier run still use {hub_dir}; `fuser {hub_dir / _LOCK}` names them")
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def listeners(chosen: Settings, roles: Collection[str] = ROLES) -> list[tuple[str, str, int]]:
    """Return prefix of the variables, host and port of each address on which these roles listen."""
    rest = [("API", chosen.api_host, chosen.api_port)] if "rest" in roles else []
    hubs = [("WEBSOCKET", chosen.websocket_host, port) for port in chosen.hub_ports if "hub" in roles]
    return [*rest, *hubs, *(("METRICS", chosen.metrics_host, port) for role, port in chosen.metrics_ports.items() if role in roles)]


def check_ports(*wanted: tuple[str, str, int]) -> None:
    """Raise `Unfit` unless all (prefix of the variables, host, port) are free together."""
    with ExitStack() as held:
        for prefix, host, port in wanted:
            try:
                family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
                listener = held.enter_context(socket.socket(family, kind))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(1)  # without it the next bind to the same port would succeed
            except OSError as error:
                raise Unfit(port_message(prefix, host, port, error)) from error


def port_message(prefix: str, host: str, port: int, error: OSError) -> str:
    """Return the text for an operator whose `PREFIX_PORT` on `PREFIX_HOST` cannot be opened."""
    if error.errno == errno.EADDRINUSE:
        return f"{prefix}_PORT: port {port} on {host} is in use; stop what listens there or set another {prefix}_PORT"
    if error.errno == errno.EACCES:
        return f"{prefix}_PORT: this user may not listen on port {port}; set one above 1023"
    return f"{prefix}_HOST: cannot listen on {host}: {error.strerror}"


def get(url: str, path: str, seconds: float = 2.0, key: str | None = None) -> tuple[int, bytes]:
    """Return status and body of a GET, as `send` does. `key` is a key or token of the caller."""
    return send("GET", url, path, headers={"Authorization": f"Bearer {key}"} if key else {}, seconds=seconds)


def send(
    method: str, url: str, path: str, body: str | None = None, headers: Mapping[str, str] = MappingProxyType({}), *, seconds: float
) -> tuple[int, bytes]:
    """Return status and body of a request, without the proxies of the environment.

    Status 0 if there is no answer.
    """
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        with closing(kind(parts.hostname or "", parts.port, timeout=seconds)) as connection:
            connection.request(method, parts.path.rstrip("/") + path, body, {"Accept": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
    except (OSError, ValueError, http.client.HTTPException):
        return 0, b""


def failure_of(url: str, seconds: float = 2.0) -> str:
    """Return in a few words why no request to `url` is answered."""
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return "no URL such as http://127.0.0.1:5000"
        address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        socket.create_connection(address, timeout=seconds).close()
    except ValueError:
        return "no URL such as http://127.0.0.1:5000"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "timed out"
    except socket.gaierror:
        return "unknown host"
    except OSError as error:
        return error.strerror or type(error).__name__
    return "no answer"


def answers(url: str, path: str) -> bool:
    """Return True if a GET is answered with 200."""
    return get(url, path)[0] == 200
