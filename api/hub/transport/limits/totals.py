"""How many connections began and ended: sessions of Engine.IO and plain WebSockets. Pure."""

from __future__ import annotations

from api.errors import ErrorCode

CLIENT, SLOW, PING, PROTOCOL = "client", "slow", "ping", "protocol"
LIMIT, UNAUTHORIZED, DRAIN, FULL = "limit", "unauthorized", "drain", "full"
# The label values of an end.
ENDS = (CLIENT, SLOW, PING, PROTOCOL, LIMIT, UNAUTHORIZED, DRAIN, FULL)

# Reasons of `close` beside those of python-engineio.
PROTOCOL_ERROR, NO_NAMESPACE, SERVER_FULL = "protocol error", "no namespace", "server full"
# The end of each reason of `close`; the client causes any other one, such as "transport close".
_END_OF = {
    "slow consumer": SLOW,
    "ping timeout": PING,
    PROTOCOL_ERROR: PROTOCOL,
    "rate limit": LIMIT,
    "unauthorized": UNAUTHORIZED,
    NO_NAMESPACE: UNAUTHORIZED,
    "server disconnect": DRAIN,
    SERVER_FULL: FULL,
}
# The end of a client that leaves after this refusal.
_END_AFTER = {
    ErrorCode.SERVER_FULL: FULL,
    ErrorCode.TOO_MANY_REQUESTS: LIMIT,
    ErrorCode.UNAUTHORIZED: UNAUTHORIZED,
    ErrorCode.FORBIDDEN: UNAUTHORIZED,
}
# Close codes of violations of the protocol, and of an error of ours (1011).
_PROTOCOL_CODES = frozenset({1002, 1003, 1007, 1009, 1010, 1011})


def end_after(code: ErrorCode) -> str:
    """Return the end of a client that leaves after a refusal; empty if it has no reason in it."""
    return _END_AFTER.get(code, "")


def reason_of(code: int | None) -> str:
    """Return the reason of `close` for the Close code of a connection; None if it was lost."""
    return PROTOCOL_ERROR if code in _PROTOCOL_CODES else "transport close"


class ConnectionTotals:
    """Connections since the start. `opened` minus all of `ended` is the number of open ones."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended: dict[str, int] = dict.fromkeys(ENDS, 0)  # end -> number

    def end(self, reason: str, refused: str = "") -> None:
        """Count an end with the reason of `close`.

        `refused` is the end of a client that was refused and is not admitted, else empty. It counts
        if the client then leaves, or joins no namespace.
        """
        found = _END_OF.get(reason, CLIENT)
        self.ended[refused if refused and (found == CLIENT or reason == NO_NAMESPACE) else found] += 1
