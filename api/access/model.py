"""The rights of a caller: a handshake goes in, an `Access` comes out; edges check it.

Pure: no framework, no I/O, no clock. `api.access.authenticator` makes an `Access` of a handshake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from api.access.credentials import Credential
from config.access.patterns import EVERYTHING, NOTHING, Patterns
from config.access.scopes import OBSERVE as OBSERVE
from config.access.scopes import OPERATE as OPERATE
from config.access.scopes import PUBLISH as PUBLISH
from config.access.scopes import READ as READ
from config.access.scopes import REPORT as REPORT
from config.access.scopes import SCOPES as SCOPES
from config.fields import Rate

OPEN = ""  # of events and routes that need no scope: health, API pages; on the hub any client

# Names of the headers that a handshake keeps, lower case.
KEPT_HEADERS = ("authorization", "x-api-key", "host", "origin", "user-agent", "x-forwarded-for")


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """The limits of one caller; None is the default of the setting."""

    requests: Rate | None = None  # REST
    events: Rate | None = None  # hub
    connections: int | None = None  # hub


DEFAULT_LIMITS = CallerLimits()


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of one caller: of a key, of a JWT, or of callers without a credential.

    `key_id` is None without a key, `subject` (with `jti` and `issued_at`) without a JWT. `name` is
    that of the key, or the subject. `bots` None permits every name. `expires_at` is aware UTC, None
    if the rights do not expire. `leeway` is for the clocks of issuers of tokens. Callers with equal
    `reading` may share frames and answers.
    """

    scopes: frozenset[str]
    patterns: Patterns
    bots: frozenset[str] | None = frozenset()
    key_id: str | None = None
    name: str = ""
    expires_at: datetime | None = None
    limits: CallerLimits = DEFAULT_LIMITS
    subject: str | None = None
    jti: str | None = None
    issued_at: datetime | None = None
    leeway: timedelta = timedelta()

    @property
    def ends_at(self) -> datetime | None:
        """The time at which the rights end: `expires_at`, of a token with the leeway."""
        return None if self.expires_at is None else self.expires_at + self.leeway

    @property
    def anonymous(self) -> bool:
        """True without a credential."""
        return self.key_id is None and self.subject is None

    @property
    def caller(self) -> str | None:
        """The identity that limits count: `key:ID` or `sub:NAME`; None without a credential."""
        if self.key_id is not None:
            return f"key:{self.key_id}"
        return None if self.subject is None else f"sub:{self.subject}"

    @property
    def reading(self) -> Patterns:
        """The patterns for reading; without `read` they permit nothing."""
        return self.patterns if READ in self.scopes else NOTHING

    def allows(self, scope: str) -> bool:
        """Return True if the caller has the scope; every caller has `OPEN`."""
        return scope == OPEN or scope in self.scopes

    def includes(self, instrument: str) -> bool:
        """Return True if the caller may read the instrument."""
        return READ in self.scopes and self.patterns.permits(instrument)

    def may_publish(self, instrument: str) -> bool:
        """Return True if the caller may publish prices of the instrument."""
        return PUBLISH in self.scopes and self.patterns.permits(instrument)

    def may_report(self, bot: str) -> bool:
        """Return True if the caller may report for the bot."""
        return REPORT in self.scopes and (self.bots is None or bot in self.bots)

    def entitled(self, instruments: frozenset[str]) -> frozenset[str]:
        """Return the readable ones of `instruments`, computed once per list of patterns and set."""
        return self.reading.among(instruments)

    def covers(self, other: Access, instruments: frozenset[str]) -> bool:
        """Return True if `other` has no scope, bot or one of `instruments` that this one lacks."""
        bots = self.bots is None or (other.bots is not None and other.bots <= self.bots)
        patterns = self.patterns == other.patterns or other.patterns.among(instruments) <= self.patterns.among(instruments)
        return other.scopes <= self.scopes and bots and patterns


@dataclass(frozen=True, slots=True)
class Presented:
    """The credential of the request that opened a session: its SHA-256, and its rights then."""

    digest: bytes = field(repr=False)
    access: Access


@dataclass(frozen=True, slots=True)
class Handshake:
    """The facts that identify a client: one per CONNECT of a namespace, one per REST request.

    `transport` is `polling`, `websocket`, `rest`, or `refresh` for a new token of a client.
    `address` is the client's, which `Peers` finds. `headers` has lower-case names, those of
    `KEPT_HEADERS` alone. `auth` is the payload of CONNECT, None for REST. The first frame
    `auth:TEXT` of a plain WebSocket is `{"token": TEXT}`. `presented` replaces the credential in
    the headers of a session, which keeps none. `session` is the id of the session, empty without
    one. `credential` is that of `headers`, if the edge has read it.
    """

    transport: str
    address: str
    headers: Mapping[str, str]
    namespace: str = "/"
    auth: Mapping[str, Any] | None = None
    presented: Presented | None = None
    session: str = ""
    credential: Credential | None = None


class Authenticator(Protocol):
    """Makes an `Access` of a handshake."""

    def authenticate(self, handshake: Handshake) -> Access:
        """Return the rights of the client.

        Raises `api.errors.Refusal`: `Unauthorized` for a bad or missing credential,
        `invalid_payload` for two, `too_many_requests`, or `unavailable` before the first read of
        the keys.
        """


def anonymous(scopes: frozenset[str] = frozenset(SCOPES), patterns: Patterns = EVERYTHING) -> Access:
    """Return the rights of callers without a credential."""
    return Access(scopes, patterns, bots=None)


_OPEN_ACCESS = anonymous()


class OpenAuthenticator:
    """Accepts every client."""

    def authenticate(self, handshake: Handshake) -> Access:
        """Return all rights for every handshake."""
        return _OPEN_ACCESS
