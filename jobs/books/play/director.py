"""The wanted scenario: read from the bus, made ready, offered to the worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from config.pacing import Outage, StopSignal
from db.bus import BusError
from db.bus.books import Books
from db.postgres import Store, StoreError
from db.scenario_runs import find_run
from db.scenarios.fields import ScenarioError
from jobs.books.play.plan import Plan, PlanMaker, with_new_run
from jobs.books.play.slow_clients import SlowClients

log = logging.getLogger("jobs.books")

READ_SECONDS = 0.25  # of one wait for a command
LOOK_SECONDS = 2.0  # between two reads of the key, for a command that was missed
RETRY_SECONDS = 1.0


class Director:
    """Offers the plan of each wanted scenario; `name` is that of the setting `SCENARIO`.

    After a restart the process continues with the wanted scenario, as another run. `previous` is
    called with the scenario of the process before. `slow_clients` gives the number of own clients
    that must stop reading now. `problem` is the fault of the newest wanted scenario, None if it has
    none.
    """

    def __init__(
        self,
        bus: Books,
        store: Store,
        maker: PlanMaker,
        name: str,
        *,
        offer: Callable[[Plan], None],
        previous: Callable[[str], None],
        clients: SlowClients,
        slow_clients: Callable[[], int],
    ) -> None:
        self.problem: str | None = None
        self._bus = bus
        self._store = store
        self._maker = maker
        self._name = name
        self._offer = offer
        self._previous = previous
        self._clients = clients
        self._slow_clients = slow_clients
        self._handled: str | None = None  # run_id of the newest wanted scenario
        self._has_begun = False
        self._outage = Outage(log, "no commands of scenarios without the bus", monotonic=time.monotonic)

    def run(self, stop: StopSignal) -> None:
        """Offer plans until `stop` is set."""
        try:
            while not stop.is_set():
                try:
                    self._listen(stop)
                except BusError as error:
                    self._outage.failed(error)
                    stop.wait(RETRY_SECONDS)
        finally:
            self._clients.set(0)

    def _listen(self, stop: StopSignal) -> None:
        with closing(self._bus.subscribe_scenario()) as subscription:
            due = time.monotonic()
            while not stop.is_set():
                if subscription.read(READ_SECONDS) or time.monotonic() >= due:
                    self.look()
                    due = time.monotonic() + LOOK_SECONDS
                    self._outage.recovered()
                self._clients.set(self._slow_clients())

    def look(self) -> None:
        """Read the wanted scenario, and offer its plan if it is another one. Raises `BusError`."""
        wanted = self._bus.wanted_scenario()
        if not self._has_begun:
            self._begin(wanted)
        elif wanted is not None and wanted.get("run_id") != self._handled:
            self._handled = wanted.get("run_id")
            self._try(lambda: self._maker.of_command(wanted))

    def _begin(self, wanted: Mapping[str, Any] | None) -> None:
        latest = self._bus.latest_scenario_change()
        if latest is not None and isinstance(latest.get("current_scenario"), str):
            self._previous(latest["current_scenario"])
        self._has_begun = True
        if wanted is not None:
            self._handled = wanted.get("run_id")
            was_played = self._was_played(str(self._handled), latest)
            if self._try(lambda: self._continued(wanted, was_played)):
                return
        self._try(lambda: self._maker.of_name(self._name))

    def _continued(self, wanted: Mapping[str, Any], was_played: bool) -> Plan:
        plan = self._maker.of_command(wanted)
        return with_new_run(plan) if was_played else plan

    def _was_played(self, run_id: str, latest: Mapping[str, Any] | None) -> bool:
        """True if the run has begun before, and if that is unknown: a run is never begun twice."""
        if latest is not None and latest.get("run_id") == run_id:
            return True
        try:
            with self._store.transaction() as cursor:
                return find_run(cursor, run_id) is not None
        except StoreError as error:
            log.warning("the wanted scenario continues as another run", extra={"run_id": run_id, "reason": str(error)})
            return True

    def _try(self, make: Callable[[], Plan]) -> bool:
        try:
            plan = make()
        except ScenarioError as error:
            log.error("the wanted scenario cannot be played", extra={"reason": str(error)})
            self.problem = str(error)
            return False
        self.problem = None
        self._offer(plan)
        return True
