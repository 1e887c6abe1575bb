"""Duties: parts of the ingest and the jobs, each of which one process holds by an advisory lock.

The locks belong to one session per process. They end with it, so that no process has to release
those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import psycopg2

from db.leadership import open_session
from db.postgres import Connection, Cursor, StoreError, first_line, scalar

Answer = TypeVar("Answer")

CLASS = 0x7117  # 28951, `classid` of all locks of this module
_MEMBERS = 0  # `objid` of the lock that each process shares
_FORMER_LOCK = "tickwire scheduler"  # of the one active process of earlier versions
_LONGEST_PAUSE_SECONDS = 6.0  # without a statement, after which the server ends the session
_PAUSES = 3  # polls that may be missed before that

_LOOK = f"""
SELECT objid::bigint, pid = pg_backend_pid(), pid FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid = {CLASS} AND objsubid = 2 AND granted
"""  # noqa: S608


def key_of(duty: str) -> int:
    """The key of a duty's lock: 32 bits, signed. It is stable over versions."""
    return int.from_bytes(blake2b(duty.encode(), digest_size=4).digest(), "big", signed=True)


def rank(member: str, duty: str) -> bytes:
    """The weight of a duty for a member, for rendezvous hashing: the member prefers high ones."""
    return blake2b(f"{member}\0{duty}".encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class Held:
    """All locks at one time: `me` and `members` are backends of PostgreSQL, by process id.

    `holders` maps the keys of the duties that are held to the backend of their holder.
    """

    me: int
    members: frozenset[int]
    holders: Mapping[int, int]

    def holder(self, duty: str) -> int | None:
        """The backend that holds the duty; None if nobody does."""
        return self.holders.get(key_of(duty))


class DutySession:
    """The session of one process, with its locks. Call it from one thread.

    Every method raises `StoreError` if PostgreSQL cannot be reached; the session and its locks have
    ended then, and the next call opens another one. A process that hangs loses its session after a
    few polls of `poll_seconds`.
    """

    def __init__(self, url: str, *, timeout_ms: int = 5000, poll_seconds: float = 1.0) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._pause_ms = int(1000 * max(_LONGEST_PAUSE_SECONDS, _PAUSES * poll_seconds))
        self._connection: Connection | None = None

    def look(self) -> Held:
        """Become a member, unless this process is one, and read all locks."""
        return self._run(_read)

    def take(self, duty: str) -> bool:
        """Take the lock of a duty if it is free. A session must not take it twice."""
        return bool(self._scalar("SELECT pg_try_advisory_lock(%s, %s)", CLASS, key_of(duty)))

    def release(self, duty: str) -> None:
        """Release the lock of a duty."""
        self._scalar("SELECT pg_advisory_unlock(%s, %s)", CLASS, key_of(duty))

    def next_number(self) -> int:
        """A number for a duty that was won; it is above those of all earlier holders."""
        return self._scalar("SELECT nextval('duty_fences')")

    def number_above(self, stored: int) -> int:
        """A number above `stored`, which the bus has: the sequence was restored from a backup."""
        return self._scalar("SELECT setval('duty_fences', greatest(nextval('duty_fences'), %s + 1))", stored)

    def leave(self) -> None:
        """Be no member any more, so that the others take this process's share as it is released."""
        self._scalar("SELECT pg_advisory_unlock_shared(%s, %s)", CLASS, _MEMBERS)

    def close(self) -> None:
        """End the session and with it all of its locks."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _scalar(self, statement: str, *values: object) -> int:
        def read(cursor: Cursor) -> int:
            cursor.execute(statement, values)
            return int(scalar(cursor))

        return self._run(read)

    def _run(self, read: Callable[[Cursor], Answer]) -> Answer:
        try:
            if self._connection is None:
                self._connection = self._open()
            with self._connection.cursor() as cursor:
                return read(cursor)
        except psycopg2.Error as error:
            self.close()
            raise StoreError(first_line(error)) from error

    def _open(self) -> Connection:
        connection = open_session(self._url, self._timeout_ms, "tickwire-duties")
        try:
            with connection.cursor() as cursor:
                # The kernel answers keepalives for a process that hangs, and its locks would stay.
                cursor.execute("SELECT set_config('idle_session_timeout', %s, false)", (str(self._pause_ms),))
                cursor.execute("SELECT pg_try_advisory_lock_shared(hashtext(%s))", (_FORMER_LOCK,))
                if not scalar(cursor):
                    raise StoreError("a jobs process of an earlier version is active: stop it")
                cursor.execute("SELECT pg_advisory_lock_shared(%s, %s)", (CLASS, _MEMBERS))
        except BaseException:
            connection.close()
            raise
        return connection


def _read(cursor: Cursor) -> Held:
    cursor.execute(_LOOK)
    rows: Iterable[tuple[int, bool, int]] = cursor.fetchall()
    members, holders, me = set(), {}, 0
    for objid, is_mine, pid in rows:
        if is_mine:
            me = pid
        if objid == _MEMBERS:
            members.add(pid)
        else:
            holders[_signed(objid)] = pid
    return Held(me, frozenset(members), holders)


def _signed(objid: int) -> int:
    """The key of an `objid`, which PostgreSQL shows unsigned."""
    return objid - 2**32 if objid >= 2**31 else objid
