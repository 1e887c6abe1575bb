"""Renames that happen together, also if the process ends between two of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.embedded import moves

SWAP = [("postgres", "postgres.16"), ("postgres.new", "postgres")]


def begun(hub_dir: Path, done: int) -> None:
    """Leave the state after `done` of both renames."""
    for name in ("postgres", "postgres.new"):
        (hub_dir / name).mkdir()
        (hub_dir / name / "content").write_text(name)
    (hub_dir / moves.FILE).write_text(json.dumps(SWAP))
    for source, target in SWAP[:done]:
        (hub_dir / source).rename(hub_dir / target)


@pytest.mark.parametrize("done", [0, 1, 2])
def test_finish_completes_the_renames_from_every_state(tmp_path: Path, done: int) -> None:
    begun(tmp_path, done)
    for _ in range(2):  # a second start changes nothing
        moves.finish(tmp_path)
        assert {file.parent.name: file.read_text() for file in tmp_path.glob("*/content")} == {
            "postgres.16": "postgres",
            "postgres": "postgres.new",
        }
    assert not (tmp_path / moves.FILE).exists()
