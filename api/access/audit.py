"""The events of access control that operators see: counted here, written by a loop. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Protocol

from api.access.counts import INSTRUMENT, AccessCounts
from api.access.model import Access
from api.errors import Refusal, Unauthorized
from db.access_log import LIMIT, NEW_ADDRESS, REFUSE, AccessEvent
from db.timestamps import format_time

MINUTE = timedelta(minutes=1)
MAX_GROUPS = 100  # per minute; the rest is one group without an address
_MAX_ADDRESSES = 20_000  # pairs of key and address that are remembered
_MAX_REMEMBERED = 4096  # addresses
_MAX_NAMED_KEYS = 5  # ids of unknown keys in one row
_UNVERIFIED = {"unknown_key", "another_credential"}  # reasons of refusals whose key id anyone can invent


class Audit(Protocol):
    """Counts events. Every method returns at once and raises nothing."""

    def used(self, access: Access, address: str) -> None:
        """Note the use of a key from an address."""

    def refused(self, refusal: Unauthorized, address: str) -> None:
        """Count a refused credential, by key id or address."""

    def limited(self, access: Access | None, address: str, limit: str) -> None:
        """Count a refusal by a limit, such as `RATE_REQUESTS`; `access` is None before rights."""

    def forbidden(self, refusal: Refusal) -> None:
        """Count a refusal for want of a scope or of an instrument; no other refusal counts."""

    def forbidden_instruments(self, number: int) -> None:
        """Count instruments that were rejected in a request, which was served otherwise."""


class NoAudit:
    """Counts nothing."""

    def used(self, access: Access, address: str) -> None:
        """Do nothing."""

    def refused(self, refusal: Unauthorized, address: str) -> None:
        """Do nothing."""

    def limited(self, access: Access | None, address: str, limit: str) -> None:
        """Do nothing."""

    def forbidden(self, refusal: Refusal) -> None:
        """Do nothing."""

    def forbidden_instruments(self, number: int) -> None:
        """Do nothing."""


@dataclass(slots=True)
class _Group:
    """Refusals of one action, by one key or from one address, within a minute."""

    since: datetime
    reasons: Counter[str] = field(default_factory=Counter)
    keys: dict[str, None] = field(default_factory=dict)  # ids of unknown keys


_GroupKey = tuple[str, str | None, str | None]  # action, id of a known key, address


class AuditCounts:
    """The `Audit` of one process. `actor` is `hub` or `rest`, `clock` returns aware UTC.

    `lock` guards the counts if several threads use them. A loop takes the results: refusals when
    their minute is over, uses at once. `counts` are those since the start.
    """

    def __init__(self, actor: str, clock: Callable[[], datetime], lock: AbstractContextManager[Any] | None = None) -> None:
        self._actor = actor
        self._clock = clock
        self._lock = lock or nullcontext()
        self._groups: dict[_GroupKey, _Group] = {}
        self._used: set[str] = set()  # ids of keys since the last `take_uses`
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()  # (key id, address), the latest last
        self._new: list[AccessEvent] = []
        self.counts = AccessCounts()

    def used(self, access: Access, address: str) -> None:
        """Note the use of a key from an address."""
        if access.key_id is None:
            return
        self._used.add(access.key_id)
        pair = access.key_id, address
        if pair in self._known:
            return
        with self._lock:
            self._known[pair] = None
            if len(self._known) > _MAX_ADDRESSES:
                self._known.popitem(last=False)
            self._new.append(AccessEvent(self._clock(), self._actor, NEW_ADDRESS, access.key_id, _ip(address), {"name": access.name}))

    def refused(self, refusal: Unauthorized, address: str) -> None:
        """Count a refused credential.

        Anyone can send invented key ids: a key that does not exist counts for its address.
        """
        self.counts.refused_credential(refusal.reason)
        known = None if refusal.reason in _UNVERIFIED else refusal.key_id
        with self._lock:
            group = self._group((REFUSE, known, None if known else _ip(address)))
            group.reasons[refusal.reason] += 1
            if refusal.key_id is not None and known is None and len(group.keys) < _MAX_NAMED_KEYS:
                group.keys[refusal.key_id] = None

    def limited(self, access: Access | None, address: str, limit: str) -> None:
        """Count a refusal by a limit."""
        self.counts.beyond_limit(limit)
        key_id = access.key_id if access is not None else None
        with self._lock:
            self._group((LIMIT, key_id, None if key_id else _ip(address))).reasons[limit] += 1

    def forbidden(self, refusal: Refusal) -> None:
        """Count a refusal for want of a scope or of an instrument; no other refusal counts."""
        self.counts.refused_right(refusal)

    def forbidden_instruments(self, number: int) -> None:
        """Count instruments that were rejected in a request, which was served otherwise."""
        self.counts.refusals.add(INSTRUMENT, by=number)

    @property
    def has_events(self) -> bool:
        """True if there are refusals or first uses to take."""
        return bool(self._groups or self._new)

    def take_refusals(self, *, all_of_them: bool = False) -> list[AccessEvent]:
        """Remove and return the refusals whose minute is over, or all; one event per group."""
        now = self._clock()
        with self._lock:
            over = [key for key, group in self._groups.items() if all_of_them or now - group.since >= MINUTE]
            return [self._event(key, self._groups.pop(key), now) for key in over]

    def take_uses(self) -> dict[str, datetime]:
        """Remove and return the ids of used keys, with the present time."""
        used, self._used = self._used, set()
        return dict.fromkeys(used, self._clock())

    def take_new(self) -> list[AccessEvent]:
        """Remove and return the first uses of keys from their addresses, as far as we remember."""
        with self._lock:
            new, self._new = self._new, []
        return new

    def _group(self, key: _GroupKey) -> _Group:
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = key[0], None, None
        return self._groups.setdefault(key, _Group(self._clock()))

    def _event(self, key: _GroupKey, group: _Group, now: datetime) -> AccessEvent:
        action, key_id, address = key
        details: dict[str, Any] = {"count": group.reasons.total(), "reasons": dict(group.reasons), "since": format_time(group.since)}
        if group.keys:
            details["keys"] = list(group.keys)
        return AccessEvent(now, self._actor, action, key_id, address, details)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _ip(address: str) -> str | None:
    """Return the address without a zone; None for other text, such as the path of a socket."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None
