"""The parts of the report: figures of the books, and the state of the source `scenario`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from db.scenarios.model import Scenario
from db.timestamps import format_time
from jobs.books.heartbeat import Figures
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.play.director import Director
from jobs.books.play.stage import Stage
from jobs.books.worker import Worker


class ReportParts:
    """Makes the parts.

    `connections` are those of the live feed, `director` is that of a scenario.
    """

    def __init__(
        self,
        worker: Worker,
        figures: Callable[[], Figures],
        clock: Callable[[], datetime],
        *,
        director: Director | None,
        connections: Callable[[], list[dict[str, Any]]],
    ) -> None:
        self._worker = worker
        self._figures = figures
        self._clock = clock
        self._director = director
        self._connections = connections
        self._since = clock()
        self._state = "connecting"

    def __call__(self) -> dict[str, Any]:
        """The part `books`, and the part `sources` if the source `scenario` is configured."""
        figures, stage = self._figures(), self._worker.parts.scenario.stage
        books = {
            "dropped": figures.dropped,
            "backpressure_seconds": round(figures.backpressure, 3),
            "scenario_running": stage is not None,
            "scenario_run": None if stage is None else _run(stage),
            "processing_delay_ms": 0.0 if stage is None else _delay(stage.plan.scenario),
            "connections": self._connections(),
            "faults": {} if stage is None else dict(stage.flow.faults.effects.counts),
            "symbols": {name: _symbol(book) for name, book in list(self._worker.parts.keeper.books.items())},
        }
        return {"books": books, **({} if self._director is None else {"sources": {"scenario": self._source(figures)}})}

    def _source(self, figures: Figures) -> dict[str, Any]:
        """The state of the source, in the form of the other sources."""
        problem = None if self._director is None else self._director.problem
        state = "live" if self._worker.parts.scenario.stage is not None else "connecting"
        if problem is not None and state != "live":
            state = "connecting" if problem == "starts" else "down"
        if state != self._state:
            self._state, self._since = state, self._clock()
        return {
            "state": state,
            "since": format_time(self._since),
            "failing_since": format_time(self._since) if state == "down" else None,
            "last_tick": format_time(self._clock()) if state == "live" and figures.processed else None,
            "ticks": figures.processed,
            "trades": 0,
            "refused": {},
            "detail": problem if state == "down" else None,
        }


def _run(stage: Stage) -> Mapping[str, Any]:
    run, now = stage.run, stage.flow.now
    return {"run_id": run.run_id, "started": format_time(run.started), "phase": stage.flow.speeds.phase_at(now)}


def _delay(scenario: Scenario) -> float | list[float]:
    low, high = scenario.delay_ms
    return low if low == high else [low, high]


def _symbol(book: KeptBook) -> dict[str, Any]:
    held = book.machine.book.complete
    return {
        "state": book.machine.state,
        "updates": book.updates,
        "levels": book.levels,
        "resyncs": book.machine.resyncs,
        "gaps": dict(book.gaps),
        "held": {"bids": held.bids, "asks": held.asks},
        "audits": {"checked": book.machine.audit.checked, "failed": book.machine.audit.failed},
    }
