"""Counts of what a process does on the bus; a collector of metrics reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from db.measures import Counts


@dataclass(frozen=True, slots=True)
class BusCounts:
    """`published` and `parked` count records and dead letters by channel.

    `epochs` counts the new epochs that were seen; the first one of a process is not new.
    """

    published: Counts = field(default_factory=Counts)
    parked: Counts = field(default_factory=Counts)
    epochs: Counts = field(default_factory=lambda: Counts(()))
