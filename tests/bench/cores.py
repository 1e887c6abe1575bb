"""Which CPU runs what: the measured server has one to itself, everything else shares the others.

Left to itself the kernel at times puts a server and its receivers on the same CPU, where a send is cheap and slow, at times on two, where
it is dear and fast: the same server then differs by half from run to run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


class Cores:
    """Pins this process, and with it all it will start, away from the server's CPU. With one CPU, or unless `pin`, does nothing."""

    def __init__(self, pin: bool) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self._pin = pin and len(cpus) > 1
        self._server, self._others = {cpus[0]}, set(cpus[1:])
        if self._pin:
            os.sched_setaffinity(0, self._others)

    @contextlib.contextmanager
    def of_server(self) -> Iterator[None]:
        """What is started within this block runs on the server's CPU."""
        if not self._pin:
            yield
            return
        os.sched_setaffinity(0, self._server)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self._others)
