"""Reads of rows by server, and the lag of the replica, as metrics."""

from __future__ import annotations

from config.exposition import Collected
from db.replicas import Reads


class ReadMetrics:
    """Collects them."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def __call__(self, found: Collected) -> None:
        """Add the rows; the lag is left out while it is unknown, and without a replica."""
        found.add_counts("tickwire_reads_total", self._reads.counts)
        replica = self._reads.replica
        if replica is not None and replica.lag is not None:
            found.add("tickwire_read_replica_lag_seconds", replica.lag)
