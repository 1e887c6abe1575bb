"""Exceptions of the client. All of them derive from `TickwireError`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class TickwireError(Exception):
    """Base class of all errors of the client."""


class ConnectionFailed(TickwireError):
    """No hub answers at the address.

    The text has the cause in brackets, such as `refused`, if no server answered. `code` is set if a
    hub refused the client (`server_full`, `too_many_requests`, `forbidden`), and `retry_after` if
    it named the seconds after which the client may try again. `auth_failed` means that the function
    `auth` of the program failed. `details` are those of the refusal.
    """

    def __init__(
        self, message: str, code: str | None = None, retry_after: float | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        self.code, self.retry_after, self.details = code, retry_after, dict(details or {})
        super().__init__(message)


class Unauthorized(ConnectionFailed):
    """The hub does not accept the credential: it is missing, bad, expired or revoked.

    The client does not reconnect. Requests and iterators raise this exception from then on.
    `details` may have the `reason`: `expired`, `revoked` or `key_changed`.
    """


class RequestTimeout(TickwireError):
    """No answer within the time limit: the hub is unreachable or overloaded."""


class Closed(TickwireError):
    """The client is not connected, or was closed during the call."""


class ConnectionLost(Exception):
    """The connection ended before the answer came. `sent` is False if the request was not sent.

    Internal: the client sends the request again, or raises a `TickwireError`.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(reason)


class Refused(TickwireError):
    """The hub or REST refused the request, or this client did.

    `code` is that of the protocol (`unknown_instrument`, `forbidden`, …), `details` maps fields to
    messages, `status` is the HTTP status and None for an answer of the hub. This client refuses
    a request that it cannot send (`invalid_payload`), and one of which two connections ended before
    the answer (`disconnected`, with `attempts` in `details`).

    The text has all of them: `Invalid pairs. (invalid_payload; pairs: Not a list.)`. `reason` is
    the message alone.
    """

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None, status: int | None = None) -> None:
        self.code, self.reason, self.details, self.status = code, message, details or {}, status
        texts = [_text(field, value) for field, value in self.details.items() if value != [message]]
        super().__init__(f"{message} ({'; '.join([code, *texts])})")


def _text(field: str, value: Any) -> str:
    """`pairs: Not a list. Too long.` for a field of `details`; a value may be any JSON."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value) if all(each.endswith(".") for each in value) else ", ".join(value)
    return f"{field}: {value if isinstance(value, str) else json.dumps(value, default=str)}"
