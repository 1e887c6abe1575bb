"""The status of the process `books` in a hub: its last heartbeat, judged as time passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from api.hub.books.alerts import Alert, book_alert, status_alert
from api.hub.books.states import BookState
from api.hub.messages import Message
from config.settings import Settings
from db.bus import Bus, BusError
from db.figures.server_status import server_status
from db.timestamps import parse_time
from health.reports import read_processes
from health.system.books import BOOKS_ROLE, configuration_of, scenario_of
from health.system.state import acting_process

WATCH_SECONDS = 0.2
REPORT_SECONDS = 1.0  # between two reads of the report of the process
ANSWER_SECONDS = 1.0  # for one answer of Redis: meanwhile the status is not judged

Body = Mapping[str, Any]


class StatusFeed:
    """Follows the status, as `/status` has it.

    `changes` receive the status if its `status` or `current_scenario` changes, and `alerts` each
    alert. No listener may wait. `begin` and `run` read the bus, no other method does. `clock`
    returns aware UTC.
    """

    def __init__(self, settings: Settings, bus: Bus, clock: Callable[[], datetime]) -> None:
        self.changes: list[Callable[[Body], None]] = []
        self.alerts: list[Callable[[Alert], None]] = []
        self._settings = settings
        self._configuration = configuration_of(settings)
        self._bus = bus.with_timeout(ANSWER_SECONDS)
        self._clock = clock
        self._heartbeat: Body | None = None  # the last one
        self._change: Body | None = None  # the last switch of the scenario
        self._part: Body | None = None  # of the process, in its report
        self._last: Body | None = None  # status that the listeners have

    def current(self) -> Body | None:
        """Return the status now; None before the first heartbeat."""
        if self._heartbeat is None:
            return None
        scenario = scenario_of(self._settings, self._heartbeat, self._change)
        return server_status({**self._heartbeat, "current_scenario": scenario}, self._part, self._configuration, self._clock())

    def begin(self) -> None:
        """Take the last messages of the bus, before the first client. Raises `BusError`."""
        self._heartbeat, self._change = self._bus.latest_heartbeat(), self._bus.latest_scenario_change()
        self.read_report()
        self._last = self.current()

    # messages

    def heartbeat(self, body: Body) -> None:
        """Take a heartbeat."""
        self._heartbeat = body
        self.tick()

    def scenario_changed(self, message: Message) -> None:
        """Take a switch of the scenario."""
        self._change = message.data
        self.tick()

    def book_state(self, state: BookState) -> None:
        """Take a change of the state of a book."""
        if alert := book_alert(state):
            self._alert(alert)

    # the loop

    def run(self, stop: threading.Event) -> None:
        """Judge the status, and read the report of the process, until `stop` is set.

        Without a heartbeat there is neither.
        """
        left = 0.0
        while not stop.is_set():
            if self._heartbeat is None:
                stop.wait(REPORT_SECONDS)
                continue
            if left <= 0:
                left = REPORT_SECONDS
                with suppress(BusError):  # the relay records the outage; the last report stays
                    self.read_report()
            self.tick()
            stop.wait(WATCH_SECONDS)
            left -= WATCH_SECONDS

    def tick(self) -> None:
        """Send the status and its alert if it has changed since the last call."""
        status, before = self.current(), self._last
        if status is None or (before is not None and _key(status) == _key(before)):
            return
        self._last = status
        for listener in self.changes:
            listener(status)
        if before is not None:
            interval = self._configuration.heartbeat_interval
            age = (self._clock() - parse_time(status["last_heartbeat"])).total_seconds()
            if alert := status_alert(before["status"], status, heartbeat_age=age, heartbeat_interval=interval):
                self._alert(alert)

    def read_report(self) -> None:
        """Read the report of the process. Raises `BusError`."""
        report = acting_process(read_processes(self._bus, self._clock()).expected(), BOOKS_ROLE)
        self._part = None if report is None else report.part(BOOKS_ROLE)

    def _alert(self, alert: Alert) -> None:
        for listener in self.alerts:
            listener(alert)


def _key(status: Body) -> tuple[str, str]:
    return status["status"], status["current_scenario"]
