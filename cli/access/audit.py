"""`manage.py audit`: the log of access control."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta

import click

from cli.access.common import access_store
from cli.common import Moment, chosen_settings, plain_errors, stopped_by_signals
from db.access_log import AccessEvent, events_since
from db.postgres import Store
from db.timestamps import format_time, utc_now

FOLLOW_SECONDS = 1.0
_LATE = timedelta(seconds=30)  # a row may become visible later than one with a later time


@click.command()
@click.option("--key", "key_id", metavar="ID", help="Rows of one key.")
@click.option("--since", type=Moment(), metavar="TIME", help="Rows from this time on. Default: the latest 10,000.")
@click.option("--follow", is_flag=True, help="Continue with new rows until Ctrl-C.")
def audit(key_id: str | None, since: datetime | None, follow: bool) -> None:
    """Show created, revoked and rotated keys, refusals, and first uses from an address.

    Refusals have one row per key or address and minute.
    """
    chosen = chosen_settings("audit")
    stop = stopped_by_signals() if follow else threading.Event()
    with plain_errors(), access_store(chosen, "audit") as store:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        with store.transaction() as cursor:
            found = events_since(cursor, since, key_id)
        _print(found)
        if follow:
            _follow(store, key_id, since, found, stop)


def _follow(store: Store, key_id: str | None, since: datetime | None, found: Iterable[AccessEvent], stop: threading.Event) -> None:
    """Print new rows until `stop` is set."""
    printed = {_line(event) for event in found}
    start = utc_now()
    while not stop.wait(FOLLOW_SECONDS):
        with store.transaction() as cursor:
            found = events_since(cursor, max(since or start - _LATE, start - _LATE), key_id)
        _print(event for event in found if _line(event) not in printed)
        start = max((event.at for event in found), default=start)
        printed = {_line(event) for event in found}


def _print(events: Iterable[AccessEvent]) -> None:
    for event in events:
        click.echo(_line(event))


def _line(event: AccessEvent) -> str:
    """Return time, action, actor, key and address, then the details as JSON."""
    head = [format_time(event.at), event.action, event.actor, event.key_id or "-", event.ip or "-"]
    return " ".join([*head, json.dumps(event.details, ensure_ascii=False)]) if event.details else " ".join(head)
