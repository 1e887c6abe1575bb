"""The needs of the embedded servers: each is one sentence with a remedy."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from cli.common import plain_errors
from ops.embedded.environment import FREE_BYTES, check, check_identity, check_locale, check_space, check_writable
from ops.embedded.unprivileged import account_for
from ops.supervisor import Unfit

UID = 12345678  # no user of this machine


def test_fit_environment_passes(tmp_path: Path) -> None:
    check(tmp_path)


def test_user_without_an_entry_gets_the_line_to_add(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=rf"user id {UID} has no entry in /etc/passwd") as refused:
        check_identity(UID, tmp_path)
    [words] = [word for word in str(refused.value).split() if word.startswith("tickwire:x:")]
    name, password, uid, gid, _, home, shell = words.rstrip(",").split(":")
    assert (name, password, uid, home, shell) == ("tickwire", "x", str(UID), str(tmp_path), "/sbin/nologin")
    assert gid.isdigit()
    assert "DATABASE_URL" in str(refused.value)


def test_existing_data_need_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    with pytest.raises(Unfit, match="has no entry"):
        check(tmp_path)
    check(tmp_path, postgres=False)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    check(tmp_path)


def _disk(free: int, blocks: int) -> Callable[[Path], Any]:
    return lambda path: SimpleNamespace(f_frsize=free // blocks, f_bavail=blocks, f_bfree=blocks)


@pytest.mark.parametrize(("free", "fits"), [(0, False), (FREE_BYTES - 4096, False), (FREE_BYTES, True), (1 << 50, True)])
def test_space_on_the_disk(free: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", _disk(free, 1))
    if fits:
        check_space(tmp_path)
    else:
        with pytest.raises(Unfit, match=rf"has {free // 1048576} MB left.* 256 MB: free some, or set another HUB_DATA_DIR"):
            check_space(tmp_path)


def test_directory_that_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=r"No such file or directory.*another HUB_DATA_DIR"):
        check_writable(tmp_path / "missing")


def test_missing_locale() -> None:
    check_locale("C")
    with pytest.raises(Unfit, match="no locale xx_XX: install it"):
        check_locale("xx_XX")


def test_root_without_the_user_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_user(name: str) -> Any:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", no_user)
    with pytest.raises(Unfit, match="add the line nobody:x:65534"):
        account_for(tmp_path / "postgres")


def test_unfit_environment_is_exit_code_2() -> None:
    with pytest.raises(click.ClickException) as raised, plain_errors():
        raise Unfit("a sentence")
    assert (raised.value.exit_code, raised.value.message) == (2, "a sentence")
