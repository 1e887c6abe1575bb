"""REST with shorter times of its worker."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from tests.support.processes import Web


class HastyRest(Web):
    """REST with the worker of `tests/standins/hasty_worker.py`."""

    def __init__(self, settings: Settings, log: Path, *arguments: str, **extra: str) -> None:
        super().__init__("rest", settings, log, **extra)
        self.argv = [*self.argv[:-1], "-k", "tests.standins.hasty_worker.HastyWorker", *arguments, self.argv[-1]]
