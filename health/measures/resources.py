"""Resources that this process and its machine use, by psutil."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_SHORTEST_SECONDS = 0.5  # over which a share of the CPU is measured


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """Figures of the machine; None if there is none yet, or the system does not show it.

    Percentages are of the whole machine, network bytes are since its start.
    """

    cpu_percent: float | None
    memory_percent: float | None
    disk_usage_percent: float | None
    network_bytes_sent: int | None
    network_bytes_recv: int | None


class ProcessResources:
    """Measures this process. Create it after a fork, and call it from one thread."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call begins the measurement
        self._last: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """The part `resources` of a report; `cpu_percent` is since the last call, of one core.

        A process without a free descriptor cannot measure: its last figures stay.
        """
        with suppress(OSError):
            self._last = self._measure()
        return self._last

    def _measure(self) -> dict[str, Any]:
        with self._process.oneshot():
            return {
                "cpu_percent": round(self._process.cpu_percent(), 1),
                "rss_bytes": self._process.memory_info().rss,
                "threads": self._process.num_threads(),
                "fds": open_descriptors() or self._process.num_fds(),
            }


class MachineResources:
    """Measures the machine. `folder` is on the file system whose usage counts; it may be missing.

    The share of the CPU is that since the last call, over at least half a second.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._measured_at = monotonic()
        self._idle, self._total = _cpu_seconds()
        self._cpu_percent: float | None = None

    def __call__(self) -> MachineFigures:
        """Measure now."""
        network = psutil.net_io_counters()
        return MachineFigures(
            cpu_percent=self._cpu(),
            memory_percent=round(psutil.virtual_memory().percent, 1),
            disk_usage_percent=_disk_percent(self._folder),
            network_bytes_sent=None if network is None else network.bytes_sent,
            network_bytes_recv=None if network is None else network.bytes_recv,
        )

    def _cpu(self) -> float | None:
        now = self._monotonic()
        if now - self._measured_at >= _SHORTEST_SECONDS:
            idle, total = _cpu_seconds()
            if total > self._total:
                share = 1 - (idle - self._idle) / (total - self._total)
                self._cpu_percent = round(100 * min(1.0, max(0.0, share)), 1)
            self._measured_at, self._idle, self._total = now, idle, total
        return self._cpu_percent


def open_descriptors() -> int:
    """Open descriptors of this process; 0 if the system does not count them (Linux before 6.2).

    A list of 10,000 descriptors takes 16 ms, during which the loop of a hub stands still.
    """
    try:
        return os.stat("/proc/self/fd").st_size
    except OSError:
        return 0


def _cpu_seconds() -> tuple[float, float]:
    """Idle and total seconds of all CPUs since the start of the machine.

    The time of guests is a part of `user` and `nice`.
    """
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return times.idle + getattr(times, "iowait", 0.0), total


def _disk_percent(folder: Path) -> float | None:
    """Usage of the file system of the folder, or of its first parent that exists."""
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            return round(float(psutil.disk_usage(str(place)).percent), 1)
        except OSError:
            continue
    return None
