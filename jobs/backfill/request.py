"""Options of a backfill: checked, then turned into tasks. `cli/past.py` has the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from config.settings import Settings
from config.venues import VENUES
from db.instruments import Instrument
from db.intervals import INTERVALS
from jobs.backfill.file_tasks import Selection
from jobs.backfill.imports import ImportRequest
from jobs.backfill.report import Notes
from jobs.backfill.tasks import BackfillTask, candle_tasks, trade_tasks
from jobs.feeds.files.formats.model import BadOptionValue, Options
from jobs.venues import VENUE_PARTS

SOURCES = (*(venue.name for venue in VENUES.values() if venue.history is not None), "file")


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command. No instrument or interval means all of them."""

    source: str
    start: datetime | None
    end: datetime | None
    instruments: tuple[str, ...]
    intervals: tuple[str, ...]
    files: tuple[Path, ...]


def check(request: Request, settings: Settings, now: datetime) -> None:
    """Raise `BadOptionValue` for the first fault of the request that needs no store."""
    venue = VENUES.get(request.source)
    if venue is None:
        if not request.files:
            raise BadOptionValue("--file", "needed for --source file")
    else:
        if request.files:
            raise BadOptionValue("--file", f"not for --source {request.source}")
        for option, moment in (("--from", request.start), ("--to", request.end)):
            if moment is None:
                raise BadOptionValue(option, f"needed for --source {request.source}")
    if request.intervals and (venue is None or venue.history != "candles"):
        brokers = " or ".join(row.name for row in VENUES.values() if row.history == "candles")
        raise BadOptionValue("--interval", f"only for --source {brokers}: our own candles follow from ticks and trades by themselves")
    if request.start and request.end and request.start >= request.end:
        raise BadOptionValue("--from", "must be before --to")
    if venue is not None and request.end and request.end > now:
        raise BadOptionValue("--to", "is in the future; running sources take care of that")
    for name in venue.history_required if venue is not None else ():
        if not getattr(settings, name):
            raise BadOptionValue(name.upper(), f"needed for --source {request.source}, in the environment or in .env")


def tasks(
    request: Request, settings: Settings, instruments: Sequence[Instrument], notes: Notes, clock: Callable[[], datetime]
) -> list[BackfillTask]:
    """The tasks of a request for history that `check` has passed.

    `notes` receives the refusals of the history. Raises `BadOptionValue` for an instrument that the
    source does not have.
    """
    row = VENUE_PARTS[request.source]
    assert request.start is not None and request.end is not None and row.history is not None  # noqa: S101, PT018 - checked
    existing = [instrument.symbol for instrument in instruments if instrument.source == request.source]
    option = "--instrument" if request.instruments else (row.venue.symbols_setting or "").upper()
    wanted = request.instruments or row.instruments(settings, instruments)
    _known(wanted, existing, option, f"an instrument of {row.venue.title}")
    history = row.history(settings, clock)
    notes.history(row.venue.title, history.refused)
    if row.venue.history == "trades":
        return trade_tasks(request.source, history, _once(wanted), request.start, request.end)
    intervals = _once(request.intervals) or list(INTERVALS)
    return candle_tasks(request.source, history, _once(wanted), intervals, request.start, request.end)


def import_request(request: Request, instruments: Sequence[Instrument]) -> ImportRequest:
    """The import of the files of a request; bad records alone never refuse a file.

    Raises `BadOptionValue` for an instrument that does not exist.
    """
    wanted = _once(request.instruments)
    _known(wanted, [instrument.symbol for instrument in instruments], "--instrument", "an instrument")
    one = wanted[0] if len(wanted) == 1 else None
    symbols = tuple(wanted) if one is None else ()
    return ImportRequest(Options(instrument=one), None, Selection(symbols, request.start, request.end), strict=False)


def _known(wanted: Sequence[str], known: Sequence[str], option: str, what: str) -> None:
    if unknown := [name for name in wanted if name not in known]:
        raise BadOptionValue(option, f"{', '.join(unknown)} is not {what}; there are {', '.join(known)}")


def _once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
