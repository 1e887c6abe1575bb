"""The metrics of the acting observer: read from its parts when they are rendered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from config.exposition import Collected
from db.alerts import ALERT_TYPES, SEVERITIES
from jobs.observer.collectors.base import Collector
from jobs.observer.loop import SnapshotLoop
from jobs.observer.reports import ReportFolder

Firing = Callable[[], Mapping[tuple[str, str], int]]  # returns (type, severity) -> number


class ObserverMetrics:
    """Collects the rows of one term as the acting process; the counts begin with the term."""

    def __init__(self, collectors: Mapping[str, Collector], folder: ReportFolder, snapshots: SnapshotLoop, firing: Firing) -> None:
        self._collectors = collectors
        self._folder = folder
        self._snapshots = snapshots
        self._firing = firing

    def __call__(self, found: Collected) -> None:
        """Add all rows."""
        found.add_counts("tickwire_reports_total", self._folder.outcomes)
        found.add_buckets("tickwire_snapshot_build_seconds", self._snapshots.builds)
        found.add("tickwire_snapshots_missed_total", self._snapshots.skipped)
        for name, collector in self._collectors.items():
            statistics = collector.get_statistics()
            found.add("tickwire_collector_errors_total", int(statistics["errors"]), collector=name)
            # A circuit that is tried again is open until the attempt succeeds.
            is_open = statistics.get("circuit", "closed") != "closed"
            found.add("tickwire_collector_circuit_open", int(is_open), collector=name)
        known: dict[tuple[str, ...], float] = {(kind, severity): 0 for kind in ALERT_TYPES for severity in SEVERITIES}
        for labels, number in self._firing().items():
            known[labels] = number
        found.add_counts("tickwire_alerts_firing", known)
