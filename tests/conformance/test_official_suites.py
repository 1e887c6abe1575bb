"""The official test suites of the protocols against the hub's server stack.

Their code is not part of this repository. `TICKWIRE_SUITES` names a folder with three commands:

- `run-eio URL` and `run-sio URL` run `docs/engine.io-protocol/v4-test-suite` and
  `docs/socket.io-protocol/v5-test-suite` of github.com/socketio/socket.io with their mocha. Node's
  own `fetch` replaces node-fetch 3, which fails against some servers. `PING_INTERVAL` and
  `PING_TIMEOUT` are 1000 ms; a test may take five seconds.
- `run-autobahn FILE` runs `wstest -m fuzzingclient -s FILE` of autobahntestsuite 25.10.1 (on Python
  2.7 with autobahn 0.10.9): RFC 6455 on the route `/ws/metrics` with an echo.

Without the variable, and without a command, they are skipped. The other tests of this folder and
`tests/integration/test_plain_protocol.py` cover the same rules.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
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


# Beyond the limit of a message, 1 MB here: group 9 without its small and its many messages.
LARGE = ["9.1.3", "9.1.4", "9.1.5", "9.1.6", "9.2.3", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*", "9.5.*", "9.6.*"]
# A protocol error closes before the echo of good frames in the same packet of TCP, and bad UTF-8 is
# found at the end of its message, as in the library websockets.
LATE = {"3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15", "6.4.1", "6.4.2", "6.4.3", "6.4.4"}


@pytest.mark.skipif(not (Path(SUITES) / "run-autobahn").exists(), reason="the folder has no run-autobahn")
def test_route_of_metrics_passes_autobahn(tmp_path: Path) -> None:
    spec = tmp_path / "fuzzingclient.json"
    with application(tmp_path / "app.log", PING_INTERVAL="25", PING_TIMEOUT="20", FRAMES_PER_SECOND="1000000") as server:
        servers = [{"agent": "tickwire", "url": f"ws://{server.host}:{server.port}/ws/metrics"}]
        spec.write_text(json.dumps({"outdir": str(tmp_path / "out"), "servers": servers, "cases": ["*"], "exclude-cases": LARGE}))
        subprocess.run([str(Path(SUITES) / "run-autobahn"), str(spec)], capture_output=True, timeout=600, check=True)
    found = json.loads((tmp_path / "out" / "index.json").read_text())["tickwire"]
    assert {case for case, each in found.items() if not _passes(case, each["behavior"])} == set()
    assert {each["behaviorClose"] for each in found.values()} <= {"OK", "INFORMATIONAL"}
    counts = Counter(each["behavior"] for each in found.values())
    assert (counts["OK"], counts["NON-STRICT"], counts["UNIMPLEMENTED"]) == (246, len(LATE), 216)


def _passes(case: str, behavior: str) -> bool:
    """Return True for a success, and for compression, which the handshake declines."""
    if case.startswith(("12.", "13.")):
        return behavior == "UNIMPLEMENTED"
    return behavior in ("OK", "INFORMATIONAL") or (case in LATE and behavior == "NON-STRICT")
