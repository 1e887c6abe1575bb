"""Checks of Redis, of the queues on it, and of the clocks of all servers."""

from __future__ import annotations

from ops.doctor.evidence import BusState, Evidence
from ops.doctor.parallel import Missing
from ops.doctor.parts.findings import not_started, problems_of
from ops.doctor.results import Problem, Result, failure, result, unknown, warning
from ops.doctor.subject import NEEDS_BUS, Subject

_FULL, _FILLING = 0.8, 0.2  # shares of STREAM_MAX_LENGTH
_OLD_SECONDS = 60.0  # of a pending entry
_FAR_SECONDS, _NEAR_SECONDS = 5.0, 0.5  # between two clocks


def redis(subject: Subject, evidence: Evidence) -> Result:
    """The findings of a start, and settings that matter later."""
    if subject.bus is None:
        return result("Redis", "", [not_started(subject.bus_place, "REDIS_URL")])
    found = problems_of(subject.bus, evidence.bus_findings, subject)
    return result("Redis", f"at {subject.bus.address}, keeps accepted messages", found)


def bus(subject: Subject, evidence: Evidence) -> Result:
    """Messages that wait for the store, and entries that were left."""
    state = evidence.bus
    if isinstance(state, Missing):
        return result("bus", "", [unknown(f"cannot be checked: {state.reason}", NEEDS_BUS)])
    waiting = sum(state.unstored.values())
    return result("bus", f"{waiting:,} messages wait for the store", [*_unstored(subject, state), *_pending(state), _parked(state)])


def _unstored(subject: Subject, state: BusState) -> list[Problem]:
    found, limit = [], subject.settings.stream_max_length
    for channel, count in state.unstored.items():
        share = count / limit
        if share > _FILLING:
            text = f"{count:,} of {limit:,} messages of `{channel}` wait for the store ({share:.0%})"
            kind = failure if share > _FULL else warning
            remedy = "the checks PostgreSQL and processes have the cause; STREAM_MAX_LENGTH gives more time before sources wait"
            found.append(kind(text, remedy))
    return found


def _pending(state: BusState) -> list[Problem]:
    return [
        warning(
            f"{pending.count:,} entries of `{name}` were read and not acknowledged, the oldest is {pending.oldest_seconds:.0f} s old",
            "restart the process that stores them (jobs; `reports`: observer): it reads them again. `manage.py status` shows it",
        )
        for name, pending in state.pending.items()
        if pending.oldest_seconds > _OLD_SECONDS
    ]


def _parked(state: BusState) -> Problem | None:
    if not state.parked.total:
        return None
    text = f"{state.parked.total:,} entries could not be stored and are parked, the last one at {state.parked.last}"
    remedy = "XRANGE tickwire:dead:CHANNEL - + shows them with the reason; DEL tickwire:parked ends this warning"
    return warning(text, remedy)


def clocks(subject: Subject, evidence: Evidence) -> Result:
    """The largest difference between the clocks of PostgreSQL, Redis and this machine."""
    ahead = {"this machine": 0.0}
    ahead |= {} if isinstance(evidence.database, Missing) else {"PostgreSQL": evidence.database.ahead_seconds}
    ahead |= {} if isinstance(evidence.bus, Missing) else {"Redis": evidence.bus.ahead_seconds}
    if len(ahead) == 1:
        return result(
            "clocks",
            "",
            [
                unknown(
                    "cannot be compared without PostgreSQL and Redis",
                    "start both with `manage.py up`, or set DATABASE_URL and REDIS_URL to servers that answer",
                )
            ],
        )
    first, last = max(ahead, key=ahead.__getitem__), min(ahead, key=ahead.__getitem__)
    seconds = ahead[first] - ahead[last]
    problems = []
    if seconds > _NEAR_SECONDS:
        kind = failure if seconds > _FAR_SECONDS else warning
        text = f"the clock of {first} is {seconds:.1f} s ahead of that of {last}"
        problems.append(kind(text, "synchronise all machines by NTP: `timedatectl set-ntp true`"))
    return result("clocks", f"{', '.join(ahead)} differ by {seconds * 1000:.0f} ms at most", problems)
