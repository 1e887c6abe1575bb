"""The CPU time of unrelated programs during a measurement; the report marks disturbed figures."""

from __future__ import annotations

import contextlib
import time

import psutil


class Bystanders:
    """A count of CPU time that starts with the construction."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _all() - _ours()

    def percent(self) -> float:
        """Return the average in percent of one CPU, including time stolen by the hypervisor."""
        return max(0.0, (_all() - _ours() - self._others) / (time.monotonic() - self._began) * 100)


def _all() -> float:
    """Return the seconds in which the CPUs were busy or stolen, summed over all CPUs."""
    now = psutil.cpu_times()
    return float(now.user + now.nice + now.system + now.irq + now.softirq + now.steal)


def _ours() -> float:
    """Return the CPU seconds of this process and its descendants."""
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            total += used.user + used.system
    return total
