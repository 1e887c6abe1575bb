"""Import of recorded files, one after the other; `cli/imports.py` has the terminal."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from config.pacing import Stopped
from config.settings import Settings
from db.candles import CandleRow
from db.messages import Trade
from db.postgres import Store
from jobs.backfill.file_tasks import Contents, Selection, file_task, usable_rows
from jobs.backfill.fill import Filler, Outcome, retention
from jobs.backfill.recordings import Recording, Row, open_recording
from jobs.backfill.report import Notes
from jobs.feeds.base import SourceError
from jobs.feeds.files.formats.model import FileRefused, Options

SHOWN_RECORDS = 3  # of a preview


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The reading of files, and the wanted records.

    `source` is the name after `import:`, None for that of the format. If `strict`, a file is
    refused if most of its first records are bad.
    """

    options: Options = field(default_factory=Options)
    source: str | None = None
    wanted: Selection = field(default_factory=Selection)
    strict: bool = True


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file. The format is None if it was refused, `new` in a preview."""

    file: str
    format: str | None = None
    source: str | None = None
    instrument: str | None = None  # several are joined by commas
    kind: str | None = None
    interval: str | None = None  # as `instrument`
    read: int = 0
    new: int | None = 0
    bad: Mapping[str, int] = field(default_factory=dict)
    conflicts: int = 0
    first_time: str | None = None
    last_time: str | None = None

    def document(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.file}: {self.read:,} rows read, {self.new or 0:,} new"


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a file that was read but not stored: at most `SHOWN_RECORDS` rows."""

    recording: Recording
    result: FileResult
    rows: Sequence[Row]

    def lines(self) -> list[str]:
        """The preview as lines for the operator."""
        result = self.result
        kind = f"candles of {result.interval}" if result.kind == "candles" and result.interval else result.kind
        about = f"{kind}, {result.instrument or 'no instrument'}, source {result.source}, times {self.recording.format.zone}"
        several = "," in (result.instrument or "")
        found = [f"{result.file}: {result.format}, {about}"]
        found += [f"  {_symbol(row) + ' ' if several else ''}{_shown(row)}" for row in self.rows]
        span = f"{_short(result.first_time)} to {_short(result.last_time)}, " if result.first_time and result.last_time else ""
        return [*found, f"{span}{result.read:,} records, {sum(result.bad.values()):,} bad"]


class Importer:
    """Imports files; `notes` collects faults and conflicts.

    `calendars` maps every existing instrument to its calendar.
    """

    def __init__(
        self, calendars: Mapping[str, str], request: ImportRequest, notes: Notes, clock: Callable[[], datetime], stop: threading.Event
    ) -> None:
        self._calendars = calendars
        self._request = request
        self._notes = notes
        self._clock = clock
        self._stop = stop
        self._titles: dict[str, Path] = {}  # title in reports -> its file

    def title(self, file: Path) -> str:
        """The file's name; its path if another file has that name."""
        return file.name if self._titles.setdefault(file.name, file) == file else str(file)

    def opened(self, file: Path) -> Recording | None:
        """The recognised file; None if it is refused, which is noted.

        Raises `Stopped`.
        """
        request = self._request
        try:
            return open_recording(
                file, self._calendars, request.options, source=request.source, now=self._clock(), strict=request.strict, taken=self._go_on
            )  # fmt: skip
        except (FileRefused, SourceError) as error:
            self._notes.refused(self.title(file), _reason(error))
            return None

    def _go_on(self, position: int) -> None:
        if self._stop.is_set():
            raise Stopped

    def stored(
        self,
        recording: Recording,
        store: Store,
        settings: Settings,
        *,
        warn: Callable[[str], None],
        moved: Callable[[float], object],
        again: bool = False,
        replace: bool = False,
        done: Callable[[FileResult], None],
    ) -> None:
        """Store the file's wanted records; `done` is called with the result, also of a stopped run.

        `moved` is called with the share (0 … 1) of the file that is stored. Raises `Stopped` and
        `StoreError`; a file that is damaged or refused is noted.
        """
        request, title, contents = self._request, self.title(recording.file), Contents()
        limits = retention(settings, self._clock())
        filler = Filler(store, self._clock, self._stop, limits=limits, warn=warn, on_conflicts=self._notes.conflicting)
        task = file_task(
            recording, self._calendars, partial(self._notes.bad_record, title), request.wanted,
            now=self._clock(), options=request.options, contents=contents,
        )  # fmt: skip
        try:
            filler.fill(dataclasses.replace(task, title=title), again=again, replace=replace, moved=moved)
        except (FileRefused, SourceError) as error:
            self._notes.refused(title, _reason(error))
        finally:
            done(self._result(recording, contents, filler.outcome))

    def previewed(self, recording: Recording) -> Preview:
        """Read the file without storing it."""
        title, contents, shown = self.title(recording.file), Contents(), list[Row]()
        outcome = Outcome()
        try:
            for row in usable_rows(
                recording, self._calendars, partial(self._notes.bad_record, title), self._request.wanted, now=self._clock(), stop=self._stop
            ):
                outcome.read += 1
                contents.add([row])
                if len(shown) < SHOWN_RECORDS:
                    shown.append(row)
        except (FileRefused, SourceError) as error:
            self._notes.refused(title, _reason(error))
        result = self._result(recording, contents, outcome, stored=False)
        return Preview(recording, result, shown)

    def _result(self, recording: Recording, contents: Contents, outcome: Outcome, *, stored: bool = True) -> FileResult:
        title, found = self.title(recording.file), recording.format
        return FileResult(
            file=title,
            format=found.format,
            source=recording.source,
            instrument=",".join(sorted(contents.symbols)) or found.instrument,
            kind=found.kind,
            interval=",".join(sorted(contents.intervals)) or recording.interval,
            read=outcome.read,
            new=outcome.new if stored else None,
            bad=self._notes.bad(title),
            conflicts=self._notes.conflicts(title),
            first_time=contents.first,
            last_time=contents.last,
        )


def _reason(error: FileRefused | SourceError) -> str:
    return error.explanation if isinstance(error, SourceError) else str(error)


def _symbol(row: Row) -> str:
    return row.symbol if isinstance(row, CandleRow | Trade) else row.instrument


def _shown(row: Row) -> str:
    """A row as a line of a preview."""
    if isinstance(row, CandleRow):
        sides = " ".join(f"{name} {' '.join(prices) if prices else '-'}" for name, prices in (("bid", row.bid), ("ask", row.ask)))
        prices = " ".join(f"{name} {price}" for name, price in zip(("open", "high", "low", "close"), row.mid, strict=True))
        return f"{row.start_time}  {prices}  volume {row.volume}  {sides}"
    if isinstance(row, Trade):
        return f"{row.time}  trade {row.trade_id}  price {row.price} quantity {row.quantity} side {row.side}"
    return f"{row.time}  bid {row.bid} ask {row.ask} mid {row.mid}  volume {row.volume or '-'}"


def _short(time: str) -> str:
    """A time in contract form without a fraction of zeros."""
    return time.replace(".000000Z", "Z")
