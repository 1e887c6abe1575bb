"""Findings of the checks at a start as problems: each gets a remedy."""

from __future__ import annotations

from ops.doctor.parallel import Answer, Missing
from ops.doctor.results import FAILURE, UNKNOWN, WARNING, Problem, failure
from ops.doctor.subject import START, Subject
from ops.servers import EMBEDDED_BUS, EMBEDDED_DATABASE, Finding, Kind, Server

_STATUSES = {Kind.UNFIT: FAILURE, Kind.UNREACHED: FAILURE, Kind.LOSS: FAILURE, Kind.WARNING: WARNING, Kind.UNKNOWN: UNKNOWN}


def not_started(place: str, setting: str) -> Problem:
    """Return the problem of an embedded server that does not run."""
    return failure(f"{place} does not run", f"{START}; or set {setting} to a server of your own")


def problems_of(server: Server, found: Answer[list[Finding]], subject: Subject) -> list[Problem]:
    """Return a problem for each finding about the server."""
    if isinstance(found, Missing):
        return [failure(f"{server.setting}: {found.reason}", _unreached(server, subject))]
    return [Problem(_STATUSES[each.kind], each.text, "; ".join(each.remedy) or _remedy(server, each, subject)) for each in found]


def _remedy(server: Server, finding: Finding, subject: Subject) -> str:
    """The remedy of a finding without one of its own."""
    if finding.kind is Kind.UNREACHED:
        return _unreached(server, subject)
    if finding.kind is Kind.UNKNOWN:
        return f"compare the settings of the server of {server.setting} with docs/deployment.md"
    if server.setting in (EMBEDDED_DATABASE, EMBEDDED_BUS):
        return f"stop `manage.py up`, and start it again: it renews the access to {server.setting}"
    return f"set {server.setting} to the right user, password and server (docs/deployment.md)"


def _unreached(server: Server, subject: Subject) -> str:
    if server.setting == EMBEDDED_DATABASE:
        return f"{START}; {subject.settings.hub_data_dir / 'logs' / 'postgres.log'} has the cause"
    if server.setting == EMBEDDED_BUS:
        return f"{START}; {subject.settings.hub_data_dir / 'logs' / 'redis.log'} has the cause"
    return f"start the server at {server.address}, or set {server.setting} to another one"
