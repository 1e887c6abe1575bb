"""What can go wrong. Everything the client raises on purpose is a `TickwireError`."""

from __future__ import annotations

from typing import Any


class TickwireError(Exception):
    """The common base."""


class ConnectionFailed(TickwireError):
    """Nobody, or nobody who speaks our language, answers at that address; `code` where the hub refused (`server_full`)."""

    def __init__(self, message: str, code: str | None = None) -> None:
        self.code = code
        super().__init__(message)


class RequestTimeout(TickwireError):
    """No answer within the time limit: the hub is away or does not come to it."""


class Closed(TickwireError):
    """The client is not connected, or was closed meanwhile."""


class Refused(TickwireError):
    """The hub or REST says no: `code` as in the protocol (`unknown_instrument`, `no_price`, …), `details` by field, `status` of REST."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None, status: int | None = None) -> None:
        self.code, self.details, self.status = code, details or {}, status
        super().__init__(f"{message} ({code})")
