"""Imports of files into a store, in the process of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from config import settings as settings_module
from db.instruments import all_instruments, calendars_of
from db.postgres import Store
from db.rollup import is_mine, roll_up
from db.timestamps import utc_now
from jobs.backfill.imports import FileResult, Importer, ImportRequest
from jobs.backfill.report import Notes


class Importing:
    """Files loaded into a store, with their reports."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.notes = Notes()
        self.warnings: list[str] = []
        with store.transaction() as cursor:
            self.calendars = calendars_of(all_instruments(cursor))

    def load(
        self,
        file: Path,
        request: ImportRequest | None = None,
        *,
        replace: bool = False,
        moved: Callable[[float], object] = lambda share: None,
        now: Callable[[], datetime] = utc_now,
        **variables: str,
    ) -> FileResult:
        """The result of one file that is not refused; `variables` are those of the settings."""
        self.notes = Notes()
        importer = Importer(self.calendars, request or ImportRequest(), self.notes, now, threading.Event())
        recording = importer.opened(file)
        assert recording is not None, self.notes.sentences()
        results: list[FileResult] = []
        settings = settings_module.load(variables, dotenv=None)
        importer.stored(recording, self.store, settings, warn=self.warnings.append, moved=moved, replace=replace, done=results.append)
        return results[0]

    def rolled_up(self) -> None:
        """Build the candles of all marks."""
        with self.store.transaction() as cursor:
            assert is_mine(cursor)
            roll_up(cursor, 100_000, utc_now(), ("binance",))

    def query(self, statement: str, *parameters: object) -> list[Any]:
        with self.store.transaction() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
