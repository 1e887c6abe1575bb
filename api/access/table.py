"""The keys and revoked tokens of an installation as one value. Pure.

A process holds the table in `Tables`. The refresher replaces it; every lookup uses the present one.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from api.access.credentials import Credential
from api.access.model import Access, CallerLimits
from api.errors import Unauthorized
from config.access.keys import digest_of
from config.access.patterns import NOTHING, compile_patterns
from config.fields import Rate, parse_rate
from db.api_keys import ApiKey
from db.revoked_tokens import RevokedToken

KEY_STATES = ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key: its digest, its rights, and the time of its revocation."""

    digest: bytes = field(repr=False)
    access: Access
    revoked: datetime | None

    def state(self, now: datetime) -> str:
        """Return one of `KEY_STATES`; a key that is revoked and has expired is revoked."""
        if self.revoked is not None:
            return REVOKED
        return EXPIRED if has_expired(self.access, now) else ACTIVE


@dataclass(frozen=True, slots=True)
class AccessTable:
    """Keys by digest and by id, and the revoked tokens.

    `changed` is the number of the last change that the table contains.
    """

    by_digest: Mapping[bytes, KeyEntry] = field(default_factory=dict, repr=False)
    by_id: Mapping[str, KeyEntry] = field(default_factory=dict, repr=False)
    tokens: frozenset[str] = frozenset()  # revoked jti
    subjects: Mapping[str, datetime] = field(default_factory=dict)  # sub -> tokens issued earlier are revoked
    changed: int = 0

    def find(self, credential: Credential, now: datetime) -> Access:
        """Return the rights of a key. Raises `Unauthorized`."""
        entry = self.by_digest.get(credential.digest)
        if entry is None or not hmac.compare_digest(entry.digest, credential.digest):
            raise Unauthorized("unknown_key", sent=True, key_id=credential.key_id)
        access = entry.access
        return access if entry.revoked is None and access.expires_at is None else self._present(entry, now)

    def find_lasting(self, text: str) -> Access | None:
        """Return the rights of a key in force that does not expire; None for any other text.

        `find` has the same result. It needs a `Credential`, which takes longer than the lookup.
        """
        digest = digest_of(text)
        entry = self.by_digest.get(digest)
        if entry is None or entry.revoked is not None or not hmac.compare_digest(entry.digest, digest):
            return None
        return entry.access if entry.access.expires_at is None else None

    def renew(self, access: Access, now: datetime) -> Access:
        """Return the present rights of a key or token that was accepted. Raises `Unauthorized`."""
        if access.key_id is not None:
            if (entry := self.by_id.get(access.key_id)) is None:
                raise Unauthorized("unknown_key", sent=True, key_id=access.key_id)
            return self._present(entry, now)
        if self.revokes(access):
            raise Unauthorized("revoked", sent=True)
        if has_expired(access, now):
            raise Unauthorized("expired", sent=True)
        return access

    @staticmethod
    def _present(entry: KeyEntry, now: datetime) -> Access:
        """Return the rights of an entry that is in force. Raises `Unauthorized`."""
        if entry.revoked is not None:
            raise Unauthorized("revoked", sent=True, key_id=entry.access.key_id)
        if has_expired(entry.access, now):
            raise Unauthorized("expired", sent=True, key_id=entry.access.key_id)
        return entry.access

    def revokes(self, access: Access) -> bool:
        """Return True if the rights are those of a revoked key or token.

        A token without `issued_at` counts as issued before each revocation of its subject.
        """
        if access.key_id is not None:
            entry = self.by_id.get(access.key_id)
            return entry is None or entry.revoked is not None
        if access.subject is None:
            return False
        before = self.subjects.get(access.subject)
        return access.jti in self.tokens or (before is not None and (access.issued_at is None or access.issued_at < before))

    def updated(self, keys: Iterable[ApiKey], tokens: Iterable[RevokedToken]) -> AccessTable:
        """Return the table with the changed rows in place of earlier ones."""
        by_digest, by_id, subjects = dict(self.by_digest), dict(self.by_id), dict(self.subjects)
        jtis, changed = set(self.tokens), self.changed
        for key in keys:
            if (old := by_id.get(key.id)) is not None:
                by_digest.pop(old.digest, None)
            by_id[key.id] = by_digest[key.digest] = entry_of(key)
            changed = max(changed, key.changed)
        for token in tokens:
            if token.jti is not None:
                jtis.add(token.jti)
            elif token.sub is not None and token.before is not None:
                subjects[token.sub] = max(token.before, subjects.get(token.sub, token.before))
            changed = max(changed, token.changed)
        return AccessTable(by_digest, by_id, frozenset(jtis), subjects, changed)


@dataclass(frozen=True, slots=True)
class TableChange:
    """A change of the table: the ids of the changed keys, and the revoked tokens.

    `before` and `after` have the rights of each changed key. A key that is not in `after` has no
    rights: PostgreSQL was restored from a backup.
    """

    before: AccessTable
    after: AccessTable
    key_ids: frozenset[str]
    jtis: frozenset[str]
    subjects: frozenset[str]


class Tables:
    """The present table of this process; None before the first read.

    `stale` is True while PostgreSQL cannot be read.
    """

    def __init__(self, table: AccessTable | None = None) -> None:
        self.table = table
        self.stale = False
        self._listeners: list[Callable[[TableChange], None]] = []

    def listen(self, listener: Callable[[TableChange], None]) -> None:
        """Call `listener` after each change, in the thread or greenlet that reads the table."""
        self._listeners.append(listener)

    def take(self, keys: Iterable[ApiKey], tokens: Iterable[RevokedToken], *, whole: bool = False) -> None:
        """Apply the rows that have changed since the last call; `whole`: these are all rows."""
        keys, tokens = tuple(keys), tuple(tokens)
        before = self.table or AccessTable()
        self.table = after = (AccessTable() if whole else before).updated(keys, tokens)
        if not (keys or tokens or whole):
            return
        gone = before.by_id.keys() - after.by_id.keys()
        change = TableChange(
            before,
            after,
            frozenset(gone | {key.id for key in keys}),
            frozenset(token.jti for token in tokens if token.jti is not None),
            frozenset(token.sub for token in tokens if token.sub is not None),
        )
        for listener in self._listeners:
            listener(change)


def has_expired(access: Access, now: datetime) -> bool:
    """Return True from the end of the rights on."""
    return access.expires_at is not None and now >= access.expires_at + access.leeway


def entry_of(key: ApiKey) -> KeyEntry:
    """Return the entry of a row. A row that cannot be read grants nothing, and stops no other."""
    try:
        return KeyEntry(key.digest, access_of(key), key.revoked)
    except ValueError:
        return KeyEntry(key.digest, Access(frozenset(), NOTHING, key_id=key.id, name=key.name), key.revoked or key.created)


def access_of(key: ApiKey) -> Access:
    """Return the rights of a key. Raises `ValueError` for a bad pattern or rate."""
    return Access(
        scopes=frozenset(key.scopes),
        patterns=compile_patterns(key.instruments),
        bots=frozenset(key.bots),
        key_id=key.id,
        name=key.name,
        expires_at=key.expires,
        limits=CallerLimits(_rate(key.rate_requests), _rate(key.rate_events), key.max_connections),
    )


def _rate(text: str | None) -> Rate | None:
    return None if text is None else parse_rate(text)
