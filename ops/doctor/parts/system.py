"""Checks of our processes: those of `run.json`, those of the registry, hubs and timed jobs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from config.process.duties import duties_of_settings
from db.scenarios.files import has_books
from db.timestamps import format_time
from health.duties import FRESH, held_duties, held_wrongly
from health.reports import Process, ProcessTable
from health.system.state import living_reports
from health.timing import DEFAULT
from health.verdict import Verdict, judge
from ops import status
from ops.doctor.evidence import Evidence
from ops.doctor.parallel import Missing
from ops.doctor.results import Problem, Result, failure, result, unknown, warning
from ops.doctor.subject import NEEDS_BUS, Subject

_GIVING = ("live", "ended")  # states of a source
_SOURCE = "source:"
_LATE_SECONDS = 300.0  # of a run of a timed job
_START = "`manage.py up` starts and restarts it; its log has the cause"
_LOG = "GET /api/system/logs/recent, or LOG_FILE, has the cause"


def processes(subject: Subject, evidence: Evidence) -> Result:
    """All expected processes report, one of each role acts, each duty has one, no part fails."""
    ended = _ended(subject)
    late = _late(subject, evidence)
    table = evidence.processes
    if isinstance(table, Missing):
        missing = unknown(f"the registry cannot be read: {table.reason}", NEEDS_BUS)
        return result("processes", "", [*ended, missing, *late])
    expected = table.expected()
    verdict = judge(expected, datetime.fromtimestamp(subject.now(), UTC), own={})
    down = [_down(process) for process in expected if process.is_down(DEFAULT.down)]
    text = f"{len(expected)} report: {', '.join(sorted(process.name for process in expected))}"
    problems = [
        *ended,
        *down,
        *_malformed(table),
        *_failing(verdict, down),
        *_standing_by(expected),
        *_duties(subject, expected),
        *_sources(verdict),
        *late,
    ]
    return result("processes", text, problems)


def _ended(subject: Subject) -> list[Problem]:
    states = status.states(subject.system, subject.now()) if subject.system else []
    return [
        failure(f"the process {each.name} of run.json (pid {each.pid}) has ended", f"stop the rest of the system, then {_START}")
        for each in states
        if each.uptime_seconds is None
    ]


def _down(process: Process) -> Problem:
    since = f"its last heartbeat is {process.age_seconds:.0f} s old" if process.age_seconds > DEFAULT.down else "its report is missing"
    return failure(f"{process.name} does not report: {since}", _START)


def _malformed(table: ProcessTable) -> Iterable[Problem]:
    for name, reason in table.malformed.items():
        yield failure(f"the report of {name} is malformed ({reason})", "run the same version of Tickwire everywhere")


def _failing(verdict: Verdict, down: list[Problem]) -> Iterable[Problem]:
    """The failing parts of the verdict, without hubs that are down, and without sources."""
    for part, reason in verdict.failing.items():
        if part.startswith(_SOURCE) or (part == "hub" and down):
            continue
        yield failure(f"{part}: {reason}", _START if part in ("jobs", "observer", "books", "hub") else _LOG)


def _standing_by(expected: Iterable[Process]) -> Iterable[Problem]:
    """Roles of which processes report, and none acts. The verdict names jobs."""
    known: dict[str, bool] = {}
    for process in expected:
        if process.report is not None and not process.is_down(DEFAULT.down):
            known[process.role] = known.get(process.role, False) or process.report.acting
    for role, acts in known.items():
        if not acts and role != "jobs":
            remedy = f"one {role} process must hold the lock of the database: check PostgreSQL, then restart it"
            yield failure(f"no {role} process acts", remedy)


def _duties(subject: Subject, expected: Iterable[Process]) -> Iterable[Problem]:
    """Duties that no jobs process has, or that several have; the verdict names missing jobs."""
    reports = [report for report in living_reports(expected, "jobs", FRESH) if "duties" in report.body]
    known = duties_of_settings(subject.settings, has_books) if reports else ()
    for duty, number in held_wrongly(held_duties(reports, known)).items():
        remedy = "give all jobs processes the same settings, and check JOBS_DUTIES; `manage.py duties` shows their duties"
        yield failure(f"{number or 'no'} jobs process{'es have' if number else ' has'} the duty {duty}", remedy)


def _sources(verdict: Verdict) -> Iterable[Problem]:
    for name, source in verdict.sources.items():
        if source.get("state") not in _GIVING:
            detail = f": {source['detail']}" if source.get("detail") else ""
            yield warning(f"source {name} is {source.get('state')}{detail}", f"check its settings, or remove {name} from SOURCES")


def _late(subject: Subject, evidence: Evidence) -> list[Problem]:
    jobs = [] if isinstance(evidence.database, Missing) else evidence.database.jobs
    return [
        warning(f"the task {job.id} was due at {format_time(job.next_run)} and did not run", f"`manage.py job run {job.id}` runs it once")
        for job in jobs
        if job.next_run is not None and subject.now() - job.next_run.timestamp() > _LATE_SECONDS
    ]


def hubs(subject: Subject, evidence: Evidence) -> Result:
    """Each hub of the registry answers at its address."""
    if isinstance(evidence.processes, Missing):
        return result("hubs", "", [unknown(f"the registry cannot be read: {evidence.processes.reason}", NEEDS_BUS)])
    remedy = "this machine must reach the hub at this address: set WEBSOCKET_HOST, open the port, or restart the hub"
    silent = [failure(f"{url} does not answer /hub/health with 200", remedy) for url, answers in evidence.hubs.items() if not answers]
    return result("hubs", ", ".join(evidence.hubs) or "no hub is registered", silent)
