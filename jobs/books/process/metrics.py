"""The metrics of the acting books: read from their parts when they are rendered."""

from __future__ import annotations

from config.exposition import Collected
from db.scenarios.model import FAULT_KINDS
from jobs.books.keeping.keeper import Keeper
from jobs.books.keeping.kept_book import KeptBook
from jobs.books.keeping.measures import FAILED, PASSED, SNAPSHOT, TICKER
from jobs.books.parts.states import State
from jobs.books.play.scenario import CurrentScenario


class BooksMetrics:
    """Collects the rows of one term as the acting process; the counts begin with the term."""

    def __init__(self, keeper: Keeper, scenario: CurrentScenario, *, queue_max: int) -> None:
        """`queue_max` is the limit of the queue without a scenario."""
        self._keeper = keeper
        self._scenario = scenario
        self._queue_max = queue_max
        self._backpressure = 0.0  # the largest so far: a counter never goes back

    def __call__(self, found: Collected) -> None:
        """Add all rows."""
        for symbol, book in list(self._keeper.books.items()):
            _add_book(found, symbol, book)
        self._add_counts(found)
        self._add_lags(found)
        self._add_scenario(found)

    def _add_counts(self, found: Collected) -> None:
        """Add the counts of all instruments, also of those whose scenario has ended."""
        for symbol, totals in self._keeper.measures.totals(self._keeper.books).items():
            found.add("tickwire_book_updates_total", totals.updates, symbol=symbol)
            found.add("tickwire_book_levels_total", totals.levels, symbol=symbol)
            found.add("tickwire_book_resyncs_total", totals.resyncs, symbol=symbol)
            for reason, number in totals.gaps.items():
                found.add("tickwire_book_gaps_total", number, symbol=symbol, reason=reason)
            for against in (TICKER, SNAPSHOT):
                for result in (PASSED, FAILED):
                    number = totals.audits[against, result]
                    found.add("tickwire_book_audit_total", number, symbol=symbol, against=against, result=result)

    def _add_lags(self, found: Collected) -> None:
        measures = self._keeper.measures
        found.add_buckets("tickwire_book_resync_seconds", measures.resyncs)
        for stage in ("exchange", "queue", "apply", "publish"):
            found.add_buckets("tickwire_book_lag_seconds", getattr(measures, stage), stage=stage)

    def _add_scenario(self, found: Collected) -> None:
        scenario, stage = self._scenario, self._scenario.stage
        found.add("tickwire_scenario_queue_size", 0 if stage is None else stage.flow.queue.size)
        found.add("tickwire_scenario_queue_max", self._queue_max if stage is None else stage.flow.queue.limit)
        self._backpressure = max(self._backpressure, scenario.backpressure())
        found.add("tickwire_scenario_backpressure_seconds_total", self._backpressure)
        acted = scenario.faults()
        for kind in FAULT_KINDS:
            found.add("tickwire_scenario_faults_total", acted[kind], kind=kind)
        if stage is not None:
            found.add("tickwire_scenario_info", 1, name=stage.plan.scenario.name)


def _add_book(found: Collected, symbol: str, book: KeptBook) -> None:
    """Add the state and the levels; those of a book that is not live are not proven."""
    state, held = book.machine.state, book.machine.book.complete
    for each in State:
        found.add("tickwire_book_state", int(each is state), symbol=symbol, state=each.value)
    for side, levels in (("bids", held.bids), ("asks", held.asks)):
        found.add("tickwire_book_levels_held", levels, symbol=symbol, side=side)
        found.add("tickwire_book_complete_levels", levels if state is State.LIVE else 0, symbol=symbol, side=side)
