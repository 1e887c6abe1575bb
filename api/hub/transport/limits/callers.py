"""The tokens of a key or subject, which its sessions on this hub share. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from api.access.model import Access
from api.hub.transport.limits.bucket import Allowance, Bucket
from config.fields import Rate

AT_ONCE = 4.0  # times the count of a rate: the content of a full bucket
MAX_CALLERS = 10_000  # whose buckets are kept


class CallerBuckets:
    """One bucket per key or subject. It stays after the last session, so a new one is not full.

    `default` is the rate of callers without their own. `now` is a monotonic clock in seconds. The
    callers that connected last are kept.
    """

    def __init__(self, default: Rate, now: Callable[[], float], most: int = MAX_CALLERS) -> None:
        self._default = default
        self._now = now
        self._most = most
        self._buckets: OrderedDict[str, tuple[Rate, Bucket]] = OrderedDict()  # caller -> its rate and bucket

    def of(self, access: Access) -> Bucket | None:
        """Return the bucket of a caller; None without a credential."""
        caller = access.caller
        if caller is None:
            return None
        rate = access.limits.events or self._default
        found = self._buckets.get(caller)
        if found is None or found[0] != rate:
            found = self._buckets[caller] = rate, Bucket(Allowance(rate.per_second, AT_ONCE * rate.count, self._now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return found[1]
