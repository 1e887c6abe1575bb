"""The check of a backup: its manifest is readable and not too old."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db.timestamps import format_time, parse_time
from ops.doctor.results import Result, result, warning

_OLDEST = timedelta(hours=26)  # a daily backup, and two hours for it
MANIFEST = "manifest.json"


def judge(folder: Path, now: float) -> Result:
    """Return the result for a backup, or for the newest one of a folder of backups."""
    remedy = f"`manage.py backup` into a new directory; --backup names it, here {folder}"
    try:
        created = max(_created(file) for file in _manifests(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        return result("backup", "", [warning(f"the manifest in {folder} cannot be read ({reason})", remedy)])
    age = datetime.fromtimestamp(now, UTC) - created
    hours = age / timedelta(hours=1)
    text = f"created at {format_time(created)}, {hours:.0f} h ago"
    return result("backup", text, [warning(f"{text}: older than 26 h", remedy)] if age > _OLDEST else [])


def _manifests(folder: Path) -> list[Path]:
    """The manifest of a backup, or those of the backups in a folder. Raises `ValueError`."""
    own = folder / MANIFEST
    found = [own] if own.is_file() else sorted(folder.glob(f"*/{MANIFEST}"))
    if not found:
        raise ValueError(f"no {MANIFEST}")
    return found


def _created(file: Path) -> datetime:
    return parse_time(json.loads(file.read_text())["created"])
