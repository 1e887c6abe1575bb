"""The copy of an append-only file that Redis writes meanwhile."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ops.backup.redis_copy import copy
from ops.process import StartError, Unfit

# As Redis 7 writes it; a file of the type h is about to be deleted.
MANIFEST = (
    "file appendonly.aof.{n}.base.rdb seq {n} type b\n"
    "file appendonly.aof.1.incr.aof seq 1 type h\n"
    "file appendonly.aof.{n}.incr.aof seq {n} type i\n"
)


def rewrite(folder: Path, number: int) -> None:
    """Write the files of a rewrite, and then its manifest."""
    for kind in ("base.rdb", "incr.aof"):
        (folder / f"appendonly.aof.{number}.{kind}").write_bytes(f"{kind} {number}".encode())
    (folder / "appendonly.aof.manifest").write_text(MANIFEST.format(n=number))


@pytest.fixture
def redis7(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "appendonlydir"
    folder.mkdir(parents=True)
    rewrite(folder, 2)
    return tmp_path / "data"


def test_folder_of_redis_7_is_copied_by_its_manifest(redis7: Path, tmp_path: Path) -> None:
    copy(redis7, tmp_path / "copy", lambda size: None)
    found = {file.name: file.read_text() for file in (tmp_path / "copy" / "appendonlydir").iterdir()}
    assert found == {
        "appendonly.aof.manifest": MANIFEST.format(n=2),
        "appendonly.aof.2.base.rdb": "base.rdb 2",
        "appendonly.aof.2.incr.aof": "incr.aof 2",
    }


def test_copy_is_repeated_if_a_rewrite_replaces_the_files(redis7: Path, tmp_path: Path) -> None:
    calls = itertools.count()

    def each(size: int) -> None:
        if next(calls) == 0:
            for old in (redis7 / "appendonlydir").glob("*.2.*"):
                old.unlink()
            rewrite(redis7 / "appendonlydir", 3)

    copy(redis7, tmp_path / "copy", each)
    names = {file.name for file in (tmp_path / "copy" / "appendonlydir").iterdir()}
    assert names == {"appendonly.aof.manifest", "appendonly.aof.3.base.rdb", "appendonly.aof.3.incr.aof"}


def test_copy_ends_if_every_attempt_meets_a_rewrite(redis7: Path, tmp_path: Path) -> None:
    numbers = itertools.count(3)
    with pytest.raises(StartError, match="during each of 5 copies"):
        copy(redis7, tmp_path / "copy", lambda size: rewrite(redis7 / "appendonlydir", next(numbers)))


def test_file_that_grows_is_copied_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "data" / "appendonly.aof"
    source.parent.mkdir()
    content = b"0123456789" * 1_000_000  # more than one chunk
    source.write_bytes(content)

    def grow(size: int) -> None:
        with source.open("ab") as stream:
            stream.write(b"later")

    copy(tmp_path / "data", tmp_path / "copy", grow)
    assert (tmp_path / "copy" / "appendonly.aof").read_bytes() == content


def test_folder_without_append_only_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="appendonly yes"):
        copy(tmp_path, tmp_path / "copy", lambda size: None)
