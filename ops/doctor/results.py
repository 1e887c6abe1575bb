"""Results of the checks: problems with their remedies, and the status of all. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

OK, UNKNOWN, WARNING, FAILURE = "ok", "unknown", "warning", "failure"
STATUSES = (OK, UNKNOWN, WARNING, FAILURE)  # the worst is the last
EXIT_CODES = {OK: 0, WARNING: 1, FAILURE: 2}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not ok. `remedy` names a setting or a command."""

    status: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check; `detail` describes the state if there is no problem."""

    name: str
    detail: str
    problems: tuple[Problem, ...] = ()

    @property
    def status(self) -> str:
        """The worst status of its problems."""
        return max((problem.status for problem in self.problems), key=STATUSES.index, default=OK)

    def as_json(self) -> dict[str, Any]:
        """Return the entry of `checks`; `remedy` is null if the check is ok."""
        details = "; ".join(problem.detail for problem in self.problems) or self.detail
        remedies = "; ".join(dict.fromkeys(problem.remedy for problem in self.problems))
        return {"name": self.name, "status": self.status, "detail": details, "remedy": remedies or None}


def failure(detail: str, remedy: str) -> Problem:
    """Return a problem because of which the system does not work, or may lose data."""
    return Problem(FAILURE, detail, remedy)


def warning(detail: str, remedy: str) -> Problem:
    """Return a problem that may become a failure."""
    return Problem(WARNING, detail, remedy)


def unknown(detail: str, remedy: str) -> Problem:
    """Return the reason for which a check could not be made."""
    return Problem(UNKNOWN, detail, remedy)


def result(name: str, detail: str, problems: Iterable[Problem | None] = ()) -> Result:
    """Return the result of a check, the worst of its problems first."""
    found = [problem for problem in problems if problem is not None]
    return Result(name, detail, tuple(sorted(found, key=lambda each: -STATUSES.index(each.status))))


def overall(results: Sequence[Result]) -> str:
    """`failure`, `warning` or `ok`: a check that could not be made does not count."""
    known = [each.status for each in results if each.status != UNKNOWN]
    return max(known, key=STATUSES.index, default=OK)
