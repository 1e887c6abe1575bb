"""The free ports and the passwords of the embedded servers."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ops.embedded import server as server_module
from ops.embedded.server import free_port
from ops.private_files import secret


def test_free_port_is_outside_the_ephemeral_range(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    port = free_port()
    assert not low <= port <= high
    monkeypatch.setattr(server_module, "_PORTS", range(port, port + 2))
    assert free_port(avoid=(port,)) == port + 1


def test_secret_is_created_once_and_private(tmp_path: Path) -> None:
    file = tmp_path / "password"
    first = secret(file)
    assert len(first) >= 32
    assert secret(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
