"""Faults between the simulated exchange and the books: pure, seeded, equal in every run.

Each fault of a scenario changes the messages that it receives, and passes them to the next one in
the order of the file. `slow_database`, `slow_bus` and `slow_client` only give figures here: the
process applies them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from db.scenarios.model import Fault
from jobs.feeds.scenario.messages import Played, shifted
from jobs.feeds.scenario.triggers import Effects, SpanTrigger, Trigger

# Message in -> messages out, in order.
_Step = Callable[[Played], Sequence[Played]]
_DIFF_ONLY = ("drop", "duplicate", "corrupt", "clock_skew")


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused snapshot request: status 429, with Retry-After in seconds."""

    retry_after: int


@dataclass(frozen=True, slots=True)
class Late:
    """A snapshot that is `seconds` old."""

    seconds: float


class Faults:
    """All faults of one run.

    `effects` counts the actions of each kind. A fault acts on the messages that are due in its
    time; `every` counts diffs, snapshot requests, or statements, depending on the kind.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self.effects = Effects({})
        self._random = random.Random(f"{seed}/faults")  # noqa: S311 - a simulation, not a secret
        self._steps = [step for fault in faults if (step := self._step(fault)) is not None]
        self._jumps = [(fault, Trigger(fault)) for fault in faults if fault.kind == "id_jump"]
        self._answers = [
            (fault, Trigger(fault, has_age=fault.kind == "snapshot_late")) for fault in faults if fault.kind.startswith("snapshot_")
        ]
        self._slow = [(fault, Trigger(fault)) for fault in faults if fault.kind in ("slow_database", "slow_bus")]
        self._stalled = [(fault, SpanTrigger(fault)) for fault in faults if fault.kind == "slow_client"]
        self._stalled_by_messages = [span for fault, span in self._stalled if fault.every is not None]
        self._stalling: set[int] = set()  # numbers in `_stalled` whose span was noted

    def passed(self, message: Played) -> Sequence[Played]:
        """The messages that arrive instead of this one, possibly none."""
        for span in self._stalled_by_messages if message.counts else ():
            span.count_message(message.due)
        messages: Sequence[Played] = (message,)
        for step in self._steps:
            messages = [out for each in messages for out in step(each)]
        return messages

    def jump(self, due: float) -> int:
        """The number of ids that the exchange leaves out before the diff that is due now."""
        ids = 0
        for fault, trigger in self._jumps:
            if trigger.hits(due):
                self.effects.note(fault.kind, due, due)
                ids += int(fault.amount)
        return ids

    def snapshot(self, now: float) -> Refused | Late | None:
        """The fault of a snapshot request at `now`; None: it is answered."""
        found: Refused | Late | None = None
        for fault, trigger in self._answers:
            if not trigger.hits(now):
                continue
            self.effects.note(fault.kind, now, trigger.end(now))
            if fault.kind == "snapshot_refused":
                found = Refused(max(int(fault.amount), ceil(trigger.end(now) - now)))
            elif found is None:
                found = Late(fault.seconds or 0.0)
        return found

    def slow_ms(self, kind: str, now: float) -> float:
        """Additional milliseconds of a statement (`slow_database`) or a publish (`slow_bus`)."""
        total = 0.0
        for fault, trigger in self._slow:
            if fault.kind == kind and trigger.hits(now):
                self.effects.note(kind, now, trigger.end(now))
                total += fault.amount
        return total

    def slow_clients(self, now: float) -> int:
        """Number of own clients that must not read now."""
        total = 0
        for number, (fault, span) in enumerate(self._stalled):
            if not span.within(now):
                self._stalling.discard(number)
                continue
            if number not in self._stalling:
                self._stalling.add(number)
                self.effects.note(fault.kind, now, span.end())
            total += int(fault.amount)
        return total

    def _step(self, fault: Fault) -> _Step | None:
        if fault.kind in _DIFF_ONLY:
            return _Changed(fault, self.effects, self._change(fault)).passed
        makers: Mapping[str, Callable[[Fault, Effects], _Reordered | _Disconnected | _Silent]] = {
            "reorder": _Reordered,
            "disconnect": _Disconnected,
            "silence": _Silent,
        }
        return makers[fault.kind](fault, self.effects).passed if fault.kind in makers else None

    def _change(self, fault: Fault) -> _Step:
        changes: dict[str, _Step] = {
            "drop": lambda message: (),
            "duplicate": lambda message: (message, message),
            "corrupt": self._cut,
            "clock_skew": lambda message: (message.with_text(shifted(message.text, int(fault.amount))),),
        }
        return changes[fault.kind]

    def _cut(self, message: Played) -> Sequence[Played]:
        text = message.text
        return (message.with_text(text[: self._random.randrange(1, len(text))]),)


class _Changed:
    """Each diff at which the fault acts is replaced."""

    def __init__(self, fault: Fault, effects: Effects, change: _Step) -> None:
        self._kind = fault.kind
        self._trigger = Trigger(fault)
        self._effects = effects
        self._change = change

    def passed(self, message: Played) -> Sequence[Played]:
        if not message.counts or not self._trigger.hits(message.due):
            return (message,)
        self._effects.note(self._kind, message.due, self._trigger.end(message.due))
        return self._change(message)


class _Reordered:
    """Each diff at which the fault acts arrives behind the next diff of its instrument."""

    def __init__(self, fault: Fault, effects: Effects) -> None:
        self._trigger = Trigger(fault)
        self._effects = effects
        self._held: dict[str, Played] = {}  # instrument -> the diff that waits

    def passed(self, message: Played) -> Sequence[Played]:
        if not message.counts:
            return (message,)
        if (held := self._held.pop(message.instrument, None)) is not None:
            self._trigger.pass_over()
            return message, replace(held, due=message.due)
        if not self._trigger.hits(message.due):
            return (message,)
        self._effects.note("reorder", message.due, message.due)
        self._held[message.instrument] = message
        return ()


class _Disconnected:
    """The messages of a span are lost. Its begin and its end are messages of their own."""

    def __init__(self, fault: Fault, effects: Effects) -> None:
        self._span = SpanTrigger(fault)
        self._effects = effects
        self._lost: dict[str, Played] = {}  # instrument -> last message before its connection ended

    def passed(self, message: Played) -> Sequence[Played]:
        out = []
        if message.counts:
            self._span.count_message(message.due)
        if self._span.within(message.due):
            if not self._lost:
                self._effects.note("disconnect", message.due, self._span.end())
            if message.instrument not in self._lost:
                self._lost[message.instrument] = message
                out.append(Played(message.due, "disconnected", message.instrument))
            return out if message.kind in ("diff", "ticker") else [*out, message]
        if self._lost.pop(message.instrument, None) is not None:
            out.append(Played(message.due, "connected", message.instrument))
        return [*out, message]


class _Silent:
    """The messages of a span arrive together at its end, as on a connection that stalls."""

    def __init__(self, fault: Fault, effects: Effects) -> None:
        self._span = SpanTrigger(fault)
        self._effects = effects
        self._held: list[Played] = []

    def passed(self, message: Played) -> Sequence[Played]:
        if message.counts:
            self._span.count_message(message.due)
        if self._span.within(message.due):
            if not self._held:
                self._effects.note("silence", message.due, self._span.end())
            self._held.append(message)
            return ()
        end, held, self._held = self._span.end(), self._held, []
        return [*(replace(each, due=end) for each in held), message]
