"""The worker of the books in virtual time, on a real bus and a real store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config.venues import SourceSpec
from db.bus import Bus, Subscriptions
from db.postgres import Store
from db.scenario_runs import find_run
from db.scenarios.checks import parse_scenario
from db.scenarios.model import Scenario
from db.scenarios.recording import Recording
from db.scenarios.run_record import RunRecord
from db.scenarios.status import status_of
from db.timestamps import utc_now
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.outlet import Outlet
from jobs.books.parts.transitions import MachineOptions
from jobs.books.play.plan import Plan, PlanMaker, Recordings
from jobs.books.play.run_rows import RunRows
from jobs.books.play.scenario import CurrentScenario
from jobs.books.play.stage import Stage
from jobs.books.worker import Parts, Worker
from tests.support.book_follower import Follower

ORIGIN = 1_000.0
STEP, SHORTEST = 0.05, 0.0001


@dataclass
class VirtualBooks:
    """A worker whose clock moves in steps, and a client on the bus.

    `subscription` None: nobody reads. `spends`: slow statements and publishes move the clock, as in
    the process; then a step ends at the next event.
    """

    bus: Bus
    store: Store
    subscription: Subscriptions | None
    spends: bool = False
    now: float = ORIGIN
    waited: list[float] = field(default_factory=list)  # delays of slow statements and publishes
    client: Follower = field(default_factory=Follower)
    statuses: list[tuple[float, str]] = field(default_factory=list)  # changes, in seconds since the start
    queue: list[int] = field(default_factory=list)  # at each step
    lag: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of the steps, in seconds since the start

    def __post_init__(self) -> None:
        outlet = Outlet(self.bus, monotonic=self._monotonic, wait=self._wait)
        keeper = Keeper(outlet, MachineOptions(), wall=utc_now, monotonic=self._monotonic, jitter=lambda: 1.0)
        rows = RunRows(self.store, utc_now, self._monotonic, self._wait)

        clock = self._monotonic if self.spends else None

        def make_stage(plan: Plan) -> Stage:
            return Stage(plan, keeper, origin=self.now, started=utc_now(), snapshot_levels=5_000, clock=clock)

        scenario = CurrentScenario(keeper, outlet, rows, make_stage, clock=utc_now, name="stable-mode")
        self.scenario = scenario
        self.worker = Worker(Parts(keeper, outlet, scenario), monotonic=self._monotonic, queue_max=2_000, awaits_scenario=True)

    def begin(self, run_id: str, recordings: Sequence[Recording], **content: Any) -> None:
        """Offer a scenario; fields that are left out are those of a stable load."""
        usual = {
            "name": "test-mode",
            "recording": [each.name for each in recordings],
            "phases": [{"seconds": 3_600, "speed": 1}],
            "processing_delay_ms": 1,
            "queue_max": 2_000,
        }
        self.offer(run_id, parse_scenario({**usual, **content}, "test"), recordings)

    def offer(self, run_id: str, scenario: Scenario, recordings: Sequence[Recording]) -> None:
        """Offer this scenario."""
        self.scenario.offer(Plan(scenario, tuple(recordings), run_id))

    def replay(self, recording: Recording, speed: float) -> Stage:
        """Play a recording once, beside the scenario."""
        maker = PlanMaker(Path(), _Loaded(recording), 2_000, None)
        plan = maker.of_source(SourceSpec("replay", Path(recording.name), speed))
        keeper = self.worker.parts.keeper
        stage = Stage(plan, keeper, origin=self.now, started=utc_now(), snapshot_levels=5_000, clock=None)
        for instrument in stage.instruments:
            keeper.begin(instrument, stage.market(instrument), stage)
        self.worker.parts = replace(self.worker.parts, recordings=(stage,))
        return stage

    def play(self, seconds: float) -> None:
        """Move the clock and let the worker work; the client takes all messages."""
        end, wait = self.now + seconds, STEP
        while self.now < end:
            self.now = round(self.now + (min(STEP, max(wait, SHORTEST)) if self.spends else STEP), 6)
            wait = self.worker.round()
            figures = self.worker.figures()
            self.queue.append(figures.queue_size)
            self.lag.append(figures.lag)
            self.times.append(round(self.now - ORIGIN, 3))
            status = status_of(figures.load)
            if not self.statuses or self.statuses[-1][1] != status:
                self.statuses.append((round(self.now - ORIGIN, 3), status))
            self.read()

    def read(self) -> None:
        """Take everything that was published."""
        while self.subscription is not None and (found := self.subscription.read(0.0005)):
            for channel, body in found:
                self.client.take(channel, body)

    def record(self, run_id: str) -> RunRecord:
        with self.store.transaction() as cursor:
            found = find_run(cursor, run_id)
        assert found is not None
        return found

    def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        if self.spends:
            self.now += seconds

    def _monotonic(self) -> float:
        return self.now


class _Loaded(Recordings):
    """One recording, which is loaded already."""

    def __init__(self, recording: Recording) -> None:
        super().__init__((), lambda: None)
        self._recording = recording

    def load(self, path: Path) -> Recording:
        return self._recording
