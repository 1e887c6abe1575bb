"""An event loop without time, whose calls the test makes."""

from __future__ import annotations

import heapq
import socket
from collections.abc import Callable
from itertools import count
from typing import Any


class ScriptedListener:
    """The registration of a socket; `stops` counts the calls of `stop`."""

    def __init__(self, readable: Callable[[], None], on_stop: Callable[[], None]) -> None:
        self.readable = readable
        self.stops = 0
        self._on_stop = on_stop

    def stop(self) -> None:
        self.stops += 1
        self._on_stop()


class ScriptedLoop:
    """A loop for parts that watch sockets for reading.

    `turn` runs the spawned greenlets, each to its end. `advance` moves the time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.listeners: list[ScriptedListener] = []
        self.spawned: list[Callable[[], None]] = []
        self.running = 0  # greenlets
        self.most_running = 0
        self.pauses = 0
        self.on_stop: Callable[[], None] = lambda: None
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def watch_reading(self, sock: socket.socket, readable: Callable[[], None]) -> ScriptedListener:
        listener = ScriptedListener(readable, lambda: self.on_stop())
        self.listeners.append(listener)
        return listener

    def spawn(self, function: Callable[[], None]) -> None:
        self.spawned.append(function)

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), function))

    def pause(self, seconds: float) -> None:
        self.pauses += 1

    def watch(self, sock: socket.socket, readable: Callable[[], None], writable: Callable[[], None]) -> Any:
        raise NotImplementedError

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        raise NotImplementedError

    def busy(self) -> bool:
        return False

    # for tests

    def readable(self) -> None:
        """Call the callback of every watched socket."""
        for listener in list(self.listeners):
            if not listener.stops:
                listener.readable()

    def turn(self) -> None:
        """Run the spawned greenlets."""
        while self.spawned:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                self.spawned.pop(0)()
            finally:
                self.running -= 1

    def advance(self, seconds: float) -> None:
        """Let the timers of this time run, and the greenlets that they spawn."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, function = heapq.heappop(self._timers)
            function()
            self.turn()
        self.now = end
