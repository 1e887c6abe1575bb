"""Hosts on one bridge, each a network namespace of its own. Needs Linux, root and iproute2.

A host that is cut off keeps its processes, its address and its connections; no packet leaves or
reaches it until it is joined again.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.network import changing

_MOST_NETWORKS = 250  # one /24 each


class NetworkError(Exception):
    """A command of iproute2 has failed; the text is its message."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a network; this process reaches it at `address`."""

    name: str
    namespace: str
    address: str
    link: str  # the end of its cable at the bridge

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return the command line that runs `words` on the host, as the process that it starts."""
        return ("ip", "netns", "exec", self.namespace, *words)


class Network:
    """A bridge with hosts. This process is the host `address`; the end of the block removes all.

    The processes on the hosts have to end first. Raises `NetworkError`.
    """

    def __init__(self) -> None:
        self._number = _claim()
        self._bridge = _bridge(self._number)
        self.hosts: dict[str, Host] = {}
        self.address = self._address(1)
        _ip("link", "set", self._bridge, "addrgenmode", "none")
        with changing():
            _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add(self, name: str) -> Host:
        """Add a host. Its name has at most 6 characters and is new in this network."""
        title = f"{self._bridge}-{name}"
        host = Host(name, title, self._address(10 + len(self.hosts)), title)
        inside = f"{self._bridge}+{name}"
        _ip("netns", "add", host.namespace)
        self.hosts[name] = host
        _ip("link", "add", host.link, "type", "veth", "peer", "name", inside)
        _ip("link", "set", host.link, "addrgenmode", "none")  # the only address here is that of the bridge
        _ip("link", "set", inside, "netns", host.namespace, "name", "eth0")
        _ip("link", "set", host.link, "master", self._bridge, "up")
        for words in (("link", "set", "lo", "up"), ("address", "add", f"{host.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", host.namespace, *words)
        return host

    def cut(self, *hosts: Host) -> None:
        """Cut the hosts off: from each other, from the other hosts and from this process."""
        for host in hosts:
            _ip("link", "set", host.link, "nomaster")

    def rejoin(self, *hosts: Host) -> None:
        """Join hosts again that are cut off; joined hosts stay as they are."""
        for host in hosts:
            _ip("link", "set", host.link, "master", self._bridge)

    def close(self) -> None:
        """Remove the hosts and the bridge; raises nothing.

        A cable goes before its namespace: the kernel removes the devices of a namespace later, and
        their names would stay in use.
        """
        for host in self.hosts.values():
            _run("link", "delete", host.link)
            _run("netns", "delete", host.namespace)
        with changing():
            _run("link", "delete", self._bridge)

    def _address(self, host: int) -> str:
        return f"10.213.{self._number}.{host}"


def unavailable() -> str | None:
    """Return the reason why this process cannot make networks, or None if it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"twprobe{os.getpid()}"
    if error := _run("netns", "add", name):
        return f"ip netns add: {error}"
    _run("netns", "delete", name)
    return None


def _claim() -> int:
    """Make the bridge with the first free number: several test processes run at the same time."""
    for number in itertools.count(1):
        error = _run("link", "add", _bridge(number), "type", "bridge")
        if not error:
            return number
        if "File exists" not in error or number == _MOST_NETWORKS:
            raise NetworkError(error)
    raise AssertionError


def _bridge(number: int) -> str:
    return f"tw{number}"


def _ip(*words: str) -> None:
    if error := _run(*words):
        raise NetworkError(f"ip {' '.join(words)}: {error}")


def _run(*words: str) -> str:
    """Run `ip`; return the text of its error, empty if it has succeeded."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=120)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
