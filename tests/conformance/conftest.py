"""The server under test: the suites' application on the hub's classes, or another server."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.http_client import Server
from tests.conftest import until
from tests.support.ports import free_port
from tests.support.processes import Running

_WORKER = "config.gunicorn.eventlet_worker.EventletWorker"


@contextmanager
def application(log: Path, target: str = "tests.conformance.app:create()", probe: str = "/engine.io/", **environ: str) -> Iterator[Server]:
    """Run an application under gunicorn with the hub's worker.

    It is ready when it answers a handshake on the path `probe`. The docstring of the application
    names the variables of `environ`.
    """
    address = f"127.0.0.1:{free_port()}"
    argv = [sys.executable, "-m", "gunicorn", "-c", os.devnull, "-k", _WORKER, "-b", address, "--no-control-socket", target]
    with Running(argv, environ, log) as process:
        until(lambda: _answers(f"http://{address}{probe}", process), 60, "an answer of the application")
        host, port = address.split(":")
        yield Server(host, int(port))


def _answers(url: str, process: Running) -> bool:
    assert process.popen is not None
    assert process.popen.poll() is None, process.output()[-3000:]
    try:
        with urllib.request.urlopen(f"{url}?EIO=4&transport=polling", timeout=60) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Pings every second, with one second for the pong and one for CONNECT.

    `CONFORMANCE_URL` names another server.
    """
    if url := os.environ.get("CONFORMANCE_URL"):
        parts = urlsplit(url)
        yield Server(str(parts.hostname), int(parts.port or 80))
        return
    log = tmp_path_factory.mktemp("conformance") / "app.log"
    with application(log, PING_INTERVAL="1", PING_TIMEOUT="1", CONNECT_TIMEOUT="1") as server:
        yield server
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
