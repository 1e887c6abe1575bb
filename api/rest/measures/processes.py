"""The metrics of every process: those of REST itself, and the families of the others' reports."""

from __future__ import annotations

from config.exposition import Exposition, Families, merge, read_families, without_acting
from health.reports import Report
from health.timing import Timing
from health.verdict import acting_reports
from health.watch import Watch

_AGE = "tickwire_process_report_age_seconds"


class AllProcesses:
    """Merges the metrics of all expected processes. Any thread may call it.

    `workers` is the number of REST processes on this port: if there is one, the metrics that REST
    alone exports have no label `process`.
    """

    def __init__(self, watch: Watch, exposition: Exposition, workers: int, timing: Timing) -> None:
        self._watch = watch
        self._exposition = exposition
        self._workers = workers
        self._timing = timing

    def __call__(self) -> Families:
        """One block for each name. While Redis is away, the metrics of this process alone."""
        own = self._watch.name
        found = {own: self._exposition.families()}
        processes = self._watch.present_processes()
        living = [each for each in processes if each.name != own and not each.is_down(self._timing.down)]
        acting = {report.name for report in acting_reports(living)}
        reports = [each.report for each in living if each.report is not None]
        reports.sort(key=lambda report: report.at, reverse=True)
        found |= {report.name: _families(report, acting) for report in reports}
        merged = merge(found, rest=own if self._workers == 1 else None)
        if processes:
            merged[_AGE] = [("", {"process": each.name}, each.age_seconds) for each in processes]
        return merged


def _families(report: Report, acting: set[str]) -> Families:
    """The families of a report. All jobs processes count, because they share the duties.

    Of two other processes that claim to act, the newer report counts.
    """
    families = read_families(report.role, report.part("metrics").get("families"))
    return families if report.name in acting or report.role in ("hub", "rest", "jobs") else without_acting(families)
