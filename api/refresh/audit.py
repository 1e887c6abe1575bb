"""Writes the counted events of access control to `access_log` and to the log of the process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from api.access.audit import AuditCounts
from config.pacing import Outage
from db.access_log import LIMIT, NEW_ADDRESS, REFUSE, AccessEvent, write_counts
from db.postgres import RowError, Store, StoreError

log = logging.getLogger(__name__)

EVENT = "auth"  # the field `event` of each line
USE_SECONDS = 60.0  # between two writes of the last use of a key
MAX_WAITING = 5_000  # events that wait for the store; the oldest are dropped

_TEXTS = {
    REFUSE: "credentials were refused",
    LIMIT: "requests were refused by a limit",
    NEW_ADDRESS: "a key was used from a new address",
}


class AuditWriter:
    """Writes in `flush`, which one loop calls about once a second.

    While the store is away, events wait and refused requests are in the log of the process alone.
    """

    def __init__(self, counts: AuditCounts, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counts = counts
        self._store = store
        self._monotonic = monotonic
        self._waiting: list[AccessEvent] = []
        self._uses: dict[str, Any] = {}  # key id -> time of its latest use, not written
        self._written: dict[str, float] = {}  # key id -> monotonic time of the last write
        self._outage = Outage(log, "the log of access control cannot be written", monotonic=monotonic)

    @property
    def has_events(self) -> bool:
        """True if there are refusals or first uses that are not in the store."""
        return bool(self._waiting) or self._counts.has_events

    def flush(self, *, final: bool = False) -> None:
        """Write what is due; with `final`, also the refusals of the present minute."""
        refusals = self._counts.take_refusals(all_of_them=final)
        for event in refusals:
            log_event(event)
        self._waiting = [*self._waiting, *refusals, *self._counts.take_new()][-MAX_WAITING:]
        self._uses |= self._counts.take_uses()
        now = self._monotonic()
        due = {key_id: at for key_id, at in self._uses.items() if now - self._written.get(key_id, -USE_SECONDS) >= USE_SECONDS}
        if not (self._waiting or due):
            return
        try:
            with self._store.transaction() as cursor:
                first = write_counts(cursor, self._waiting, due)
        except StoreError as error:
            self._outage.failed(error)
            return
        except RowError:
            log.exception("events of access control are lost, because the store rejects them")
            self._waiting = []
            return
        self._outage.recovered()
        self._waiting = []
        self._written |= dict.fromkeys(due, now)
        for key_id in due:
            del self._uses[key_id]
        for event in first:
            log_event(event)


def log_event(event: AccessEvent) -> None:
    """Log one line for an event, with `event="auth"`."""
    fields = {"event": EVENT, "action": event.action, "key_id": event.key_id, "ip": event.ip, **event.details}
    fields = {("key_name" if name == "name" else name): value for name, value in fields.items()}
    log.log(logging.INFO if event.action == NEW_ADDRESS else logging.WARNING, _TEXTS[event.action], extra=fields)
