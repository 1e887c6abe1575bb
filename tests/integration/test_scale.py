"""`make scale`: its hosts, its Redis parts, the reason if it cannot run. No speed is asserted."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.bench.cores import Cores
from tests.bench.servers import ROOT
from tests.scale import ground, nodes
from tests.scale.ground import CLIENT_HOST, Ground
from tests.support.namespaces import Network, unavailable

REASON = unavailable()
needs_namespaces = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Network() as network:
        for name in ("r1", "r2", CLIENT_HOST):
            network.add(name)
        yield Ground(network, Cores(pin=False), "", tmp_path_factory.mktemp("scale"), ("EUR_USD", "GBP_USD"), None)


@needs_namespaces
def test_cost_of_redis_is_measured_with_and_without_subscribers(place: Ground) -> None:
    found = {value.case: value.value for value in nodes.cost(place, quick=True)}
    assert list(found) == ["0 subscribers", "4 subscribers", "16 subscribers", "each subscriber"]
    assert found["0 subscribers"] > 0
    assert all(map(math.isfinite, found.values()))


@needs_namespaces
def test_wait_is_confirmed_by_the_replica_on_another_host(place: Ground) -> None:
    found = [(value.case, value.text) for value in nodes.wait(place, quick=True)]
    assert [case for case, _ in found] == ["batches of 1"] * 2 + ["batches of 100"] * 2


@needs_namespaces
@pytest.mark.parametrize("shards", [1, 4])
def test_publisher_child_publishes_over_the_shards(place: Ground, shards: int) -> None:
    with place.redis() as node, node.client() as client:
        argv = [sys.executable, "tests/scale/publish_child.py", node.url, str(shards), "0.1", *place.instruments]
        done = subprocess.run(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        row = orjson.loads(done.stdout)
        streams = list(client.scan_iter("*stream:price_updates"))
        assert sum(client.xlen(key) for key in streams) == row["messages"] > 0
    assert (len(streams) > 1) == (shards > 1)


def test_hosts_reach_a_port_of_the_loopback_through_the_forwarder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        threading.Thread(target=answer, daemon=True).start()
        with ground.forwarder("127.0.0.1", server.getsockname()[1]) as port, socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(b"there and back")
            assert client.recv(100) == b"THERE AND BACK"


def test_command_prints_the_reason_if_it_cannot_make_namespaces(tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "tests.scale"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("skipped: iproute2 is not installed\n", 0), done.stderr
