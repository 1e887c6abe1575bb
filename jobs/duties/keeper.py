"""The keeper of the duties of this process: it looks at all locks, takes and releases some."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from config.pacing import Outage
from config.process.duties import WRITE, may_take
from db.duties import Held
from db.postgres import StoreError
from jobs.duties.holding import Holding
from jobs.duties.shares import Globs, by_preference, share, to_release
from jobs.runtime.threads import ThreadEnded

log = logging.getLogger(__name__)

PATIENT_POLLS = 2  # in which a duty may be free before a process takes it beyond its share
SETTLE_SECONDS = 30.0  # after that, without a release: the others do not take their share
_PIECE_SECONDS = 0.5  # of a wait, after which the end of the process is checked
_END_PAUSE = 0.05  # between two looks at works that end
_END_SECONDS = (6.0, 8.0)  # for all works but the writers, then for the writers


class Locks(Protocol):
    """The locks of all duties, such as `db.duties.DutySession`. Methods raise `StoreError`."""

    def look(self) -> Held:
        """Read all locks."""

    def take(self, duty: str) -> bool:
        """Take a lock if it is free."""

    def release(self, duty: str) -> None:
        """Release a lock."""

    def next_number(self) -> int:
        """The number of a win."""

    def number_above(self, stored: int) -> int:
        """A number above `stored`."""

    def leave(self) -> None:
        """Count no more as a process that takes duties."""

    def close(self) -> None:
        """End the session with all locks."""


class Works(Protocol):
    """The work of duties in this process."""

    def begin(self, holdings: Sequence[Holding]) -> None:
        """Begin the work of these duties. Returns at once."""

    def is_over(self, duty: str) -> bool:
        """Return True if the work of a duty has ended, after its `stop` was set."""

    def close(self) -> None:
        """End the threads that belong to no duty."""


class Keeper:
    """Keeps the even share of `duties` for this process. `run` is its loop.

    `member` is its name for rendezvous hashing, `globs` are its JOBS_DUTIES. `others` maps backends
    of PostgreSQL to the JOBS_DUTIES of their processes, for those that have some. `changed` is
    called with the duties and the backend (None: no session) after each change. `failed` is set if
    a part of the process has ended unexpectedly.

    A process that is cut off from PostgreSQL continues, because ingest needs no store. When another
    process has taken a duty, the bus refuses the batches of the former holder.
    """

    def __init__(
        self,
        locks: Locks,
        works: Works,
        duties: Sequence[str],
        *,
        member: str,
        failed: threading.Event,
        globs: Globs = (),
        others: Callable[[], Mapping[int, Globs]] = dict,
        changed: Callable[[Collection[str], int | None], None] = lambda duties, backend: None,
        poll_seconds: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._locks = locks
        self._works = works
        self._duties = tuple(duty for duty in duties if may_take(globs, duty))
        self._all = tuple(duties)
        self._member = member
        self._failed = failed
        self._globs = globs
        self._others = others
        self._changed = changed
        self._poll_seconds = poll_seconds
        self._monotonic = monotonic
        self._held: dict[str, Holding] = {}  # duties with work in this process
        self._free: dict[str, int] = {}  # duty -> polls in a row that saw it free
        self._settled_at = float("-inf")  # no release before this time
        self._told: tuple[frozenset[str], int | None] | None = None
        self._awake = threading.Event()
        self._outage = Outage(log, "jobs: no duty is won without the store", monotonic=monotonic)

    def run(self, stop: threading.Event) -> None:
        """Take part until `stop` is set. Raises `ThreadEnded` if a part of the process failed."""
        while not stop.is_set() and not self._failed.is_set():
            self._awake.clear()
            self.poll()
            self._wait(stop)
        log.info("jobs stop")
        self.end(stop)
        if self._failed.is_set():
            raise ThreadEnded("a thread of the jobs process ended although no stop was requested")

    def poll(self) -> None:
        """Look once, and take or release duties."""
        try:
            seen = self._locks.look()
            self._forget_ended(seen)
            self._check(seen)
            self._balance(seen)
        except StoreError as error:
            self._outage.failed(error)
            self._without_store()
            self._tell(None)
        else:
            self._outage.recovered()
            self._tell(seen.me)

    def end(self, stop: threading.Event) -> None:
        """End all works, the writers last, release each duty, and close the session."""
        if self._told is not None and self._told[1] is not None:
            with suppress(StoreError):
                self._locks.leave()
        writers = {duty for duty in self._held if duty.startswith(WRITE)}
        for some, seconds in zip((self._held.keys() - writers, writers), _END_SECONDS, strict=True):
            for duty in some:
                self._held[duty].stop.set()
            deadline = self._monotonic() + seconds
            while not some.isdisjoint(self._held) and self._monotonic() < deadline:
                self._release_ended()
                stop.is_set()  # a heartbeat
                time.sleep(_END_PAUSE)
        self._works.close()
        self._locks.close()
        self._held.clear()
        self._tell(None)

    def wake(self) -> None:
        """Poll at once. Any thread may call it."""
        self._awake.set()

    def _wait(self, stop: threading.Event) -> None:
        deadline = self._monotonic() + self._poll_seconds
        while (left := deadline - self._monotonic()) > 0 and not stop.is_set() and not self._failed.is_set():
            if self._awake.wait(min(_PIECE_SECONDS, left)):
                return

    def _forget_ended(self, seen: Held) -> None:
        """Release the duties whose work has ended."""
        for duty, holding in list(self._held.items()):
            if holding.stop.is_set() and self._works.is_over(duty):
                if seen.holder(duty) == seen.me:
                    self._locks.release(duty)
                    log.info("a duty is released", extra={"duty": duty})
                del self._held[duty]

    def _release_ended(self) -> None:
        """The same at the end of the process, without waiting for PostgreSQL."""
        try:
            if any(holding.stop.is_set() and self._works.is_over(duty) for duty, holding in self._held.items()):
                self._forget_ended(self._locks.look())
        except StoreError:
            self._without_store()

    def _without_store(self) -> None:
        """End the works whose batches were refused: another process has their duties."""
        for duty, holding in list(self._held.items()):
            if holding.stored is not None:
                self._lose(holding)
            if holding.stop.is_set() and self._works.is_over(duty):
                del self._held[duty]

    def _check(self, seen: Held) -> None:
        """Keep the duties of which this process has the lock, and end those that others have.

        A duty whose lock ended with an earlier session is won again if it is free.
        """
        for duty, holding in self._held.items():
            if holding.stop.is_set():
                continue
            holder = seen.holder(duty)
            if holder is None and self._locks.take(duty):
                log.info("a duty is won again", extra={"duty": duty})
                holding.renew(self._number(holding.stored))
            elif holder != seen.me:
                self._lose(holding)
            elif (stored := holding.stored) is not None:
                log.warning("the numbers of duties were behind the bus", extra={"duty": duty, "stored": stored})
                holding.renew(self._number(stored))

    def _number(self, stored: int | None) -> int:
        return self._locks.next_number() if stored is None else self._locks.number_above(stored)

    def _lose(self, holding: Holding) -> None:
        if not holding.stop.is_set():
            log.warning("another process has taken a duty", extra={"duty": holding.duty})
            holding.stop.set()

    def _balance(self, seen: Held) -> None:
        """Release a duty above the share, or take free ones."""
        members = self._members(seen)
        limit = share(self._globs, self._all, members)
        held = [duty for duty, holding in self._held.items() if not holding.stop.is_set()]
        free = [duty for duty in self._duties if seen.holder(duty) is None and duty not in self._held]
        self._free = {duty: self._free.get(duty, 0) + 1 for duty in free}
        if len(held) > limit and self._monotonic() >= self._settled_at:
            if len(held) == len(self._held):  # one at a time
                duty = to_release(self._member, held, members)
                log.info("a duty goes to another process", extra={"duty": duty})
                self._held[duty].stop.set()
            return
        wanted = by_preference(self._member, free, members)
        left = [duty for duty in wanted[max(0, limit - len(held)) :] if self._free[duty] > PATIENT_POLLS]
        if left:
            self._settled_at = self._monotonic() + SETTLE_SECONDS
        self._win([*wanted[: max(0, limit - len(held))], *left])

    def _members(self, seen: Held) -> list[Globs]:
        others = self._others() if len(seen.members) > 1 else {}
        return [self._globs, *(others.get(backend, ()) for backend in seen.members if backend != seen.me)]

    def _win(self, duties: Sequence[str]) -> None:
        won = [Holding(duty, self._locks.next_number(), self.wake) for duty in duties if self._locks.take(duty)]
        if won:
            log.info("duties are won", extra={"duties": [holding.duty for holding in won]})
            self._held |= {holding.duty: holding for holding in won}
            self._works.begin(won)

    def _tell(self, backend: int | None) -> None:
        present = frozenset(duty for duty, holding in self._held.items() if not holding.stop.is_set()), backend
        if present != self._told:
            self._told = present
            self._changed(*present)
