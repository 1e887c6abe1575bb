"""Limits of requests for snapshots: a budget, the used weight, and refusals of the exchange. Pure.

`now` is a clock in seconds that does not go back. Callers of several threads lock.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

MAX_SNAPSHOTS_PER_MINUTE = 10  # over all books
# The others of a minute are for books that are wrong: a refresh can wait.
MAX_REFRESHES_PER_MINUTE = 8
# Of the 6,000 a minute that the exchange allows an address.
MAX_WEIGHT = 3_000
IM_A_TEAPOT = 418  # the exchange has banned the address
_STOPPING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, IM_A_TEAPOT})
_MINUTE = 60.0
_is_weight = re.compile(r"\d{1,9}", re.ASCII).fullmatch
# A refusal without Retry-After: the exchange counts weight by the minute.
_DEFAULT_STOP = 60.0
# The longest ban of the exchange, three days.
_LONGEST_STOP = 3 * 86_400.0


class Refusal(NamedTuple):
    """A request that must not be sent: the seconds until it may be, and the reason."""

    seconds: float
    reason: str


class RequestLimits:
    """The decision about each request, from the requests and the answers before it."""

    def __init__(self, *, most: int = MAX_SNAPSHOTS_PER_MINUTE, refreshes: int = MAX_REFRESHES_PER_MINUTE, minute: float = _MINUTE) -> None:
        self._most = most
        self._refreshes = refreshes
        self._minute = minute
        self._sent: deque[float] = deque()  # times of the requests of the last minute
        self._stopped_until = float("-inf")
        self._heavy_until = float("-inf")

    def take(self, now: float, *, is_refresh: bool) -> Refusal | None:
        """Count a request that is sent now; if it must not be sent, return the refusal instead."""
        refusal = self._refusal(now, self._refreshes if is_refresh else self._most, is_refresh)
        if refusal is None:
            self._sent.append(now)
        return refusal

    def note_answer(self, status: int, headers: Mapping[str, str], now: float) -> float | None:
        """Read an answer; return the wait in seconds that the exchange demands, None without one.

        After 429 or 418, no request is sent before the end of that wait.
        """
        wait = retry_after(headers)
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if _is_weight(used):
            self._heavy_until = now + self._minute if int(used) > MAX_WEIGHT else float("-inf")
        if status in _STOPPING:
            wait = _DEFAULT_STOP if wait is None else wait
            self._stopped_until = max(self._stopped_until, now + wait)
        return wait

    def _refusal(self, now: float, most: int, is_refresh: bool) -> Refusal | None:
        if now < self._stopped_until:
            return Refusal(self._stopped_until - now, "the exchange refuses requests until Retry-After has passed")
        if is_refresh and now < self._heavy_until:
            return Refusal(self._heavy_until - now, f"refreshes pause, because the used weight exceeds {MAX_WEIGHT}")
        while self._sent and self._sent[0] <= now - self._minute:
            self._sent.popleft()
        if len(self._sent) >= most:
            return Refusal(self._sent[-most] + self._minute - now, f"{len(self._sent)} snapshots were requested within a minute")
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After`; None without a positive number."""
    try:
        seconds = float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return min(seconds, _LONGEST_STOP) if seconds > 0 else None
