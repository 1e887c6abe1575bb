"""All checks of `manage.py doctor`: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from config.settings import SettingsError
from ops.doctor.evidence import Evidence, gather
from ops.doctor.parts import backup, bus, certificate, database, machine, rest, settings, system, timescale
from ops.doctor.results import Result, result, unknown
from ops.doctor.subject import Subject

Judge: TypeAlias = Callable[[Subject, Evidence], Result]

# name -> check, in the order of the output
CHECKS: dict[str, Judge] = {
    "settings": settings.judge,
    "ports": machine.ports,
    "PostgreSQL": database.postgres,
    "connection pooler": database.pooler,
    "read replica": database.replica,
    "TimescaleDB": lambda _, evidence: timescale.judge(evidence.database),
    "Redis": bus.redis,
    "bus": bus.bus,
    "clocks": bus.clocks,
    "limits": machine.limits,
    "disk": machine.disk,
    "processes": system.processes,
    "hubs": system.hubs,
    "REST": lambda subject, evidence: rest.judge(subject.rest_url, evidence.rest),
    "certificate": lambda subject, evidence: certificate.judge(subject.settings.hub_public_url, evidence.certificate, subject.now()),
    "embedded PostgreSQL": machine.embedded_postgres,
}


def examine(subject: Subject) -> list[Result]:
    """Return the result of each check. It reads only, and ends within 15 s if nothing answers."""
    evidence = gather(subject)
    found = [check(subject, evidence) for check in CHECKS.values()]
    return [*found, backup.judge(subject.backup, subject.now())] if subject.backup else found


def without_settings(error: SettingsError) -> list[Result]:
    """Return the results if the settings are invalid: no other check can be made."""
    problem = unknown("not checked, because the settings are invalid", "correct the settings first")
    return [settings.invalid(error.problems), *(result(name, "", [problem]) for name in CHECKS if name != "settings")]
