"""The ports of tests."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports
from tests.support.ports import free_cluster_port, free_port, two_free_ports

PRINT = "from tests.support.ports import free_port; print(*[free_port() for _ in range(300)]); input()"


def test_no_port_is_given_twice_also_by_another_process() -> None:
    mine = {free_port() for _ in range(300)}  # more than a block
    argv = [sys.executable, "-c", PRINT]
    with subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = set(map(int, other.stdout.readline().split()))
        mine |= {free_port() for _ in range(300)}
        other.communicate("\n")
    assert (len(mine), len(theirs)) == (600, 300)
    assert not mine & theirs


def test_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = two_free_ports()
    monkeypatch.setattr(ports, "_left", iter((wanted, wanted + 1)))
    with socket.create_server(("127.0.0.1", wanted)):
        assert free_port() == wanted + 1


def test_cluster_port_has_a_free_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = two_free_ports()
    monkeypatch.setattr(ports, "_left", iter((wanted, wanted + 1)))
    with socket.create_server(("127.0.0.1", wanted + 10_000)):
        assert free_cluster_port() == wanted + 1


def test_ports_are_outside_the_ephemeral_range() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not low <= free_port() <= high
