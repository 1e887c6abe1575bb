"""Networks of hosts: reached, cut off and joined again, and removed without a rest."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.namespaces import Host, Network, NetworkError, unavailable
from tests.support.polling import until

REASON = unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
ECHO = """
import socket, sys
listener = socket.create_server((sys.argv[1], 7))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    while data := connection.recv(100):
        connection.sendall(data)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        made.add("a")
        made.add("b")
        yield made


@contextmanager
def echo(host: Host) -> Iterator[int]:
    """A server on port 7 of the host; the value is its process id."""
    with subprocess.Popen(host.argv(sys.executable, "-c", ECHO, host.address), stdout=subprocess.PIPE) as popen:
        try:
            assert popen.stdout
            assert popen.stdout.readline() == b"ready\n"
            yield popen.pid
        finally:
            popen.kill()


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def namespaces() -> list[str]:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=120, check=True).stdout.split()


def test_cut_host_is_silent_until_it_is_joined_and_keeps_its_connections(network: Network) -> None:
    host = network.hosts["a"]
    with echo(host), socket.create_connection((host.address, 7), timeout=60) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        network.cut(host)
        connection.sendall(b"during")
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        network.rejoin(host)
        connection.settimeout(60)
        assert connection.recv(100) == b"during"


def test_hosts_reach_each_other(network: Network) -> None:
    a, b = network.hosts["a"], network.hosts["b"]
    client = f"import socket; s = socket.create_connection(({b.address!r}, 7)); s.sendall(b'x'); print(s.recv(1), s.getsockname()[0])"
    with echo(b):
        done = subprocess.run(a.argv(sys.executable, "-c", client), capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["b'x'", a.address], done.stderr


def test_command_of_a_host_is_the_started_process_itself(network: Network) -> None:
    with echo(network.hosts["a"]) as pid, open(f"/proc/{pid}/cmdline") as file:
        assert file.read().split("\0")[0] == sys.executable


def test_second_network_has_other_names_and_leaves_nothing(network: Network) -> None:
    with Network() as second:
        host = second.add("a")
        assert host.address != network.hosts["a"].address
        assert host.link in links()
        assert host.namespace in namespaces()
        with pytest.raises(NetworkError, match="exists"):
            second.add("a")
    assert until(lambda: host.link not in links())
    assert host.namespace not in namespaces()
    assert network.hosts["a"].link in links()
