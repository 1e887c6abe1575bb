"""The checks of database and bus: each does the work of its part once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import orjson

from db.bus import BusError, Checks, Subscription
from db.bus.processes.checks import received
from db.health import check_write_and_read, is_migrated
from db.postgres import Store, StoreError
from health.probe import DISCONNECTED, IMPAIRED, NOT_MIGRATED, CheckFailed

# A statement gives up before the limit of the check, so that the reason is known.
_STATEMENT_SHARE = 0.5


def check_store(store: Store, seconds: float) -> Store:
    """Return the store on one connection of its own, for checks with this limit."""
    return store.with_limits(pool_max=1, timeout_ms=max(1, int(1000 * seconds * _STATEMENT_SHARE)))


class DatabaseCheck:
    """Commits one row of `health` and reads `instruments`. Raises `CheckFailed`.

    `process` returns the name of this process, which is the key of its row.
    """

    def __init__(self, store: Store, process: Callable[[], str], clock: Callable[[], datetime], *, read_only_role: bool) -> None:
        self._store = store
        self._process = process
        self._clock = clock
        self._read_only_role = read_only_role

    def __call__(self) -> None:
        try:
            with self._store.transaction() as cursor:
                found = check_write_and_read(cursor, self._process(), self._clock(), read_only_role=self._read_only_role)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise CheckFailed(self._state(), reason) from error
        if not found:
            raise CheckFailed(NOT_MIGRATED, "there are no instruments: run `python manage.py migrate`")

    def _state(self) -> str:
        """The state of a database that failed: does it answer, and has it our tables?"""
        try:
            with self._store.transaction() as cursor:
                return IMPAIRED if is_migrated(cursor) else NOT_MIGRATED
        except StoreError:
            return DISCONNECTED


class BusCheck:
    """Writes and reads a field, publishes a message and receives it. Raises `CheckFailed`.

    Keeps one subscription between two checks.
    """

    def __init__(self, bus: Checks, process: Callable[[], str], seconds: float) -> None:
        self._bus = bus
        self._process = process
        self._seconds = seconds
        self._subscription: Subscription | None = None

    def __call__(self) -> None:
        try:
            self._check()
        except BusError as error:
            self._close()
            raise CheckFailed(self._state(), str(error)) from error

    def _check(self) -> None:
        value = uuid.uuid4().hex
        body = orjson.dumps({"process": self._process(), "check": value})
        self._bus.check_write(self._process(), value)
        if self._subscription is None:
            self._subscription = self._bus.subscribe_checks()
        self._bus.publish_check(body)
        if not received(self._subscription, body, self._seconds):
            self._close()
            raise CheckFailed(self._state(), "a published message did not come back")

    def _state(self) -> str:
        """The state of a Redis that failed: does it answer?"""
        return IMPAIRED if self._bus.answers() else DISCONNECTED

    def _close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(BusError):
                subscription.close()
