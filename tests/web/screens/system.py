"""The system section of the screenshots: real parts with figures that no machine changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from jobs.observer.collectors.system import SystemCollector
from jobs.observer.figures.models import ProcessMetric
from jobs.observer.figures.sections import Body, system_section

# role -> CPU in percent, memory in MB, threads
_FIGURES = {"jobs": (2.4, 118, 14), "hub": (3.1, 96, 6), "rest": (1.2, 104, 12), "observer": (2.0, 89, 9), "books": (1.6, 92, 8)}


class SteadySystem(SystemCollector):
    """The collector of the system with measured figures replaced by fixed ones."""

    def collect(self, now: datetime) -> Body:
        """The body of the section."""
        super().collect(now)
        assert self._metric is not None
        processes = {}
        for number, name in enumerate(sorted({name.partition(":")[0].partition("@")[0] for name in self._metric.processes})):
            cpu, megabytes, threads = _FIGURES.get(name, (1.0, 80, 4))
            processes[name] = ProcessMetric(4210 + number, cpu, megabytes * 1_000_000, threads)
        self._metric = replace(
            self._metric,
            cpu_percent=14.2, memory_percent=41.0, disk_usage_percent=37.5, uptime=86_400.0, health="healthy",
            network_bytes_sent=184_200_000, network_bytes_recv=96_700_000, processes=processes, process_count=len(processes),
            thread_count=sum(each.threads or 0 for each in processes.values()),
            redis={"used_memory_bytes": 21_400_000, "ops_per_sec": 412}, postgres={"connections": 14, "commits_per_sec": 8.6},
        )  # fmt: skip
        return system_section(now, self._metric)
