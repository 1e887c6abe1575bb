"""File descriptors of a process: their limit, and the number of clients that fit into it."""

from __future__ import annotations

import logging
import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

RESERVED = 5  # for the bus, the store and the acceptor
_REQUESTS = 10  # connections whose request is read or answered, such as health checks
_GROWTH = 16  # connections to the bus and the store that are opened later
_OTHERS = 200  # descriptors of a hub besides two for each client and one for each plain socket
_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))


@dataclass(frozen=True, slots=True)
class Room:
    """The clients of a hub, its plain sockets, and its sessions: also those of clients that are
    refused or have not joined."""

    clients: int
    sessions: int
    plain: int = 0


def soft_limit() -> int:
    """Return the number of descriptors that this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def count() -> int | None:
    """Return the number of open descriptors; None if the system does not list them."""
    for folder in _FOLDERS:
        with suppress(OSError):
            return len(os.listdir(folder)) - 1  # without that of the listing itself
    return None


def raise_limit(needed: int) -> int:
    """Raise the soft limit to `needed`, as far as the hard limit allows; return the soft limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft_limit() < wanted:
        with suppress(ValueError, OSError):  # macOS has a further limit, `kern.maxfilesperproc`
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft_limit()


def descriptors_needed(max_clients: int, max_plain: int) -> int:
    """Return the descriptors of a hub with these clients and plain sockets."""
    return 2 * max_clients + max_plain + _OTHERS


def make_room(max_clients: int, max_plain: int = 0) -> Room:
    """Raise the limit for a hub with these clients and plain sockets; if that fails, admit fewer.

    `max_plain` is the sum of all routes of plain sockets.
    """
    needed = descriptors_needed(max_clients, max_plain)
    has = raise_limit(needed)
    if has >= needed:
        return Room(max_clients, 2 * max_clients + _OTHERS // 2, max_plain)
    room = fitting(has, count() or 0, max_plain / (2 * max_clients + max_plain))
    log.warning(
        "WEBSOCKET_MAX_CLIENTS and WS_MAX_CONNECTIONS exceed the limit of file descriptors: raise `ulimit -Hn` (systemd: LimitNOFILE=)",
        extra={
            "has": has,
            "needs": needed,
            "setting": "WEBSOCKET_MAX_CLIENTS",
            "max_clients": max_clients,
            "admitted": room.clients,
            "admitted_plain": room.plain,
        },
    )
    return room


def fitting(limit: int, opened: int, plain_share: float = 0.0) -> Room:
    """Return the room below `limit` for a process with `opened` descriptors.

    The numbers follow from the need of 2 × clients + plain sockets + 200; below a limit of 400 the
    200 become a half of it. `plain_share` is the share of plain sockets in the rest.
    """
    for_all = limit - min(_OTHERS, limit // 2)
    plain = max(1, int(for_all * plain_share)) if plain_share else 0
    clients = max(1, (for_all - plain) // 2)
    free = limit - opened - _GROWTH - _REQUESTS - RESERVED - plain
    return Room(clients, max(clients + 1, min(2 * clients + _OTHERS // 2, free)), plain)
