"""Ports for the processes of tests. No port is given twice, also not to another test process.

A port is free when it is looked for and in use some time later. Meanwhile neither an outgoing
connection nor another worker of xdist may take it.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

_BLOCK_PORTS = 250
# Below the ephemeral range of Linux and below the ports that `up` chooses for embedded servers.
_BLOCKS = range(10_000, 20_000, _BLOCK_PORTS)
_TO_CLUSTER_BUS = 10_000  # from the port of a Redis server to that of its cluster bus

_claims: list[socket.socket] = []  # the first port of each block of this process, bound until its end
_left: Iterator[int] = iter(())


def free_port() -> int:
    """Return a free port of the loopback interface."""
    global _left
    while True:
        for port in _left:
            if _is_free(port):
                return port
        _left = _claimed_block()


def free_cluster_port() -> int:
    """Return a free port of the loopback interface whose cluster bus has a free port too."""
    while not _is_free((port := free_port()) + _TO_CLUSTER_BUS):
        continue
    return port


def two_free_ports() -> int:
    """Return the first of two adjacent free ports."""
    first, second = free_port(), free_port()
    while second != first + 1:
        first, second = second, free_port()
    return first


def _claimed_block() -> Iterator[int]:
    blocks = random.sample(_BLOCKS, len(_BLOCKS))
    for first in blocks:
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return iter(range(first + 1, first + _BLOCK_PORTS))
    raise AssertionError(f"no block of ports is free between {_BLOCKS.start} and {_BLOCKS.stop}")


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False
