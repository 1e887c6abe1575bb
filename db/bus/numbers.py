"""The numbers that a publisher got: they prove that Redis went back in time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

_EPOCHS = 16  # ended ones, which are never continued


def new_epoch() -> str:
    """Return a name for an epoch: 12 hexadecimal digits."""
    return os.urandom(6).hex()


class Numbers:
    """The last number of each topic in the present epoch, and the epochs that have ended.

    The threads of a process share it.
    """

    def __init__(self, renewed: Callable[[], None] = lambda: None) -> None:
        """`renewed` is called when an epoch ends."""
        self._renewed = renewed
        self._lock = threading.Lock()
        self._epoch = ""
        self._ended: deque[str] = deque(maxlen=_EPOCHS)
        self._last: dict[str, dict[str, int]] = {}  # channel -> {topic: highest number in the epoch}

    def known(self, channel: str, names: Iterable[str]) -> tuple[str, str, list[int]]:
        """The epoch ('': none yet), the ended ones joined by blanks, and the number per topic."""
        with self._lock:
            last = self._last.get(channel, {})
            return self._epoch, " ".join(self._ended), [last.get(name, 0) for name in names]

    def note(self, channel: str, epoch: str, numbers: Mapping[str, int]) -> None:
        """Note numbers of a new answer; one that comes late, of an ended epoch, changes nothing."""
        with self._lock:
            if epoch in self._ended:
                return
            if epoch != self._epoch:
                if self._epoch:
                    self._ended.append(self._epoch)
                    self._renewed()
                self._epoch, self._last = epoch, {}
            last = self._last.setdefault(channel, {})
            for topic, number in numbers.items():
                if number > last.get(topic, 0):
                    last[topic] = number
