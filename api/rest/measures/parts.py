"""The parts of `/health` as metrics."""

from __future__ import annotations

from config.exposition import Collected
from health.verdict import Verdict
from health.watch import BUS, DATABASE, Watch

_ALWAYS = (DATABASE, BUS, "hub", "jobs", "writer")
_IF_EXPECTED = ("observer", "books")  # roles without which a system is complete
MAX_PARTS = 100


class PartMetrics:
    """Collects the state of each part. A part that failed once stays in the metrics."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._seen: set[str] = set(_ALWAYS)

    def __call__(self, found: Collected) -> None:
        """Add the rows of the last verdict; none before the first one."""
        verdict = self._watch.last_verdict
        if verdict is None:
            return
        self._seen.update(sorted(self._parts(verdict) - self._seen)[: max(0, MAX_PARTS - len(self._seen))])
        for part in sorted(self._seen):
            found.add("tickwire_part_healthy", part not in verdict.failing, part=part)

    def _parts(self, verdict: Verdict) -> set[str]:
        roles = {process.role for process in self._watch.processes()}
        return {*verdict.failing, *(f"source:{name}" for name in verdict.sources), *roles.intersection(_IF_EXPECTED)}
