"""`pg_restore` into an empty database."""

from __future__ import annotations

import tempfile
from pathlib import Path

from db.backups import major_of, read_target, timescaledb_restore
from ops.backup import programs
from ops.backup.manifest import DUMP, Manifest
from ops.backup.progress import Say, Step
from ops.embedded.server import ENV


def load(saved: Path, manifest: Manifest, url: str, say: Say, *, embedded: bool) -> None:
    """Load the dump of the backup `saved`, with permissions, as the role of the URL.

    Without TimescaleDB it is one transaction: an error leaves the database empty. Raises
    `StartError`.
    """
    program = programs.choose("pg_restore", major_of(manifest.dumped_by), embedded=embedded)
    words, env = programs.connection(url, embedded=embedded)
    # One transaction would lock every chunk of TimescaleDB, more than a server allows.
    whole = ("--exit-on-error",) if manifest.timescaledb else ("--single-transaction", "--exit-on-error")
    step = Step(say, "restoring PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="tickwire-") as folder, timescaledb_restore(url, manifest.timescaledb):
        options = (*whole, "--no-owner", "--no-password", *_selection(program, saved, manifest, url, Path(folder)))
        argv = (str(program.path), *options, "-d", words, str(saved / DUMP))
        programs.run(argv, env, watch=lambda: step.advance(0))


def _selection(program: programs.Program, saved: Path, manifest: Manifest, url: str, folder: Path) -> tuple[str, ...]:
    """Leave out the default rights of another owner's role; the migrations give ours.

    Returns the options with the list of entries, or none if all are restored.
    """
    if manifest.owner in read_target(url).roles:
        return ()
    contents = folder / "contents"
    programs.run((str(program.path), "--list", f"--file={contents}", str(saved / DUMP)), ENV)
    kept = [line for line in contents.read_text().splitlines() if " DEFAULT ACL " not in line]
    contents.write_text("\n".join(kept) + "\n")
    return (f"--use-list={contents}",)
