"""Publishes the events of the circuit breakers: `connection_lost` and `connection_restored`."""

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


class ConnectionWatcher:
    """Takes the events of the collector of the system, and keeps them until the bus takes them.

    The loss of Redis is therefore published when Redis is back, with the time of the loss.
    """

    def __init__(self, context: ObserverContext, collectors: Mapping[str, Collector]) -> None:
        self._bus = context.bus
        self._collectors = [each for each in collectors.values() if isinstance(each, SystemCollector)]
        self._waiting: deque[Event] = deque(maxlen=_MOST_EVENTS)

    def each_second(self, now: datetime) -> None:
        """Publish the events that wait, in their order."""
        for collector in self._collectors:
            self._waiting.extend(map(_event, collector.take_events()))
        if not self._waiting:
            return
        try:
            self._bus.publish_events(list(self._waiting))
        except BusError:
            return  # the circuit breakers note it, and the events wait for the next second
        self._waiting.clear()


def _event(found: ConnectionEvent) -> Event:
    event_id = f"{found.component}:{found.event_type}:{int(found.time.timestamp() * 1000)}"
    return system_event(event_id, found.event_type, found.time, found.component, found.status, found.message, found.details)
