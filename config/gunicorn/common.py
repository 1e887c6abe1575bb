"""Shared parts of both gunicorn configurations."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


def bind(host: str, port: int) -> str:
    """Return an address in the form of gunicorn."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Sends gunicorn's own lines to the root logger, which `config.logs` has configured."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
