"""What both gunicorn configurations share."""

from __future__ import annotations

import sys
from typing import Any

from gunicorn.glogging import Logger

from config import logs, settings
from config.settings import Settings, SettingsError


def load() -> Settings:
    """The settings; an error in them ends the process with its text instead of a stack trace."""
    try:
        return settings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def configure_logs(service: str, chosen: Settings) -> None:
    """Call it in the configuration file: gunicorn speaks as soon as it has read that."""
    logs.configure(service, level=chosen.log_level, style=chosen.log_format, file=chosen.log_file)


def bind(host: str, port: int) -> str:
    """An address as gunicorn writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own lines, sent to the root logger, which `config.logs` has set up, instead of to handlers of gunicorn's."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
