"""The jobs process with one fault built in: `python -m tests.support.failing_jobs FAULT`.

The fault is placed beneath a long-lived thread, so that the thread ends without a stop request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from apscheduler.schedulers.blocking import BlockingScheduler

from jobs import scheduler
from jobs.feeds.ingest import Ingest
from jobs.feeds.status import Reporter, Status
from jobs.gaps.filler import GapFiller
from jobs.runtime.runs import Runner
from jobs.store.rollup import RollUp


def bug(*arguments: Any, **named: Any) -> None:
    """Fail like a programming error."""
    raise RuntimeError("a bug")


def finish(*arguments: Any, **named: Any) -> None:
    """Return at once."""


# fault -> (class, method, replacement)
FAULTS: dict[str, tuple[type, str, Callable[..., None]]] = {
    "service returns": (RollUp, "run", finish),
    "scheduler fails": (BlockingScheduler, "_process_jobs", bug),
    "source fails": (Ingest, "run", bug),
    "reporter fails": (Status, "check_silence", bug),
    "reporter returns": (Reporter, "run", finish),
    "gap filler fails": (GapFiller, "run", bug),
    "gap filler returns": (GapFiller, "run", finish),
    "catch-up fails": (Runner, "catch_up", bug),
}


if __name__ == "__main__":
    owner, method, replacement = FAULTS[sys.argv[1]]
    setattr(owner, method, replacement)
    scheduler.main()
