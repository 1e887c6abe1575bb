"""Pairs of TimescaleDB and PostgreSQL that were tried, and the check of a server with TimescaleDB.

Rule for operators: the extension must be at least as new as the server's minor release.
docs/deployment.md prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from db.diagnosis import DatabaseState
from ops.doctor.parallel import Answer, Missing
from ops.doctor.results import Problem, Result, failure, result, unknown, warning
from ops.doctor.subject import NEEDS_DATABASE

_UPDATE = "ALTER EXTENSION timescaledb UPDATE; in a new session, after its package was updated (docs/deployment.md)"


@dataclass(frozen=True, slots=True)
class Pair:
    """Versions that were tried together; `works` is the result, `text` its description."""

    timescaledb: str
    postgres: str
    works: bool
    text: str


PAIRS = (
    Pair(
        "2.29.2",
        "18.4",
        True,
        "all background jobs succeed, a late row enters a compressed chunk, 4,976 kB of prices compress to 416 kB",
    ),
    Pair(
        "2.17.2",
        "15.20",
        False,
        'background jobs end with "cannot drop portal"; the extension is older than the server\'s minor release',
    ),
)


def judge(state: Answer[DatabaseState]) -> Result:
    """Return the result of the check."""
    if isinstance(state, Missing):
        return result("TimescaleDB", "", [unknown(f"cannot be checked: {state.reason}", NEEDS_DATABASE)])
    if state.timescaledb is None:
        return result("TimescaleDB", "not installed in this database, which works without it")
    jobs = [
        failure(
            f"background job {job.id} ({job.name}{f' of {job.table}' if job.table else ''}) failed: "
            f"{job.message or 'its message is visible to its owner alone'}",
            f"CALL run_job({job.id}); repeats it; timescaledb_information.job_errors has all its errors",
        )
        for job in state.failed_jobs
    ]
    return result("TimescaleDB", f"{state.timescaledb} on PostgreSQL {state.version}", [_pair(state.timescaledb, state.version), *jobs])


def _pair(timescaledb: str, postgres: str) -> Problem | None:
    found = next((pair for pair in PAIRS if (pair.timescaledb, pair.postgres) == (timescaledb, postgres)), None)
    if found is None:
        works = ", ".join(f"{pair.timescaledb} on {pair.postgres}" for pair in PAIRS if pair.works)
        return warning(f"{timescaledb} on PostgreSQL {postgres} was never tried (works: {works})", _UPDATE)
    return None if found.works else failure(f"{timescaledb} on PostgreSQL {postgres}: {found.text}", _UPDATE)
