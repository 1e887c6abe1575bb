"""Shared parts of both gunicorn configurations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from gunicorn.glogging import Logger

from config.access.modes import REQUIRED
from config.settings import Settings

_UNFIT_CODE = 2


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
        if subprocess.run([sys.executable, "-m", "ops.access_check", service], check=False).returncode == _UNFIT_CODE:
            sys.exit(_UNFIT_CODE)

    return on_starting


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Sends gunicorn's own lines to the root logger, which `config.logs` has configured."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
