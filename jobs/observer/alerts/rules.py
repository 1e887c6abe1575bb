"""The alert rules: which values they judge, their thresholds and their messages. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from config.observability.fields import AlertLimits
from db.alerts import CRITICAL, WARNING
from jobs.observer.alerts.machine import CALM, Level
from jobs.observer.alerts.values import Values

RELEASE = Decimal("0.9")  # an alert is resolved below this fraction of its threshold
DOWN_SECONDS = Decimal(5)  # without a report of an expected process
LEAST_ORDERS = 20  # terminal orders from which on a reject rate is judged

Limits = Mapping[str, Decimal]  # severity -> threshold
_SOURCE_LEVELS = {"stale": Level(above=WARNING, below=CRITICAL), "down": Level(above=CRITICAL)}
_TRYING_STATES = ("connecting", "backing_off")  # neither an alert nor the end of one


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of one subject, judged by its rule.

    `value` and `limits` are None and empty if the rule judges a state. `texts` has the message of
    an alert per severity.
    """

    rule: str
    type: str
    subject: str
    level: Level | None
    value: float | None
    limits: Limits
    texts: Mapping[str, str]

    @property
    def key(self) -> str:
        """TYPE:SUBJECT."""
        return f"{self.type}:{self.subject}"

    @property
    def exceeded(self) -> frozenset[str]:
        """The severities whose threshold the value exceeds."""
        value = self.value
        return frozenset(severity for severity, limit in self.limits.items() if value is not None and value > float(limit))


@dataclass(frozen=True, slots=True)
class ValueRule:
    """A rule about numbers: `read` returns subject -> value, None if the reading failed.

    `subject` is the subject, or the start of it with a colon. `limits` are the fixed ones; else the
    setting of the rule has them. `text(subject, value, threshold)` is the message.
    """

    name: str
    type: str
    subject: str
    read: Callable[[Values], Mapping[str, float] | None]
    text: Callable[[str, float, float], str]
    limits: Limits | None = None

    def readings(self, values: Values, limits: Mapping[str, AlertLimits]) -> list[Reading] | None:
        """Judge the values; None if their reading failed."""
        if (found := self.read(values)) is None:
            return None
        return [self._reading(subject, value, self.limits or _by_severity(limits[self.name])) for subject, value in found.items()]

    def _reading(self, subject: str, value: float, limits: Limits) -> Reading:
        texts = {severity: self.text(subject, value, float(limit)) for severity, limit in limits.items()}
        return Reading(self.name, self.type, subject, level_of(value, limits), value, limits, texts)


@dataclass(frozen=True, slots=True)
class StateRule:
    """A rule about states: `read` returns subject -> its level and the message of its alert."""

    name: str
    type: str
    subject: str
    read: Callable[[Values], Mapping[str, tuple[Level | None, str]] | None]

    def readings(self, values: Values, _limits: Mapping[str, AlertLimits]) -> list[Reading] | None:
        """Judge the states; None if their reading failed."""
        if (found := self.read(values)) is None:
            return None
        return [
            Reading(self.name, self.type, subject, level, None, {}, dict.fromkeys((WARNING, CRITICAL), text))
            for subject, (level, text) in found.items()
        ]


def level_of(value: float, limits: Limits) -> Level | None:
    """The level of a value; None if it is not finite."""
    if not math.isfinite(value):
        return None
    above = [severity for severity, limit in limits.items() if value > float(limit)]
    below = [severity for severity, limit in limits.items() if value < float(RELEASE * limit)]
    # Without a threshold for warnings, the one for critical alerts is the lowest.
    lowest = WARNING if len(below) == len(limits) else CRITICAL
    return Level(above[-1] if above else None, lowest if below else None)


def judge(values: Values, limits: Mapping[str, AlertLimits], known: Iterable[tuple[str, str]]) -> list[Reading]:
    """The readings of all rules. `known` are (type, subject) of open alerts and of values before.

    A known subject that no rule reads any more is calm, for example a source that was removed from
    the settings. If the reading of its rule failed, it has no level.
    """
    found: dict[tuple[str, str], Reading] = {}
    failed: list[ValueRule | StateRule] = []
    for rule in RULES:
        readings = rule.readings(values, limits)
        if readings is None:
            failed.append(rule)
        else:
            found.update({(each.type, each.subject): each for each in readings})
    for kind, subject in known:
        if (kind, subject) not in found:
            level = None if any(_covers(rule, kind, subject) for rule in failed) else CALM
            found[(kind, subject)] = Reading("", kind, subject, level, None, {}, {})
    return list(found.values())


