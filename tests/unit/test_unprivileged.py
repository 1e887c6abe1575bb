"""The account that runs the embedded PostgreSQL."""

from __future__ import annotations

import logging
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.embedded import unprivileged
from ops.embedded.unprivileged import OWN_ACCOUNT, Account, account_for
from ops.supervisor import StartError

ACCOUNTS = {"nobody": (65534, 65533), OWN_ACCOUNT: (990, 991)}


def machine(monkeypatch: pytest.MonkeyPatch, user: int, *names: str) -> None:
    """Make a machine with these accounts, on which we are `user`."""

    def find(name: str) -> SimpleNamespace:
        if name not in names:
            raise KeyError(name)
        return SimpleNamespace(pw_uid=ACCOUNTS[name][0], pw_gid=ACCOUNTS[name][1])

    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(pwd, "getpwnam", find)


def data_of(monkeypatch: pytest.MonkeyPatch, folder: Path, uid: int, gid: int) -> Path:
    """Return a directory that belongs to this user."""
    monkeypatch.setattr(Path, "stat", lambda self, **options: SimpleNamespace(st_uid=uid, st_gid=gid))
    monkeypatch.setattr(Path, "exists", lambda self, **options: True)
    return folder


def test_new_data_of_root_belong_to_our_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine(monkeypatch, 0, "nobody", OWN_ACCOUNT)
    assert account_for(tmp_path / "postgres") == Account(990, 991)
    assert caplog.records == []


def test_new_data_of_root_belong_to_nobody_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine(monkeypatch, 0, "nobody")
    assert account_for(tmp_path / "postgres") == Account(65534, 65533)
    [record] = caplog.records
    assert (record.levelno, record.account) == (logging.WARNING, OWN_ACCOUNT)  # type: ignore[attr-defined]
    assert "docs/deployment.md" in record.getMessage()


@pytest.mark.parametrize(
    ("owner", "expected"),
    [((0, 0), (990, 991)), ((65534, 65533), (990, 991)), ((1000, 1001), (1000, 1001))],
    ids=["root", "nobody", "a-user"],
)
def test_data_of_root_or_nobody_go_to_our_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: tuple[int, int], expected: tuple[int, int]
) -> None:
    machine(monkeypatch, 0, "nobody", OWN_ACCOUNT)
    assert account_for(data_of(monkeypatch, tmp_path, *owner)) == Account(*expected)


def test_ordinary_user_runs_postgres_itself_on_own_data_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, 1000)
    assert account_for(tmp_path / "postgres") is None
    assert account_for(data_of(monkeypatch, tmp_path, 1000, 1000)) is None
    with pytest.raises(StartError, match="belongs to another user"):
        account_for(data_of(monkeypatch, tmp_path, 0, 0))
    assert unprivileged.prefix(None, tmp_path, tmp_path, "INT") == ()
