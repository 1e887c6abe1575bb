"""Shared parts of both gunicorn configurations."""

from __future__ import annotations

import mmap
import sys
from typing import Any

from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger

from config.loops import UNFIT_CODE

# One byte that gunicorn and its workers share: the exit code of a worker that another worker would
# only repeat. Otherwise gunicorn would start one worker after another.
_final_code = mmap.mmap(-1, 1)


def bind(host: str, port: int) -> str:
    """Return an address in the form of gunicorn."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
