"""The official test suites of the protocol against the hub's server stack.

They are `docs/engine.io-protocol/v4-test-suite` and `docs/socket.io-protocol/v5-test-suite` of
github.com/socketio/socket.io; their code is not part of this repository. `TICKWIRE_SUITES` names a
folder with two commands, `run-eio URL` and `run-sio URL`. Each runs one suite with its mocha:

- `URL` is the URL of the server;
- Node's own `fetch` replaces node-fetch 3, which fails against some servers;
- `PING_INTERVAL` and `PING_TIMEOUT` are 1000 ms; a test may take five seconds.

Without the variable they are skipped; the other tests of this folder cover the same rules.
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
    """The time to CONNECT exceeds three pings: one test waits for them without connecting."""
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
