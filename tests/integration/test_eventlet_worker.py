"""The hub's gunicorn worker ends if its acceptor ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ops.running import get
from tests.conftest import until
from tests.support.ports import free_port
from tests.support.processes import Running

_WORKER = "config.gunicorn.eventlet_worker.EventletWorker"


@pytest.mark.parametrize(("path", "error"), [("/deafen", "Bad file descriptor"), ("/kill", "GreenletExit")])
def test_worker_without_its_acceptor_is_replaced_and_logged(path: str, error: str, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        os.devnull,
        "-k",
        _WORKER,
        "-b",
        f"127.0.0.1:{port}",
        "--no-control-socket",
        "tests.standins.deaf_app:app",
    ]
    with Running(argv, {}, tmp_path / "log") as process:
        until(lambda: get(url, "/pid")[0] == 200, what=process.output)
        first = get(url, "/pid")[1]
        get(url, path)
        until(lambda: get(url, "/pid")[1] not in (b"", first), what=process.output)
        assert "a long-lived loop ended" in process.output()
        assert "exited with code 70" in process.output()
        assert error in process.output()
