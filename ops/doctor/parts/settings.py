"""The check of the settings, which need no running system."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from config.access.modes import OFF, is_loopback
from health.verdict import acting_reports
from ops.doctor.evidence import Evidence
from ops.doctor.parallel import Missing
from ops.doctor.results import Result, failure, result, warning
from ops.doctor.subject import Subject


def judge(subject: Subject, evidence: Evidence) -> Result:
    """Return the result for settings with which the other checks can be made."""
    chosen = subject.settings
    hosts = {"WEBSOCKET_HOST": chosen.websocket_host, "API_HOST": chosen.api_host}
    reached = [f"{name}={host}" for name, host in hosts.items() if not is_loopback(host)]
    problems = [] if _jobs_act(evidence) else list(invalid(subject.lacking).problems)
    if chosen.auth_mode == OFF and reached:
        problems.append(warning(f"AUTH=off on an open host ({', '.join(reached)})", "set AUTH=auto or AUTH=required"))
    if chosen.log_file is not None and not _writable(chosen.log_file):
        problems.append(failure(f"LOG_FILE {chosen.log_file} cannot be written", "set LOG_FILE to a file of this user"))
    return result("settings", "valid", problems)


def invalid(problems: Mapping[str, str]) -> Result:
    """Return the result for settings that are invalid: variable -> problem."""
    found = [
        failure(f"{name}: {text}", f"set {name} in the environment or in .env; .env.example describes it")
        for name, text in problems.items()
    ]
    return result("settings", "", found)


def _jobs_act(evidence: Evidence) -> bool:
    """Return True if jobs act: their machine has the settings that they need."""
    table = evidence.processes
    return not isinstance(table, Missing) and any(report.role == "jobs" for report in acting_reports(table.expected()))


def _writable(file: Path) -> bool:
    return os.access(file if file.exists() else file.resolve().parent, os.W_OK)
