"""The parts of the report: figures of the books, and the states of their sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from db.scenarios.model import Scenario
from db.timestamps import format_time
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.play.stage import Stage
from jobs.books.process.assembly import Assembly
from jobs.books.process.source_states import SourceStates


class ReportParts:
    """Makes the parts `books` and `sources` of the active process."""

    def __init__(self, assembly: Assembly, clock: Callable[[], datetime]) -> None:
        self._assembly = assembly
        self._states = SourceStates(clock)

    def __call__(self) -> dict[str, Any]:
        assembly = self._assembly
        parts, figures = assembly.worker.parts, assembly.heartbeat.last
        stage, feed = parts.scenario.stage, assembly.feed
        books = {
            "dropped": figures.dropped,
            "backpressure_seconds": round(figures.backpressure, 3),
            "scenario_running": stage is not None,
            "scenario_run": None if stage is None else _run(stage),
            "processing_delay_ms": 0.0 if stage is None else _delay(stage.plan.scenario),
            "connections": [] if feed is None else feed.connections(),
            "faults": {} if stage is None else dict(stage.flow.faults.effects.counts),
            "symbols": {name: _symbol(book) for name, book in list(parts.keeper.books.items())},
        }
        return {"books": books, "sources": self._sources()}

    def _sources(self) -> dict[str, Mapping[str, Any]]:
        assembly, states = self._assembly, self._states
        parts = assembly.worker.parts
        found: dict[str, Mapping[str, Any]] = {}
        if assembly.director is not None:
            problem = assembly.director.problem
            played = parts.scenario.ended.processed + (parts.scenario.stage.flow.queue.counts.processed if parts.scenario.stage else 0)
            state = "live" if parts.scenario.stage is not None else "connecting" if problem is None else "down"
            found["scenario"] = states.report("scenario", state, played, problem if state == "down" else None)
        for stage in parts.recordings:
            name = stage.plan.scenario.name
            found[name] = states.report(name, "ended" if stage.has_ended else "live", stage.flow.queue.counts.processed)
        for name, reason in assembly.unplayable.items():
            found[name] = states.report(name, "down", 0, reason)
        if assembly.feed is not None:
            found[assembly.feed.status.name] = assembly.feed.status.report()
        return found


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
