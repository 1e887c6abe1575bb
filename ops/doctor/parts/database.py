"""Checks of PostgreSQL, and of a connection pooler in front of it."""

from __future__ import annotations

from db.diagnosis import DatabaseState
from ops.doctor.evidence import Evidence
from ops.doctor.parallel import Missing
from ops.doctor.parts.findings import not_started, problems_of
from ops.doctor.results import Problem, Result, failure, result, unknown, warning
from ops.doctor.subject import NEEDS_DATABASE, Subject
from ops.servers import Server, sql_name

_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")
_POOLER = "a direct address or a pooler in session mode for jobs, books, observer and migrate"


def postgres(subject: Subject, evidence: Evidence) -> Result:
    """Findings of a start, migrations, time zone, number of connections."""
    server = subject.database
    if server is None:
        return result("PostgreSQL", "", [not_started(subject.database_place, "DATABASE_URL")])
    findings = problems_of(server, evidence.database_findings, subject)
    state = evidence.database
    if isinstance(state, Missing):
        more = [] if findings else [failure(f"{server.setting}: facts cannot be read ({state.reason})", _login(server))]
        return result("PostgreSQL", "", [*findings, *more])
    text = f"{state.version} at {server.address}, all migrations applied"
    return result("PostgreSQL", text, [*findings, _missing(state), _time_zone(server, state), _connections(subject, evidence, state)])


def _login(server: Server) -> str:
    return f"the role {server.role} of {server.setting} must be able to read the tables: `manage.py migrate` grants it"


def _missing(state: DatabaseState) -> Problem | None:
    if not state.missing:
        return None
    count, last = len(state.missing), state.missing[-1]
    word = f"migration {last} is" if count == 1 else f"{count} migrations up to {last} are"
    return failure(f"{word} not applied", "run `manage.py migrate` with the DATABASE_URL of the owner")


def _time_zone(server: Server, state: DatabaseState) -> Problem | None:
    if state.time_zone in _UTC:
        return None
    return warning(f"`timezone` is {state.time_zone}: it must be UTC", f"ALTER DATABASE {sql_name(server.database)} SET timezone TO 'UTC';")


def _connections(subject: Subject, evidence: Evidence, state: DatabaseState) -> Problem | None:
    known = 0 if isinstance(evidence.processes, Missing) else len(evidence.processes.expected())
    needed = subject.settings.connections_needed(known)
    if state.max_connections >= needed:
        return None
    text = f"`max_connections` is {state.max_connections}: the pools of all processes and 10 more need {needed}"
    return warning(text, f"ALTER SYSTEM SET max_connections = {needed}; then restart PostgreSQL, or lower DB_POOL_MAX")


def pooler(subject: Subject, evidence: Evidence) -> Result:
    """Whether a session keeps its settings, and accepts those of our processes."""
    name, shared, refusal = "connection pooler", evidence.shares_sessions, evidence.refusal
    if isinstance(shared, Missing):
        return result(name, "", [unknown(f"cannot be checked: {shared.reason}", NEEDS_DATABASE)])
    setting = subject.database_place
    problems: list[Problem] = []
    if shared:
        text = f"{setting} leads to a pooler in transaction mode: a session does not keep its settings, locks and temporary tables"
        problems.append(failure(text, f"set {setting} to {_POOLER}"))
    if isinstance(refusal, str):
        text = f"the pooler refuses the connections of our processes ({refusal})"
        problems.append(failure(text, f"ignore_startup_parameters = options in pgbouncer.ini, or set {setting} to a direct address"))
    return result(name, "a session keeps its settings", problems)
