"""Shares: how many duties a process holds, and which it takes or releases first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from math import ceil

from config.process.duties import SOURCE, may_take
from db.duties import rank

Globs = Sequence[str]  # JOBS_DUTIES of a process; empty: it may take every duty

_RECORDING = f"{SOURCE}replay:"


def takers(duty: str, members: Iterable[Globs]) -> int:
    """The number of members that may take the duty."""
    return sum(may_take(globs, duty) for globs in members)


def share(mine: Globs, duties: Iterable[str], members: Collection[Globs]) -> int:
    """The number of duties that this process holds at most; `members` contains it.

    Each duty counts with its part: 1 / the number of members that may take it. If all may take all,
    this is ceil(duties / members).
    """
    return ceil(sum(Fraction(1, takers(duty, members)) for duty in duties if may_take(mine, duty)))


def by_preference(member: str, duties: Iterable[str], members: Collection[Globs]) -> list[str]:
    """These duties in the order in which the member takes them.

    Those that few others may take come first, then those that rendezvous hashing prefers. It
    releases them in the opposite order, except that a recording would begin again: it goes last.
    """
    return sorted(duties, key=lambda duty: (takers(duty, members), _weight(member, duty)))


def to_release(member: str, duties: Iterable[str], members: Collection[Globs]) -> str:
    """The duty that the member releases first."""
    return max(duties, key=lambda duty: (not duty.startswith(_RECORDING), takers(duty, members), _weight(member, duty)))


def _weight(member: str, duty: str) -> int:
    """Ascending from the most preferred duty."""
    return -int.from_bytes(rank(member, duty), "big")
