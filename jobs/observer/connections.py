"""Publishes the events of the system: lost and restored connections, collectors that fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime

from db.bus import BusError
from jobs.observer.collectors.base import Collector, ObserverContext
from jobs.observer.collectors.remote import ConnectionEvent
from jobs.observer.collectors.system import SystemCollector
from jobs.observer.events import Event, system_event

_MOST_EVENTS = 100  # that wait for the bus


class SystemEventWatcher:
    """Takes the events of the circuit breakers and the failures of the collectors.

    It keeps the events until the bus takes them. The loss of Redis is therefore published when
    Redis is back, with the time of the loss.
    """

    def __init__(self, context: ObserverContext, collectors: Mapping[str, Collector]) -> None:
        self._bus = context.bus
        self._collectors = collectors
        self._errors = dict.fromkeys(collectors, 0)  # section -> errors a second ago
        self._failing: set[str] = set()  # sections that had an error then
        self._waiting: deque[Event] = deque(maxlen=_MOST_EVENTS)

    def each_second(self, now: datetime) -> None:
        """Publish the events that wait, in their order."""
        for name, collector in self._collectors.items():
            if isinstance(collector, SystemCollector):
                self._waiting.extend(map(_event, collector.take_events()))
            self._note_failure(name, collector, now)
        if not self._waiting:
            return
        try:
            self._bus.publish_events(list(self._waiting))
        except BusError:
            return  # the circuit breakers note it, and the events wait for the next second
        self._waiting.clear()

    def _note_failure(self, name: str, collector: Collector, now: datetime) -> None:
        """Note the beginning of a failure; it ends with a second without an error."""
        errors = int(collector.get_statistics()["errors"])
        fails = errors > self._errors[name] or (name in self._failing and collector.get_status() == "error")
        self._errors[name] = errors
        if not fails:
            self._failing.discard(name)
        elif name not in self._failing:
            self._failing.add(name)
            event_id = f"collector:{name}:{int(now.timestamp() * 1000)}"
            message = f"The collector {name} fails; its section keeps its last values."
            self._waiting.append(system_event(event_id, "component_error", now, name, "error", message, {"errors": errors}))


def _event(found: ConnectionEvent) -> Event:
    event_id = f"{found.component}:{found.event_type}:{int(found.time.timestamp() * 1000)}"
    return system_event(event_id, found.event_type, found.time, found.component, found.status, found.message, found.details)
