"""Shared parts of both gunicorn configurations."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from config.access.modes import REQUIRED
from config.loops import UNFIT_CODE
from config.settings import Settings

# One byte that gunicorn and its workers share: the exit code of a worker that another worker would
# only repeat. Otherwise gunicorn would start one worker after another.
_final_code = mmap.mmap(-1, 1)


def bind(host: str, port: int) -> str:
    """Return an address in the form of gunicorn."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def access_check(service: str, chosen: Settings) -> Callable[[Any], None]:
    """Return the hook `on_starting`, which gunicorn calls before it opens a port.

    It exits with 2 if credentials are required and no caller could be accepted. The check needs the
    database, so that it runs in a process of its own.
    """

    def on_starting(arbiter: Any) -> None:
        if chosen.auth_mode != REQUIRED or chosen.jwt_algorithms:
            return
        if subprocess.run([sys.executable, "-m", "ops.access_check", service], check=False).returncode == UNFIT_CODE:
            sys.exit(UNFIT_CODE)

    return on_starting


def post_fork(arbiter: Any, worker: Any) -> None:
    """Stop the search for garbage while a worker loads its modules: there is none."""
    gc.disable()


def post_worker_init(worker: Any) -> None:
    """Search for garbage again, but not among the modules: each search would visit them all."""
    gc.freeze()
    gc.enable()


def worker_exit(arbiter: Any, worker: Any) -> None:
    """Note in a worker that it ends because the environment has to change first.

    Its code is then 2, or a text. After any other end gunicorn starts another worker.
    """
    error = sys.exception()
    if isinstance(error, SystemExit) and (isinstance(error.code, str) or error.code == UNFIT_CODE):
        _final_code[0] = error.code if isinstance(error.code, int) else 1


def child_exit(arbiter: Any, worker: Any) -> None:
    """End gunicorn with the exit code of a worker that another worker would only repeat."""
    if _final_code[0]:
        raise HaltServer("the environment has to change first", _final_code[0])


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Sends gunicorn's own lines to the root logger, which `config.logs` has configured."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
