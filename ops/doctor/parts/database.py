"""Checks of PostgreSQL, of a connection pooler in front of it, and of its replicas."""

from __future__ import annotations

from collections.abc import Iterator

from db.diagnosis import DatabaseState
from db.replicas import ReplicaFacts
from ops.doctor.evidence import Evidence
from ops.doctor.parallel import Missing
from ops.doctor.parts.findings import not_started, problems_of
from ops.doctor.results import Problem, Result, failure, result, unknown, warning
from ops.doctor.subject import NEEDS_DATABASE, Subject
from ops.servers import Server, sql_name

_UTC = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")
_POOLER = "a direct address or a pooler in session mode for jobs, books, observer and migrate"
_STREAMING_DELAY_MS = 30_000


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
    """Whether sessions keep their settings, and accept those of our processes."""
    name = "connection pooler"
    if isinstance(evidence.shares_sessions, Missing):
        return result(name, "", [unknown(f"cannot be checked: {evidence.shares_sessions.reason}", NEEDS_DATABASE)])
    setting = subject.database_place
    problems: list[Problem] = []
    if evidence.shares_sessions:
        text = f"{setting} leads to a pooler in transaction mode: a session does not keep its settings, locks and temporary tables"
        problems.append(failure(text, f"set DATABASE_DIRECT_URL to {_POOLER}"))
    if isinstance(evidence.refusal, str):
        problems.append(_refused(setting, evidence.refusal))
    if subject.pooled:
        problems += _of_clients(subject, subject.pooled.setting, evidence)
    mode = f"; the hub and REST use one in {subject.settings.database_pooler} mode" if subject.pooled else ""
    return result(name, f"a session keeps its settings{mode}", problems)


def _of_clients(subject: Subject, setting: str, evidence: Evidence) -> Iterator[Problem]:
    """Yield the problems of the database of the hub and REST."""
    if isinstance(evidence.pooled_shares, Missing):
        yield failure(
            f"{setting}: {evidence.pooled_shares.reason}", f"set {setting} to an address at which the hub and REST reach PostgreSQL"
        )
        return
    if evidence.pooled_shares and subject.settings.database_pooler != "transaction":
        yield failure(f"{setting} leads to a pooler in transaction mode", "DATABASE_POOLER=transaction")
    if isinstance(evidence.pooled_refusal, str):
        yield _refused(setting, evidence.pooled_refusal)


def _refused(setting: str, refusal: str) -> Problem:
    text = f"the pooler refuses the connections of our processes ({refusal})"
    return failure(text, f"set DATABASE_POOLER to its mode, session or transaction, or {setting} to a direct address")


def replica(subject: Subject, evidence: Evidence) -> Result:
    """Whether each read replica answers, follows and keeps the queries of REST."""
    name, found = "read replica", evidence.replicas
    if not subject.settings.database_read_url:
        return result(name, "not used: DATABASE_READ_URL is not set")
    if isinstance(found, Missing):
        return result(name, "", [unknown(f"cannot be checked: {found.reason}", NEEDS_DATABASE)])
    problems = [each for facts in found for each in _of_replica(facts, subject.settings.read_max_lag_seconds)]
    return result(name, ", ".join(each.address for each in found if not isinstance(each, str)) + ": close behind", problems)


def _of_replica(facts: ReplicaFacts | str, max_lag: float) -> Iterator[Problem]:
    if isinstance(facts, str):
        yield failure(f"DATABASE_READ_URL: {facts}", "start the replica, or take its host out of DATABASE_READ_URL")
        return
    if not facts.standby:
        yield warning(f"{facts.address} is no replica", "name replicas in DATABASE_READ_URL, or unset it")
        return
    if facts.lag_seconds is None or facts.lag_seconds > max_lag:
        behind = "unknown" if facts.lag_seconds is None else f"{facts.lag_seconds:.1f} s"
        yield warning(f"the lag of {facts.address} is {behind}: REST reads from the primary", "see pg_stat_wal_receiver of the replica")
    if not facts.feedback:
        text = f"`hot_standby_feedback` of {facts.address} is off: it cancels more reads"
        yield warning(text, "ALTER SYSTEM SET hot_standby_feedback = on;")
    if 0 <= facts.delay_ms < _STREAMING_DELAY_MS:
        text = f"`max_standby_streaming_delay` of {facts.address} is {facts.delay_ms} ms: 30 s are needed"
        yield warning(text, "ALTER SYSTEM SET max_standby_streaming_delay = '30s';")
