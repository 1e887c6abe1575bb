"""The record of one run of a scenario. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

# `finished`: all phases were played.
Outcome = Literal["running", "finished", "switched", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """The row of `scenario_runs`, in the order of its columns."""

    run_id: str
    scenario: str
    started: datetime
    ended: datetime | None
    seed: int
    parameters: Mapping[str, Any]
    peak_queue: int
    peak_lag_ms: float
    gaps: int
    resyncs: int
    detect_seconds: float | None
    recover_seconds: float | None
    wrong_books: int
    outcome: Outcome
    timeline: tuple[Mapping[str, Any], ...]
