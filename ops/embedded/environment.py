"""The needs of the embedded servers, checked before they start, with one sentence for each."""

from __future__ import annotations

import locale
import os
import pwd
import tempfile
from pathlib import Path

from ops.embedded.server import ENV
from ops.supervisor import Unfit

FREE_BYTES = 256 * 1024 * 1024  # for a new database, its log and the append-only file
RESTART_BYTES = 32 * 1024 * 1024  # two segments of PostgreSQL's log
_MEGABYTE = 1024 * 1024


def check(hub_dir: Path, *, postgres: bool = True) -> None:
    """Raise `Unfit` if the embedded servers cannot run on `hub_dir`.

    Without `postgres`, the needs of Redis alone are checked. The ports of both servers are chosen
    among the free ones.
    """
    check_writable(hub_dir)
    check_space(hub_dir)
    check_locale(ENV["LC_ALL"])
    # Started by root, `initdb` runs as an account of the user database (see `unprivileged`).
    if postgres and os.geteuid() != 0 and not (hub_dir / "postgres" / "PG_VERSION").is_file():
        check_identity(os.geteuid(), hub_dir)


def check_identity(uid: int, hub_dir: Path) -> None:
    """Raise `Unfit` if the user database has no entry for the user that runs `initdb`."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        gid = os.getegid() if uid == os.geteuid() else uid
        line = f"tickwire:x:{uid}:{gid}::{hub_dir.resolve()}:/sbin/nologin"
        raise Unfit(
            f"user id {uid} has no entry in /etc/passwd, which PostgreSQL needs: add the line {line}, or set DATABASE_URL"
        ) from None


def check_writable(hub_dir: Path) -> None:
    """Raise `Unfit` if no file can be made in the data directory."""
    try:
        with tempfile.TemporaryFile(dir=hub_dir):
            return
    except OSError as error:
        raise Unfit(
            f"no file can be made in HUB_DATA_DIR {hub_dir} ({error.strerror}): correct that, or set another HUB_DATA_DIR"
        ) from error


def check_space(hub_dir: Path) -> None:
    """Raise `Unfit` if the disk of the data directory is almost full."""
    free = free_bytes(hub_dir)
    if free < FREE_BYTES:
        has, needs = free // _MEGABYTE, FREE_BYTES // _MEGABYTE
        raise Unfit(
            f"the disk of HUB_DATA_DIR {hub_dir} has {has} MB left, and the servers need {needs} MB: free some, or set another HUB_DATA_DIR"
        )


def no_room(hub_dir: Path) -> str:
    """Return the reason for which a server that has ended cannot start again, or ""."""
    free = free_bytes(hub_dir)
    return "" if free >= RESTART_BYTES else f"the disk of HUB_DATA_DIR {hub_dir} has {free // _MEGABYTE} MB left"


def free_bytes(hub_dir: Path) -> int:
    """Return the room that the disk of the data directory has for this user."""
    disk = os.statvfs(hub_dir)
    return disk.f_frsize * (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)


def check_locale(name: str) -> None:
    """Raise `Unfit` if the system lacks the locale of the servers."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        raise Unfit(f"the system has no locale {name}: install it (package `locales`), or set DATABASE_URL and REDIS_URL") from None
    finally:
        locale.setlocale(locale.LC_ALL, before)
