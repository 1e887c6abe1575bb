"""Events that connect a source to the gap filler of its venue."""

from __future__ import annotations

import threading


class SourceEvents:
    """One event per source, set when the source connects or disconnects; it wakes the gap filler.

    An event stays set until its gap filler consumes it.
    """

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}  # name of the source -> event

    def event(self, name: str) -> threading.Event:
        """The event of the source `name`; always the same object for one name."""
        return self._events.setdefault(name, threading.Event())

    def set(self, name: str) -> None:
        """Set the event of the source `name`."""
        self.event(name).set()
