"""The protocol's own test suites against the hub's server stack; their code is fetched for the run and never comes in here.

They are `docs/engine.io-protocol/v4-test-suite` and `docs/socket.io-protocol/v5-test-suite` of github.com/socketio/socket.io.
`TICKWIRE_SUITES` names a folder outside the repository with two commands, `run-eio URL` and `run-sio URL`, each of which runs one
suite with its mocha: the URL as the suite's `URL`, Node's own `fetch` in place of node-fetch 3 (which fails by itself against some
servers), 1000 ms as `PING_INTERVAL` and as `PING_TIMEOUT`, five seconds for a test. Without the variable they are skipped; what they
check is covered by the tests next to this file.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import application
from tests.conformance.http_client import Server

SUITES = os.environ.get("TICKWIRE_SUITES", "")

pytestmark = pytest.mark.skipif(not SUITES, reason="TICKWIRE_SUITES names no folder with the official suites")


@pytest.fixture(scope="module")
def application_of_the_suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its time to CONNECT is longer than three pings: one of the tests waits for these without ever connecting."""
    log = tmp_path_factory.mktemp("suites") / "app.log"
    with application(log, PING_INTERVAL="1", PING_TIMEOUT="1", CONNECT_TIMEOUT="4") as server:
        yield server


@pytest.mark.parametrize(("command", "tests"), [("run-eio", 25), ("run-sio", 32)])
def test_suite_passes_whole(application_of_the_suites: Server, command: str, tests: int) -> None:
    server = application_of_the_suites
    done = subprocess.run(
        [str(Path(SUITES) / command), f"http://{server.host}:{server.port}"], capture_output=True, text=True, timeout=100, check=False
    )
    assert f"{tests} passing" in done.stdout, done.stdout[-5000:]
    assert done.returncode == 0, done.stdout[-5000:]
