"""Sends one buffer to many clients: in C if the extension is installed, else in Python.

Both forms return the same results, so that all bookkeeping is common to them.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from errno import EAGAIN, EPIPE
from typing import Literal, Protocol

from api.hub.transport.outbox import Outbox
from config.process.fanout_loop import MISSING, PYTHON, C

try:
    from tickwire_sendmany import send_many as _in_c
except ImportError:
    _in_c = None  # type: ignore[assignment]

Short = tuple[int, int]  # index into the group; bytes taken (0 ≤ n < len), or -errno
KIND: Literal["c", "python"] = "python" if _in_c is None else "c"

_NO_BOXES: list[Outbox] = []
_NO_FDS = array("i")


class MissingExtension(Exception):
    """The setting requires the extension, which is not installed. The text has the remedy."""


class Source(Protocol):
    """The sender of batches to many groups."""

    @property
    def waits(self) -> bool:
        """Whether a frame is not sent yet."""

    def flush(self) -> None:
        """Send all frames."""


class Group:
    """Outboxes that get the same batches.

    `members` may be a live view. Lists are replaced and never changed, so that the indices of
    results stay valid. `source` has the batches that wait for the end of an interval.
    """

    __slots__ = ("boxes", "fds", "members", "slow", "source", "stale")

    def __init__(self, members: Collection[Outbox], source: Source | None = None) -> None:
        self.members = members
        self.source = source
        self.boxes = _NO_BOXES  # members that can send now
        self.fds = _NO_FDS  # their descriptors
        self.slow = _NO_BOXES  # the others: no socket, or full
        self.stale = True  # rebuild before the next send

    def flush(self) -> None:
        """Push the batches that wait, to these and all other outboxes of the source."""
        if self.source is not None and self.source.waits:
            self.source.flush()

    def rebuild(self) -> None:
        """Divide the members into those that can send now and the others."""
        self.boxes = [box for box in self.members if box.ready]
        self.fds = array("i", [box.fd for box in self.boxes])
        self.slow = [] if len(self.boxes) == len(self.members) else [box for box in self.members if not box.ready]
        self.stale = False


def choose(loop: str) -> None:
    """Use the loop of the setting FANOUT_LOOP from now on. Raises `MissingExtension`."""
    global KIND
    if loop == C and _in_c is None:
        raise MissingExtension(MISSING)
    KIND = "python" if loop == PYTHON or _in_c is None else "c"


def send_many(group: Group, data: bytes) -> list[Short] | None:
    """Send the bytes to each of `group.boxes`, in order; return those that did not take all.

    None: all took everything. Nothing blocks, and no failure of a socket is raised.
    """
    return _in_c(group.fds, data) if KIND == "c" else _in_python(group.boxes, data)


def _in_python(boxes: Iterable[Outbox], data: bytes) -> list[Short] | None:
    size = len(data)
    short = []
    for index, box in enumerate(boxes):
        try:
            taken = box.send(data)
        except BlockingIOError:
            taken = -EAGAIN
        except OSError as error:
            taken = -(error.errno or EPIPE)
        if taken != size:
            short.append((index, taken))
    return short or None
