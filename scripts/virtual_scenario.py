"""A scenario on a virtual clock: player, queue, worker, books and score of the product, no bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from db.book_bodies import BookMessage
from db.bus.books import Books
from db.messages import Stamp
from db.scenarios.files import load_recording, read_folder
from db.scenarios.recording import Recording
from db.scenarios.run_record import RunRecord
from db.scenarios.status import BookState, Load, status_of
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.outlet import Outlet
from jobs.books.parts.transitions import MachineOptions
from jobs.books.play.plan import Plan
from jobs.books.play.runs import Sight
from jobs.books.play.stage import Stage

DATA = Path(__file__).parents[1] / "data"
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT_LEVELS = 5_000
OBSERVE_SECONDS = 0.05


class SilentBus(Books):
    """Takes all messages of books and gives them to nobody."""

    def __init__(self) -> None:
        """Connect to nothing."""

    def publish_books(self, messages: Sequence[BookMessage]) -> list[Stamp]:
        return [Stamp("epoch", 1) for _ in messages]

    def publish_book_state(self, body: Mapping[str, object]) -> Stamp:
        return Stamp("epoch", 1)


@dataclass
class Observed:
    """A run, seen each 0.05 s. `lag` is in seconds."""

    times: list[float] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    lag: list[float] = field(default_factory=list)
    status: list[str] = field(default_factory=list)


def recording_of(name: str) -> Recording:
    """The recording of a shipped scenario."""
    return load_recording(DATA / "recordings" / read_folder(DATA / "scenarios").scenarios[name].scenario.recording[0], None)


def play(name: str, recording: Recording, seconds: float) -> tuple[Observed, RunRecord]:
    """Play a shipped scenario for some seconds of virtual time; return it with its score."""
    clock = [0.0]
    keeper = Keeper(
        Outlet(SilentBus(), monotonic=lambda: clock[0], wait=lambda _: None),
        MachineOptions(),
        wall=lambda: STARTED,
        monotonic=lambda: clock[0],
        jitter=lambda: 0.5,
    )
    plan = Plan(read_folder(DATA / "scenarios").scenarios[name].scenario, (recording,), name)
    stage = Stage(plan, keeper, origin=0.0, started=STARTED, snapshot_levels=SNAPSHOT_LEVELS, clock=None)
    for instrument in stage.instruments:
        keeper.begin(instrument, stage.market(instrument), stage)
    found = Observed()
    for step in range(1, round(seconds / OBSERVE_SECONDS) + 1):
        clock[0] = step * OBSERVE_SECONDS
        stage.advance(clock[0])
        if stage.is_idle:
            keeper.tick(stage)
        _observe(found, stage, keeper, clock[0])
    return found, stage.run.record()


def _observe(found: Observed, stage: Stage, keeper: Keeper, now: float) -> None:
    states = {name: BookState(each.machine.state, each.not_live_seconds()) for name, each in keeper.books.items()}
    queue = stage.flow.queue
    load = Load(queue.size, queue.limit, stage.flow.lag(), states)
    status = status_of(load)
    books = {name: str(each.state) for name, each in states.items()}
    stage.run.observe(now, Sight(status, load.queue_size, load.lag_seconds, books, queue.counts.peak))
    found.times.append(now)
    found.queue.append(load.queue_size)
    found.lag.append(load.lag_seconds)
    found.status.append(status)
