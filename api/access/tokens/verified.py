"""Results of earlier verifications, and failures by address. Pure: the clock is an argument."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from math import ceil
from typing import Any, NamedTuple

from api.access.model import Access
from api.errors import ErrorCode, Refusal

MAX_TOKENS = 10_000
MAX_FAILURES = 10  # per address and minute
MINUTE_SECONDS = 60.0
_MAX_ADDRESSES = 10_000


class _Verified(NamedTuple):
    access: Access
    until: float  # seconds since 1970
    generation: int  # of the keys


class VerifiedTokens:
    """The rights of verified tokens by SHA-256. Of more than 10,000, the latest used stay.

    `lock` guards the order if several threads verify tokens.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._tokens: OrderedDict[bytes, _Verified] = OrderedDict()  # the latest used last

    def find(self, digest: bytes, generation: int, now: float) -> Access | None:
        """Return the rights of a token until its `exp`, if no key was withdrawn since then."""
        if (found := self._tokens.get(digest)) is None:  # of most bad tokens, without the lock
            return None
        with self._lock:
            if found.generation != generation or now >= found.until:
                self._tokens.pop(digest, None)
                return None
            if digest in self._tokens:
                self._tokens.move_to_end(digest)
        return found.access

    def add(self, digest: bytes, access: Access, generation: int, until: float) -> None:
        """Keep the rights of a verified token."""
        with self._lock:
            self._tokens[digest] = _Verified(access, until, generation)
            if len(self._tokens) > MAX_TOKENS:
                self._tokens.popitem(last=False)


class FailureCounts:
    """Failed verifications by address; a minute begins with the first failure."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # address -> start of its minute, failures

    def check(self, address: str, now: float) -> None:
        """Raise `Refusal` (`too_many_requests`) after 10 failures within the minute."""
        start, count = self._counts.get(address, (now, 0))
        if count >= MAX_FAILURES and 0 <= now - start < MINUTE_SECONDS:
            details = {"retry_after": max(1, ceil(start + MINUTE_SECONDS - now))}
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, "Too many tokens were not accepted; try again later.", details)

    def add(self, address: str, now: float) -> None:
        """Count a failure. Of more than 10,000 addresses, the latest stay."""
        with self._lock:
            start, count = self._counts.pop(address, (now, 0))
            if not 0 <= now - start < MINUTE_SECONDS:
                start, count = now, 0
            self._counts[address] = start, count + 1
            if len(self._counts) > _MAX_ADDRESSES:
                self._counts.popitem(last=False)
