"""How much CPU programs that are none of ours used meanwhile: figures taken beside them are worth less, and the report says so."""

from __future__ import annotations

import contextlib
import time

import psutil


class Bystanders:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = _all() - _ours()

    def percent(self) -> float:
        """Of one CPU, on average; what the machine under a virtual machine took away included."""
        return max(0.0, (_all() - _ours() - self._others) / (time.monotonic() - self._began) * 100)


def _all() -> float:
    """Seconds all CPUs have been busy, or taken away."""
    now = psutil.cpu_times()
    return float(now.user + now.nice + now.system + now.irq + now.softirq + now.steal)


def _ours() -> float:
    """Seconds this process and all below it have used."""
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            used = process.cpu_times()
            total += used.user + used.system
    return total
