"""The part of a route of plain WebSockets that is its own: its messages and its rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from api.access.model import Access
from api.hub.clients import Client
from api.hub.transport.plain_socket import PlainSocket
from api.hub.transport.wire import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The choices of a client in its URL that the layer must know."""

    text_heartbeat: bool = False  # the text `ping` comes with each Ping


Chosen = TypeVar("Chosen", bound=Options)


class Service(Protocol[Chosen]):
    """The messages of one route. No method yields to another greenlet."""

    route: str  # path of the URL

    def read_query(self, query: str) -> Chosen:
        """Return the options of a query string. Raises `Refusal`."""

    def check(self, options: Chosen, access: Access) -> None:
        """Raise `Refusal` unless a client with these rights may have these options."""

    def open(self, client: Client, peer: PlainSocket, options: Chosen) -> None:
        """Put a new client into its rooms, and send its first frames."""

    def change(self, client: Client, peer: PlainSocket, options: Chosen) -> None:
        """Put a client with other rights into its rooms, and take it out of others."""

    def close(self, client: str) -> None:
        """Remove a client, if it is there."""

    def read(self, data: bytes, *, binary: bool) -> Any:
        """Return the command of a frame, for `serve`. Raises `Refusal`."""

    def serve(self, peer: PlainSocket, options: Chosen, command: Any) -> None:
        """Answer a frame of a client. Raises `Refusal`."""

    def expiring(self, expires_at: str, in_seconds: int) -> Frame:
        """Return the notice that precedes the end of a credential; `expires_at` is ISO."""

    def refreshed(self, expires_at: str | None) -> Frame:
        """Return the answer to a further credential; None: it does not expire."""
