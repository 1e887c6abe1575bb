"""The values that the alert rules judge, as the collectors find them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Values:
    """One reading of everything that a rule judges.

    None is a reading that failed: it raises and resolves no alert. A subject that is missing in a
    mapping does not exist any more: its alerts are resolved.
    """

    cpu: float | None = None  # percent of the machine, and so on
    memory: float | None = None
    disk: float | None = None
    redis_answers: bool | None = None
    database_answers: bool | None = None  # None: the alerts' own transaction decides
    processes: Mapping[str, float] | None = None  # expected process -> seconds since its last report
    unstored: int | None = None  # prices and trades that wait for the store
    unprocessed: int | None = None  # reports that wait for the observer
    sources: Mapping[str, str] | None = None  # source -> state, as /health has it
    # (bot, strategy) with an open position or order -> seconds since its last report
    silent: Mapping[tuple[str, str], float] | None = None
    orders: tuple[int, int] | None = None  # rejected and terminal ones of the last 15 minutes
