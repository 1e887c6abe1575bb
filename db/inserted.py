"""Results of inserting records: new records, known records, conflicts with the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Path by which records reach the store. `live`: a source or publisher, over the bus; `history`: a
# venue's REST history; `file`: a recorded file.
Origin = Literal["live", "history", "file"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A record whose identity is stored with other values. The stored record stays.

    `record` names it with its time or id; `stored` and `given` are the two versions.
    """

    record: str
    stored: str
    given: str

    def __str__(self) -> str:
        return f"{self.record}: stored {self.stored}, given {self.given}"


@dataclass(frozen=True, slots=True)
class Inserted:
    """Outcome of one batch. The three numbers add up to the size of the batch.

    `new` rows were written, `duplicates` were stored already, `conflicts` were left out.
    """

    new: int = 0
    duplicates: int = 0
    conflicts: tuple[Conflict, ...] = ()

    @classmethod
    def of(cls, given: int, new: int, conflicts: tuple[Conflict, ...] = ()) -> Inserted:
        """The outcome of a batch of `given` records."""
        return cls(new, given - new - len(conflicts), conflicts)

    def __add__(self, other: Inserted) -> Inserted:
        return Inserted(self.new + other.new, self.duplicates + other.duplicates, self.conflicts + other.conflicts)
