"""Everything that the checks need from other processes and servers, read at once and in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from db import diagnosis, poolers
from db.bounded import bounded
from db.bus import Bus, Parked, Pending, RedisFacts
from db.bus.processes.checks import pubsub_limit
from db.diagnosis import DatabaseState
from db.replicas import ReplicaFacts, read_replicas
from db.rights import READER, WRITER
from db.timestamps import utc_now
from db.topics import REPORTS, STREAMS
from health.reports import ProcessTable, read_processes
from ops import status
from ops.checks import ATTEMPT_SECONDS, WHOLE_SECONDS, judge_bus, judge_database
from ops.doctor.parallel import Answer, Missing, read_all
from ops.doctor.parts import certificate
from ops.doctor.parts.rest import RestAnswer, read_rest
from ops.doctor.subject import Subject
from ops.embedded.redis import settings_in_file
from ops.servers import DOCTOR, EMBEDDED_BUS, Finding, Server

_SPARE_SECONDS = 1.0  # beyond the limit of a check, in which its cause becomes known
_GRACE_DAYS = 1  # until the retention job has dropped a partition
_LIMITS = {"attempt_seconds": ATTEMPT_SECONDS, "seconds": WHOLE_SECONDS}
NOT_STARTED = Missing("the server does not run")


@dataclass(frozen=True, slots=True)
class BusState:
    """Facts about the bus. `unstored` has the number of messages by channel."""

    ahead_seconds: float  # of the clock of Redis
    unstored: Mapping[str, int]
    pending: Mapping[str, Pending]
    parked: Parked


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts, each as it was read or with the reason why it was not."""

    database_findings: Answer[list[Finding]]
    database: Answer[DatabaseState]
    shares_sessions: Answer[bool]
    refusal: Answer[str | None]
    pooled_shares: Answer[bool]
    pooled_refusal: Answer[str | None]
    replicas: Answer[list[ReplicaFacts | str]]
    bus_findings: Answer[list[Finding]]
    bus: Answer[BusState]
    processes: Answer[ProcessTable]
    hubs: Mapping[str, bool]
    rest: Answer[list[RestAnswer]]
    certificate: Answer[datetime | None]


def gather(subject: Subject) -> Evidence:
    """Read everything: the servers, REST and the certificate at once, then the hubs."""
    tasks: dict[str, Callable[[], Any]] = {
        "rest": partial(read_rest, subject.rest_url, subject.key, ATTEMPT_SECONDS),
        "certificate": partial(certificate.expiry, subject.settings.hub_public_url, ATTEMPT_SECONDS),
        **(_database_tasks(subject, subject.database) if subject.database else {}),
        **(_pooled_tasks(subject, subject.pooled) if subject.pooled else {}),
        **(_bus_tasks(subject, subject.bus) if subject.bus else {}),
    }
    found = read_all(tasks, WHOLE_SECONDS + _SPARE_SECONDS)
    parts = {name: found.get(name, NOT_STARTED) for name in Evidence.__slots__ if name != "hubs"}
    return Evidence(**parts, hubs=_hubs(parts["processes"]))


def _database_tasks(subject: Subject, server: Server) -> dict[str, Callable[[], Any]]:
    # The checks of a process, if the URL has the role of one.
    service = {READER: "hub", WRITER: "jobs"}.get(server.role, DOCTOR)
    tasks: dict[str, Callable[[], Any]] = {
        "database_findings": partial(judge_database, service, server, probes=False),
        "database": partial(_database_state, subject, server.url),
        "shares_sessions": partial(poolers.shares_sessions, server.url, **_LIMITS),
        "refusal": partial(_refusal, subject, server, "jobs"),
    }
    if url := subject.settings.database_read_url:
        tasks["replicas"] = partial(read_replicas, url, **_LIMITS)
    return tasks


def _pooled_tasks(subject: Subject, server: Server) -> dict[str, Callable[[], Any]]:
    return {
        "pooled_shares": partial(poolers.shares_sessions, server.url, **_LIMITS),
        "pooled_refusal": partial(_refusal, subject, server, "rest"),
    }


def _refusal(subject: Subject, server: Server, service: str) -> str | None:
    """Return the refusal of the sessions of `service`, if they send their settings at the start."""
    if subject.settings.pooler_of(service) != "none":
        return None
    return poolers.refusal(server.url, timeout_ms=subject.settings.db_timeout_ms, **_LIMITS)


def _database_state(subject: Subject, url: str) -> DatabaseState:
    with bounded(url, attempt_seconds=ATTEMPT_SECONDS, seconds=WHOLE_SECONDS) as cursor:
        return diagnosis.read_state(cursor, subject.now, _oldest_days(subject))


def _oldest_days(subject: Subject) -> dict[str, date]:
    today = datetime.fromtimestamp(subject.now(), UTC).date()
    return {table: today - timedelta(days=kept + _GRACE_DAYS) for table, kept in subject.days.items() if kept}


def _bus_tasks(subject: Subject, server: Server) -> dict[str, Callable[[], Any]]:
    return {
        "bus_findings": partial(judge_bus, DOCTOR, server, complete=partial(_complete, subject)),
        "bus": partial(_bus_state, subject, server),
        "processes": partial(_processes, subject, server),
    }


def _complete(subject: Subject, facts: RedisFacts) -> RedisFacts:
    """Add the settings of the embedded Redis, which refuses `CONFIG`, from its file."""
    if subject.bus_place != EMBEDDED_BUS:
        return facts
    lines = settings_in_file(subject.settings.hub_data_dir)
    return replace(
        facts,
        append_sync=facts.append_sync or lines.get("appendfsync"),
        pubsub_limit_bytes=pubsub_limit(lines.get("client-output-buffer-limit", "")),
    )


def _bus_state(subject: Subject, server: Server) -> BusState:
    with closing(Bus(server.url, utc_now, setup=server.setup, timeout=ATTEMPT_SECONDS)) as bus:
        return BusState(
            ahead_seconds=diagnosis.best_offset(bus.server_time, subject.now),
            unstored={row.name: bus.unstored(row.name) for row in STREAMS.values() if row.stored} | {REPORTS: bus.unprocessed_reports()},
            pending=bus.pending(),
            parked=bus.parked(),
        )


def _processes(subject: Subject, server: Server) -> ProcessTable:
    with closing(Bus(server.url, utc_now, setup=server.setup, timeout=ATTEMPT_SECONDS)) as bus:
        return read_processes(bus, datetime.fromtimestamp(subject.now(), UTC))


def _hubs(table: Answer[ProcessTable]) -> Mapping[str, bool]:
    """Address of a living hub of the registry -> it answers."""
    if isinstance(table, Missing):
        return {}
    reports = [process.report for process in table.expected() if process.role == "hub" and process.report]
    return status.hub_answers([str(url) for report in reports if (url := report.part("hub").get("url"))], ATTEMPT_SECONDS)
