"""Shared parts of the commands of access control: the store, the actor, the announcement."""

from __future__ import annotations

import logging
import os
import pwd
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

import click

from cli.common import Moment, announce, database, migrate_database
from config.settings import Settings
from db.access_changes import lock_access
from db.access_log import AccessEvent, insert_event
from db.postgres import Cursor, Store
from db.timestamps import utc_now
from ops import startup

log = logging.getLogger(__name__)

LATE_SECONDS = 30  # until a process without Redis takes a change
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MAX_DAYS = 36_500


class Duration(click.ParamType[timedelta]):
    """A length of time."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length of a text such as 90d, 24h, 30m or 10s."""
        match = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
        found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
        if found is None or found.days > _MAX_DAYS:
            self.fail(f"{value!r:.40} is not a duration like 90d, 24h or 30m", param, ctx)
        return found


class Expiry(click.ParamType[datetime]):
    """A point in time, or a length of time from now."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time of a text such as 90d or 2026-12-31."""
        if re.fullmatch(r"[0-9]+[a-z]", value):
            return utc_now() + Duration().convert(value, param, ctx)
        try:
            return Moment().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r:.40} is neither a duration like 90d or 24h, nor a time like 2026-12-31", param, ctx)


def actor() -> str:
    """Return the account of the operator."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@contextmanager
def access_store(chosen: Settings, command: str) -> Iterator[Store]:
    """Yield the store of a command, migrated."""
    with database(chosen) as url:
        migrate_database(command, chosen, url)
        with closing(startup.open_store(chosen, command, url=url, pool_max=1)) as store:
            yield store


# The number of a change and its row of `access_log`; None if nothing changes.
Done = tuple[int, AccessEvent] | None


def change(chosen: Settings, command: str, make: Callable[[Cursor], Done]) -> None:
    """Call `make` in one transaction, which has the lock of changes; then announce its change."""
    with access_store(chosen, command) as store:
        with store.transaction() as cursor:
            lock_access(cursor)
            done = make(cursor)
            if done is not None:
                insert_event(cursor, done[1])
        if done is not None:
            number, event = done
            fields = {"event": "auth", "action": event.action, "actor": event.actor, "key_id": event.key_id}
            log.info("access was changed", extra=fields)
            announce(chosen, lambda bus: bus.announce_access(number), LATE_SECONDS)
