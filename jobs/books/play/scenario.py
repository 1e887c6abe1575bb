"""The scenario that is played: its stage, its run, the switch to another one."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from db.scenarios.run_record import Outcome
from db.scenarios.status import BookState, Load, Status, status_of
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.outlet import Outlet
from jobs.books.play.plan import Plan
from jobs.books.play.run_rows import RunRows
from jobs.books.play.runs import Sight
from jobs.books.play.stage import Stage
from jobs.books.queue import Counts
from jobs.feeds.scenario.player import UnplayableRecording

log = logging.getLogger("jobs.books")

OBSERVE_SECONDS = 0.25
SAVE_SECONDS = 2.0

MakeStage = Callable[[Plan], Stage]


class CurrentScenario:
    """Plays one scenario after another. Other threads may call `offer` and read `stage`."""

    def __init__(
        self, keeper: Keeper, outlet: Outlet, rows: RunRows, make_stage: MakeStage, *, clock: Callable[[], datetime], name: str
    ) -> None:
        self.stage: Stage | None = None
        self.name = name  # of the present scenario; before it, that of the setting
        self.previous: str | None = None  # the scenario before the first one: of the process before
        self.ended = Counts()  # of the stages before
        self._ended_faults: Counter[str] = Counter()  # kind -> number, of the stages before
        self._keeper = keeper
        self._outlet = outlet
        self._rows = rows
        self._make_stage = make_stage
        self._clock = clock
        self._lock = threading.Lock()
        self._offered: Plan | None = None
        self._confirmation: dict[str, Any] | None = None  # not published yet
        self._observed = self._saved = float("-inf")
        self._is_over = False  # the run has its outcome

    def offer(self, plan: Plan) -> None:
        """Switch to this plan soon; a plan that was offered before and not begun is given up."""
        with self._lock:
            self._offered = plan

    def advance(self, now: float) -> bool:
        """Begin an offered plan, and play up to `now`; return True if the books are others now."""
        with self._lock:
            plan, self._offered = self._offered, None
        switched = plan is not None and self._switch(plan)
        if self.stage is not None:
            self.stage.advance(now)
        return switched

    def attend(self, now: float) -> None:
        """Observe, save and confirm the run, as far as it is due."""
        stage = self.stage
        if stage is None:
            self._rows.end_unfinished()
            return
        self._confirm()
        if now - self._observed >= OBSERVE_SECONDS and not self._is_over:
            self._observed = now
            self._observe(stage)
            if stage.run.finished(stage.flow.now):
                self._end(stage, "finished")
            elif now - self._saved >= SAVE_SECONDS:
                self._saved = now
                self._rows.save(stage.run.record(), stage.statement_delay())

    def close(self) -> None:
        """The process ends in order: so does the run."""
        if self.stage is not None and not self._is_over:
            self._end(self.stage, "switched")

    def backpressure(self) -> float:
        """Seconds of backpressure of all stages. Any thread may call it and `faults`."""
        with self._lock:
            return self.ended.backpressure + (0.0 if self.stage is None else self.stage.flow.backpressure())

    def faults(self) -> Counter[str]:
        """Kind -> number of times that a fault has acted, in all stages."""
        with self._lock:
            return self._ended_faults + Counter({} if self.stage is None else dict(self.stage.flow.faults.effects.counts))

    def status(self, stage: Stage) -> tuple[Status, Load]:
        """Status and figures of a stage."""
        books = {name: each for name, each in self._keeper.books.items() if each.line is stage}
        states = {name: BookState(each.machine.state, each.not_live_seconds()) for name, each in books.items()}
        load = Load(stage.flow.queue.size, stage.flow.queue.limit, stage.flow.lag(), states)
        return status_of(load), load

    def _switch(self, plan: Plan) -> bool:
        try:
            stage = self._make_stage(plan)
        except UnplayableRecording as error:
            log.error("the scenario cannot be played", extra={"scenario": plan.scenario.name, "reason": str(error)})
            return False
        old, previous = self.stage, self.name
        if old is not None:
            if not self._is_over:
                self._end(old, "switched", stage.run.started)
            for instrument in set(old.instruments) - set(stage.instruments):
                self._keeper.drop(instrument)
        elif self.previous is not None:
            previous = self.previous
        with self._lock:  # `backpressure` and `faults` see each stage once
            if old is not None:
                self._add_counts(old)
            self.stage, self.name, self._is_over = stage, plan.scenario.name, False
        for instrument in stage.instruments:
            self._keeper.begin(instrument, stage.market(instrument), stage)
        self._observed = self._saved = float("-inf")
        self._rows.save(stage.run.record())
        self._confirmation = {"previous_scenario": previous, "current_scenario": self.name, "run_id": plan.run_id}
        self._confirm()
        log.info("scenario begins", extra={"scenario": self.name, "run_id": plan.run_id, "instruments": list(stage.instruments)})
        return True

    def _confirm(self) -> None:
        if self._confirmation is not None and self._outlet.publish_scenario_change(self._confirmation):
            self._confirmation = None

    def _observe(self, stage: Stage) -> None:
        status, load = self.status(stage)
        states = {name: str(each.state) for name, each in load.books.items()}
        stage.run.observe(stage.flow.now, Sight(status, load.queue_size, load.lag_seconds, states, stage.flow.queue.counts.peak))

    def _end(self, stage: Stage, outcome: Outcome, ended: datetime | None = None) -> None:
        self._is_over = True
        self._rows.save(stage.run.record(outcome=outcome, ended=ended or self._clock()), stage.statement_delay())
        log.info("scenario run ends", extra={"scenario": self.name, "run_id": stage.plan.run_id, "outcome": outcome})

    def _add_counts(self, stage: Stage) -> None:
        counts, total = stage.flow.queue.counts, self.ended
        total.processed += counts.processed
        total.dropped += counts.dropped
        total.overflows += counts.overflows
        total.backpressure += stage.flow.backpressure()
        self._ended_faults.update(stage.flow.faults.effects.counts)
