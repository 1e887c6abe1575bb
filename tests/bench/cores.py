"""CPU affinity: the measured server has one CPU, all other processes share the others.

Without it, the kernel sometimes runs a server and its receivers on the same CPU (a send costs less
CPU time, but takes longer) and sometimes on two. The figures of one server then differ by half from
run to run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil


class Cores:
    """Pins this process and its children to the CPUs beside the server's.

    It has no effect if the machine has one CPU or `pin` is false.
    """

    def __init__(self, pin: bool) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self._pin = pin and len(cpus) > 1
        self._server, self.others = {cpus[0]}, set(cpus[1:])
        if self._pin:
            os.sched_setaffinity(0, self.others)

    def restore(self) -> None:
        """Let this process run on every CPU again."""
        if self._pin:
            os.sched_setaffinity(0, self._server | self.others)

    @contextlib.contextmanager
    def of_server(self) -> Iterator[None]:
        """Pin processes that start within the block to the server's CPU."""
        if not self._pin:
            yield
            return
        os.sched_setaffinity(0, self._server)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.others)

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Let this process and all of its children run on every CPU within the block."""
        if not self._pin:
            yield
            return
        _pin_all(self._server | self.others)
        try:
            yield
        finally:
            _pin_all(self.others)


def _pin_all(cpus: set[int]) -> None:
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            process.cpu_affinity(list(cpus))
