"""States of a book, their reasons, and the outputs of its state machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of one book; it is in every answer and message."""

    SYNCING = "syncing"  # the first snapshot is awaited
    LIVE = "live"  # an unbroken chain from a snapshot, fresh, not crossed, both sides proven
    GAP = "gap"  # the chain is broken or the book is wrong
    RESYNCING = "resyncing"  # a new snapshot is awaited
    STALE = "stale"  # the stream is silent or its connection is lost


class Reason(StrEnum):
    """The cause of a state, of a repeated request or of a snapshot."""

    START = "start"
    MISSING_UPDATE = "missing_update"
    CROSSED = "crossed"
    DIVERGED = "diverged"
    OVERFLOW = "overflow"
    BAD_MESSAGE = "bad_message"
    THIN = "thin"
    SILENT = "silent"
    DISCONNECTED = "disconnected"
    SNAPSHOT_FAILED = "snapshot_failed"
    SCENARIO = "scenario"
    REFRESHED = "refreshed"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A message `book_state`; `state` and `previous` are equal if the state is unchanged.

    `previous` is None at the start. `update_id` is that of the book, None before the first one.
    """

    state: State
    previous: State | None
    reason: Reason
    update_id: int | None
    expected_id: int | None = None
    received_id: int | None = None


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """Publish the machine's book as one snapshot for each depth."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class BookUpdate:
    """Publish the changes of the machine's book: the messages before are continued."""


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """Request a snapshot; the answer has this number. A refresh may be refused to save weight."""

    number: int
    is_refresh: bool


Output = StateChange | BookSnapshot | BookUpdate | SnapshotRequest
