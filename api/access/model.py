"""The front door: a handshake goes in, an `Access` comes out; rooms, events and routes check it.

Pure: no framework, no I/O, no clock. Today `OpenAuthenticator` is the only implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

OPEN = ""  # the scope of events and routes that need no right: health, API pages
READ = "read"  # prices, candles, figures and own alerts
OBSERVE = "observe"  # the state of the system: statistics, jobs, gaps
PUBLISH = "publish"  # prices from outside

# Names of the headers that a handshake keeps, lower case.
KEPT_HEADERS = ("authorization", "x-api-key", "host", "origin", "user-agent", "x-forwarded-for")


@dataclass(frozen=True, slots=True)
class Handshake:
    """The facts that identify a client: one per CONNECT of a namespace, one per REST request.

    `transport` is `polling`, `websocket` or `rest`. `address` is the client's, which `Peers` finds.
    `headers` has lower-case names, those of `KEPT_HEADERS` alone. `auth` is the payload of CONNECT,
    None for REST.
    """

    transport: str
    address: str
    headers: Mapping[str, str]
    namespace: str = "/"
    auth: Mapping[str, Any] | None = None


class Access(Protocol):
    """The rights of one client; hashable. Equal rights are equal objects if that is possible.

    Clients with equal rights share the bodies of events that depend on rights.
    """

    @property
    def name(self) -> str:
        """Name of the client's key; empty if it has none."""

    def allows(self, scope: str) -> bool:
        """Return True if the client has the scope."""

    def includes(self, instrument: str) -> bool:
        """Return True if the client may see the instrument."""


class Authenticator(Protocol):
    """Makes an `Access` of a handshake."""

    def authenticate(self, handshake: Handshake) -> Access:
        """Return the rights of the client. Raises `api.errors.Refusal` if it may not connect."""


class OpenAccess:
    """All rights, for a client without a key."""

    __slots__ = ()
    name = ""

    def allows(self, scope: str) -> bool:
        """Return True for every scope."""
        return True

    def includes(self, instrument: str) -> bool:
        """Return True for every instrument."""
        return True


_OPEN_ACCESS = OpenAccess()


class OpenAuthenticator:
    """Accepts every client."""

    def authenticate(self, handshake: Handshake) -> Access:
        """Return all rights for every handshake."""
        return _OPEN_ACCESS
