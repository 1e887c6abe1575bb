"""The acceptor of a server: it goes on after a lack of descriptors or memory."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from config.pacing import Throttle
from config.process.descriptors import RESERVED, count, soft_limit

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
PAUSING_SECONDS = 1.0  # after a pause the acceptor counts as pausing for this time
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_OF_THIS_ITEM = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EAGAIN, errno.EWOULDBLOCK})

Connection = tuple[Any, Any]  # the socket and the address of its peer


class ErrorKind(Enum):
    """The consequence of an error of the system for the loop in which it occurs."""

    PASSING = "wait and go on"
    OF_THIS_ITEM = "skip the item"
    UNKNOWN = "end the process"


def kind_of(error: OSError) -> ErrorKind:
    """Return the kind of an error of the system inside a loop."""
    if error.errno in _PASSING:
        return ErrorKind.PASSING
    return ErrorKind.OF_THIS_ITEM if error.errno in _OF_THIS_ITEM else ErrorKind.UNKNOWN


class AcceptorFailed(Exception):
    """`accept` failed for an unknown reason: its process must end.

    No `OSError`, because servers treat some of those as the end of the listener.
    """


class Acceptor:
    """Accepts connections, and keeps some descriptors for the bus, the store and itself.

    If no descriptor is free, it closes one waiting connection with its spare descriptor. Its caller
    then pauses for `PAUSE_SECONDS`.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._throttle = Throttle(monotonic=monotonic)
        self._spare: int | None = None
        self._paused: float | None = None  # monotonic time of the last pause

    @property
    def pausing(self) -> bool:
        """True while connections are not accepted because descriptors or memory are missing."""
        return self._paused is not None and self._monotonic() - self._paused < PAUSING_SECONDS

    @property
    def pause_left(self) -> float:
        """Seconds until the next attempt is due."""
        return 0.0 if self._paused is None else max(0.0, self._paused + PAUSE_SECONDS - self._monotonic())

    def accept(self, accept: Callable[[], Connection]) -> Connection | None:
        """Return the next connection; None if it was lost, none waits, or a pause is due.

        `accept` raises `BlockingIOError` if no connection waits. Raises `AcceptorFailed` on an
        unknown error.
        """
        self._hold_spare()
        try:
            connection = accept()
        except OSError as error:
            kind = kind_of(error)
            if kind is ErrorKind.UNKNOWN:
                raise AcceptorFailed(str(error)) from error
            if kind is ErrorKind.PASSING:
                self._give_up_one(accept)
                self._pause(os.strerror(error.errno or 0))
            return None
        if connection[0].fileno() >= soft_limit() - RESERVED:
            # The kernel assigns the lowest free number: only the reserved ones are left.
            connection[0].close()
            self._pause("only reserved descriptors are left")
            return None
        return connection

    def _hold_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_up_one(self, accept: Callable[[], Connection]) -> None:
        """Close one waiting connection, so that its client learns of the refusal."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        with suppress(OSError):
            accept()[0].close()

    def _pause(self, reason: str) -> None:
        self._paused = self._monotonic()
        if (times := self._throttle.due("accept")) is not None:
            fields = {"reason": reason, "descriptors": count(), "limit": soft_limit(), "count": times}
            log.warning("no connection is accepted (repeats suppressed for 60 s)", extra=fields)
        self._hold_spare()


ACCEPTOR = Acceptor()
