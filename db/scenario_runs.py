"""SQL of `scenario_runs`: runs of scenarios with their figures and time lines."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import orjson

from db.postgres import Cursor
from db.rows import columns_of
from db.scenarios.run_record import RunRecord

_COLUMNS = columns_of(RunRecord)
_JSON = ("parameters", "timeline")
_VALUES = ", ".join(f"%({name})s" for name in _COLUMNS)
_FIGURES = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("run_id", "scenario", "started", "seed"))
_SELECT = f"SELECT run_id::text, {', '.join(_COLUMNS[1:])} FROM scenario_runs"  # noqa: S608


def save_run(cursor: Cursor, run: RunRecord) -> None:
    """Insert the run at its begin; afterwards replace its figures.

    A run whose insert failed during an outage of the store is inserted by the next call.
    """
    values: dict[str, Any] = {name: getattr(run, name) for name in _COLUMNS}
    values |= {name: orjson.dumps(values[name]).decode() for name in _JSON}
    cursor.execute(
        f"INSERT INTO scenario_runs ({', '.join(_COLUMNS)}) VALUES ({_VALUES})"  # noqa: S608
        f" ON CONFLICT (run_id) DO UPDATE SET {_FIGURES}",
        values,
    )


def end_unfinished_runs(cursor: Cursor, now: datetime) -> int:
    """Mark the runs of a process that has ended as failed; returns their number.

    Call it before the first run of a process.
    """
    cursor.execute("UPDATE scenario_runs SET outcome = 'failed', ended = %s WHERE outcome = 'running'", (now,))
    return int(cursor.rowcount)


def find_run(cursor: Cursor, run_id: str) -> RunRecord | None:
    """The run with this id; None if there is none, or the text is no id."""
    if (number := run_uuid(run_id)) is None:
        return None
    cursor.execute(f"{_SELECT} WHERE run_id = %s", (number,))
    row = cursor.fetchone()
    return None if row is None else _record(row)


def latest_runs(cursor: Cursor, most: int) -> list[RunRecord]:
    """The last `most` runs, the newest first."""
    cursor.execute(f"{_SELECT} ORDER BY started DESC, run_id DESC LIMIT %s", (most,))
    return [_record(row) for row in cursor.fetchall()]


def run_uuid(text: str) -> str | None:
    """The canonical form of a run's id; None if the text is no id."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _record(row: tuple[Any, ...]) -> RunRecord:
    values = dict(zip(_COLUMNS, row, strict=True))
    return RunRecord(**{**values, "timeline": tuple(values["timeline"] or ())})