def _covers(rule: ValueRule | StateRule, kind: str, subject: str) -> bool:
    return rule.type == kind and (subject.startswith(rule.subject) if rule.subject.endswith(":") else subject == rule.subject)


def _by_severity(limits: AlertLimits) -> Limits:
    return {WARNING: limits.warning, CRITICAL: limits.critical}


def _one(subject: str, read: Callable[[Values], float | None]) -> Callable[[Values], Mapping[str, float] | None]:
    def found(values: Values) -> Mapping[str, float] | None:
        value = read(values)
        return None if value is None else {subject: value}

    return found


def _usage(name: str) -> Callable[[str, float, float], str]:
    return lambda _, value, threshold: f"{name} usage {value:.1f} % is above {threshold:.12g} %."


def _answers(subject: str, name: str, read: Callable[[Values], bool | None]) -> StateRule:
    def found(values: Values) -> Mapping[str, tuple[Level | None, str]] | None:
        answers = read(values)
        return None if answers is None else {subject: (CALM if answers else Level(above=CRITICAL), f"{name} is unreachable.")}

    return StateRule(f"{subject}_down", "system", subject, found)


def _processes(values: Values) -> Mapping[str, float] | None:
    if values.processes is None:
        return None
    return {"process:" + name.replace("\0", ""): age for name, age in values.processes.items()}


def _sources(values: Values) -> Mapping[str, tuple[Level | None, str]] | None:
    if values.sources is None:
        return None
    return {f"source:{name}": (_source_level(state), f"Source {name} is {state}.") for name, state in values.sources.items()}


def _source_level(state: str) -> Level:
    return Level() if state in _TRYING_STATES else _SOURCE_LEVELS.get(state, CALM)


def _silent(values: Values) -> Mapping[str, float] | None:
    if values.silent is None:
        return None
    return {f"strategy:{bot}/{strategy}": age for (bot, strategy), age in values.silent.items()}


def _reject_rate(values: Values) -> float | None:
    if values.orders is None:
        return None
    rejected, terminal = values.orders
    return rejected / terminal if terminal >= LEAST_ORDERS else 0.0


def _name(subject: str) -> str:
    return subject.partition(":")[2]


RULES: tuple[ValueRule | StateRule, ...] = (
    ValueRule("cpu", "system", "cpu", _one("cpu", lambda values: values.cpu), _usage("CPU")),
    ValueRule("memory", "system", "memory", _one("memory", lambda values: values.memory), _usage("Memory")),
    ValueRule("disk", "system", "disk", _one("disk", lambda values: values.disk), _usage("Disk")),
    ValueRule(
        "process_down", "system", "process:", _processes,
        lambda subject, value, _: f"Process {_name(subject)} has sent no report for {value:.0f} s.", {CRITICAL: DOWN_SECONDS},
    ),
    _answers("redis", "Redis", lambda values: values.redis_answers),
    _answers("database", "PostgreSQL", lambda values: values.database_answers),
    ValueRule(
        "writer_lag", "system", "writer_lag", _one("writer_lag", lambda values: values.unstored),
        lambda _, value, threshold: f"{value:.0f} prices and trades wait for the store, above {threshold:.12g}.",
    ),
    ValueRule(
        "observer_lag", "system", "observer_lag", _one("observer_lag", lambda values: values.unprocessed),
        lambda _, value, threshold: f"{value:.0f} reports wait for the observer, above {threshold:.12g}.",
    ),
    StateRule("source", "system", "source:", _sources),
    ValueRule(
        "strategy_silent", "strategy", "strategy:", _silent,
        lambda subject, value, threshold: f"Strategy {_name(subject)} has an open position or order"
        f" and has sent no report for {value:.0f} s, above {threshold:.12g} s.",
    ),
    ValueRule(
        "reject_rate", "execution", "reject_rate", _one("reject_rate", _reject_rate),
        lambda _, value, threshold: f"{100 * value:.1f} % of the orders of 15 minutes were rejected, above {100 * threshold:.6g} %.",
    ),
)  # fmt: skip
