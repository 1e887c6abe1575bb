"""The check of a backup: its manifest is readable and not too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from db.timestamps import format_time
from ops.backup import manifest
from ops.doctor.results import Result, result, warning
from ops.process import Unfit

_OLDEST = timedelta(hours=26)  # a daily backup, and two hours for it


def judge(folder: Path, now: float) -> Result:
    """Return the result for a backup, or for the newest one in a folder of backups."""
    remedy = f"`manage.py backup` into a new directory; --backup names it, here {folder}"
    try:
        created = max(manifest.read(each).created_at for each in _backups(folder))
    except Unfit as error:
        return result("backup", "", [warning(str(error), remedy)])
    age = datetime.fromtimestamp(now, UTC) - created
    text = f"created at {format_time(created)}, {age / timedelta(hours=1):.0f} h ago"
    return result("backup", text, [warning(f"{text}: older than 26 h", remedy)] if age > _OLDEST else [])


def _backups(folder: Path) -> list[Path]:
    """The backup itself, or the backups inside; the folder alone if it has none of them."""
    inside = [] if (folder / manifest.FILE).exists() else sorted(folder.glob(f"*/{manifest.FILE}"))
    return [file.parent for file in inside] or [folder]
