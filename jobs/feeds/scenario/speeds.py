"""Speed of a scenario over time, its integral and its inverse in closed form. Pure.

In a phase of T seconds from speed v to speed w, the recorded position after t seconds is
v t + (w - v) t² / (2 T). Times are seconds since the start; positions are recorded seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import sqrt

from db.scenarios.model import Phase


class Speeds:
    """The phases of a scenario, played once or again and again.

    After the last phase of a scenario that does not repeat, the speed is 1.
    """

    def __init__(self, phases: Sequence[Phase], *, repeat: bool) -> None:
        self._phases = tuple(phases)
        self._repeat = repeat
        self._times = [0.0, *accumulate(each.seconds for each in phases)]
        self._positions = [0.0, *accumulate((each.first_speed + each.last_speed) / 2 * each.seconds for each in phases)]

    @property
    def seconds(self) -> float:
        """Duration of all phases, once."""
        return self._times[-1]

    @property
    def repeats(self) -> bool:
        return self._repeat

    def phase_at(self, time: float) -> int | None:
        """Number of the phase, from 0; None after the last one."""
        rest = self._in_cycle(time)
        return None if rest is None else self._index(self._times, rest)

    def speed_at(self, time: float) -> float:
        rest = self._in_cycle(time)
        if rest is None:
            return 1.0
        number = self._index(self._times, rest)
        phase = self._phases[number]
        return phase.first_speed + (phase.last_speed - phase.first_speed) * (rest - self._times[number]) / phase.seconds

    def position_at(self, time: float) -> float:
        rest = self._in_cycle(time)
        if rest is None:
            return self._positions[-1] + time - self._times[-1]
        number = self._index(self._times, rest)
        phase = self._phases[number]
        inside = rest - self._times[number]
        cycles = round((time - rest) / self._times[-1]) * self._positions[-1]
        slope = (phase.last_speed - phase.first_speed) / phase.seconds
        return cycles + self._positions[number] + phase.first_speed * inside + slope * inside * inside / 2

    def time_at(self, position: float) -> float:
        """The time at which the recorded position is reached: the inverse of `position_at`."""
        length = self._positions[-1]
        if position < length:
            return self._time_in_cycle(position)
        if not self._repeat:
            return self._times[-1] + position - length
        cycles, rest = divmod(position, length)
        return cycles * self._times[-1] + self._time_in_cycle(rest)

    def above(self, speed: float) -> list[tuple[float, float]]:
        """The times, within one cycle, from and to which the speed exceeds the given one."""
        spans: list[tuple[float, float]] = []
        for start, phase in zip(self._times, self._phases, strict=False):
            first, last = phase.first_speed, phase.last_speed
            if max(first, last) <= speed:
                continue
            crossing = start if first == last else start + phase.seconds * (speed - first) / (last - first)
            begin, end = (crossing if first <= speed else start), (crossing if last <= speed else start + phase.seconds)
            if spans and spans[-1][1] == begin:
                begin = spans.pop()[0]
            spans.append((begin, end))
        return spans

    def _in_cycle(self, time: float) -> float | None:
        """Seconds since the start of the present cycle; None after the last phase."""
        if self._repeat:
            return time % self._times[-1]
        return time if time < self._times[-1] else None

    def _index(self, starts: Sequence[float], value: float) -> int:
        return min(bisect_right(starts, value), len(self._phases)) - 1

    def _time_in_cycle(self, position: float) -> float:
        number = self._index(self._positions, position)
        phase = self._phases[number]
        rest = position - self._positions[number]
        slope = (phase.last_speed - phase.first_speed) / phase.seconds
        # The root of the quadratic in the form without cancellation.
        root = sqrt(max(0.0, phase.first_speed * phase.first_speed + 2 * slope * rest))
        return self._times[number] + 2 * rest / (phase.first_speed + root)
