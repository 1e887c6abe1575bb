"""The tokens of one session: every packet of a client takes one. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf

FLOOD_SECONDS = 3.0  # of refused packets, after which the session is closed
# A pause without a refused packet, after which those seconds count anew.
QUIET_SECONDS = 1.5
_LEAST_RETRY_SECONDS = 1.0

# The turns of the loop are shared by all clients, so one client gets a part of each.
FRAMES_PER_TURN = 50
SLOW_FRAMES_PER_TURN = 8  # of a client whose bucket is empty
PAUSE_SECONDS = 0.01  # between two turns of such a client

MAX_CONNECTS = 5
CONNECT_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rule of all buckets of a server: tokens per second, and the content of a full bucket.

    `now` is a monotonic clock in seconds.
    """

    per_second: float
    at_once: float
    now: Callable[[], float]


class Bucket:
    """The tokens that a session has left. It is full at the beginning.

    A session floods if packets keep arriving while its bucket is empty.
    """

    __slots__ = ("_allowance", "_filled", "_first_refusal", "_last_refusal", "_tokens", "paid")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._tokens = allowance.at_once
        self._filled = allowance.now()  # time of the last filling
        self._first_refusal = -inf  # of those without a quiet pause between them
        self._last_refusal = -inf
        self.paid = True  # False if the packet that is handled now found too few tokens

    def pay(self) -> bool:
        """Take the token of a packet that begins to be handled; return False if there is none."""
        self.paid = self.take()
        return self.paid

    def take(self, tokens: float = 1) -> bool:
        """Take tokens, or none of them and return False.

        An event takes those beyond the one of its packet here. A cost above the content of a full
        bucket counts as a full bucket.
        """
        now, rule = self._allowance.now(), self._allowance
        self._tokens = min(rule.at_once, self._tokens + (now - self._filled) * rule.per_second)
        self._filled = now
        cost = min(tokens, rule.at_once)
        if self._tokens >= cost:
            self._tokens -= cost
            return True
        if now - self._last_refusal > QUIET_SECONDS:
            self._first_refusal = now
        self._last_refusal = now
        return False

    def retry_after(self, tokens: float = 1) -> float:
        """Return the seconds after which the tokens are there, at least one second."""
        rule = self._allowance
        missing = min(tokens, rule.at_once) - self._tokens
        return max(_LEAST_RETRY_SECONDS, ceil(missing / rule.per_second * 100) / 100)

    @property
    def per_second(self) -> float:
        """The tokens that come back in a second."""
        return self._allowance.per_second

    @property
    def empty(self) -> bool:
        """True if the last packet left no token."""
        return self._tokens < 1

    @property
    def flooded(self) -> bool:
        """True after `FLOOD_SECONDS` of refused packets."""
        return self._last_refusal - self._first_refusal >= FLOOD_SECONDS


class Connects:
    """The times of the CONNECT packets of one session within the last minute."""

    __slots__ = ("_now", "_times", "refused")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._times: tuple[float, ...] = ()
        self.refused = False  # True from a CONNECT above the limit until the next one that is accepted

    def take(self) -> bool:
        """Count one CONNECT; return False, and count nothing, after `MAX_CONNECTS` of a minute."""
        now = self._now()
        self._times = tuple(each for each in self._times if each > now - CONNECT_WINDOW_SECONDS)
        if len(self._times) >= MAX_CONNECTS:
            return False
        self._times += (now,)
        return True

    def retry_after(self) -> float:
        """Return the seconds after which a CONNECT is counted again, at least one second."""
        oldest = self._times[0] if self._times else self._now() - CONNECT_WINDOW_SECONDS
        return max(_LEAST_RETRY_SECONDS, ceil((oldest + CONNECT_WINDOW_SECONDS - self._now()) * 100) / 100)
