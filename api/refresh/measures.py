"""The metrics of access control, in the hub and in REST."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from api.access.table import KEY_STATES
from api.refresh.service import AccessControl
from config.exposition import Collected


class AccessMetrics:
    """Collects the refusals, the limits and the age of both tables.

    `keys` adds the number of keys by state. `clock` returns aware UTC.
    """

    def __init__(self, access: AccessControl, clock: Callable[[], datetime], *, keys: bool = False) -> None:
        self._access = access
        self._clock = clock
        self._keys = keys

    def __call__(self, found: Collected) -> None:
        """Add the rows. Without a first read of the tables, those about them are missing."""
        access = self._access
        found.add_counts("tickwire_access_refusals_total", access.audit.counts.refusals)
        found.add_counts("tickwire_rate_limited_total", access.audit.counts.limited)
        if (age := access.table_age) is not None:
            found.add("tickwire_access_table_age_seconds", age)
        if self._keys and access.tables.table is not None:
            now = self._clock()
            states = Counter(entry.state(now) for entry in access.tables.table.by_id.values())
            for state in KEY_STATES:
                found.add("tickwire_access_keys", states[state], state=state)
