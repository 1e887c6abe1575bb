"""The events of access control that operators see: counted here, written by a thread. Pure."""

from __future__ import annotations

from typing import Protocol

from api.access.model import Access
from api.errors import Unauthorized


class Audit(Protocol):
    """Counts events. Every method returns at once and raises nothing."""

    def used(self, access: Access, address: str) -> None:
        """Note the use of a key from an address."""

    def refused(self, refusal: Unauthorized, address: str) -> None:
        """Count a refused credential, by key id or address."""

    def limited(self, access: Access | None, address: str, limit: str) -> None:
        """Count a refusal by a limit, such as `RATE_REQUESTS`; `access` is None before rights."""


class NoAudit:
    """Counts nothing."""

    def used(self, access: Access, address: str) -> None:
        """Do nothing."""

    def refused(self, refusal: Unauthorized, address: str) -> None:
        """Do nothing."""

    def limited(self, access: Access | None, address: str, limit: str) -> None:
        """Do nothing."""
