"""Restarts the processes whose files have changed, once the changes have come to rest."""

from __future__ import annotations

import ast
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from ops.reload.choice import PYTHON, concerned, graph_of
from ops.reload.source_files import SourceFiles

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks at the files


class Processes(Protocol):
    """The part of the supervisor that a reload needs."""

    @property
    def modules(self) -> Mapping[str, Sequence[str]]:
        """Name of a process -> the modules with which it starts."""

    def restart(self, names: Collection[str]) -> None:
        """Restart these processes."""


class Reloader:
    """Looks at the files below `root`; `look` is called in each round of the supervisor.

    Changes count together until a look finds no further one. A changed file with a syntax error
    delays all restarts: the processes run on with the old code until the file is correct.
    """

    def __init__(self, root: Path, processes: Processes, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._files = SourceFiles(root)
        self._processes = processes
        self._monotonic = monotonic
        self._due = monotonic() + LOOK_SECONDS
        self._changed: set[PurePosixPath] = set()  # without a restart so far
        self._is_new = False  # there was a change since the last decision

    def look(self) -> None:
        """Look at the files, if it is time to; restart processes if their files have changed."""
        if self._monotonic() < self._due:
            return
        if changed := self._files.changed():
            self._changed |= changed
            self._is_new = True
        elif self._is_new:
            self._is_new = False
            self._decide()
        self._due = self._monotonic() + LOOK_SECONDS

    def _decide(self) -> None:
        broken = [fault for path in sorted(self._changed) if (fault := self._fault(path))]
        for fault in broken:
            log.error("a changed file has a syntax error: no process restarts until it is correct", extra=fault)
        if broken:
            return
        names = concerned(self._changed, graph_of(self._files.sources()), self._processes.modules)
        fields = {"files": sorted(map(str, self._changed)), "processes": names}
        self._changed.clear()
        if names:
            log.info("files changed, restarting", extra=fields)
            self._processes.restart(names)
        else:
            log.info("files changed that no restarted process uses; `up` itself takes them at its next start", extra=fields)

    def _fault(self, path: PurePosixPath) -> dict[str, str | int | None]:
        """Return file, line and reason of a syntax error; empty if the file has none."""
        text = self._files.read(path) if path.suffix == PYTHON else None
        try:
            ast.parse(text or "")
        except SyntaxError as error:
            return {"file": str(path), "line": error.lineno, "reason": error.msg}
        except ValueError as error:  # a NUL in the text
            return {"file": str(path), "line": None, "reason": str(error)}
        return {}
