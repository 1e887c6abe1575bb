"""The subscription of the relay. The loop watches its sockets: messages wake no greenlet.

There is one socket for each server of the bus. The loss of one is the loss of all.

| state | callback of a socket | next state |
| --- | --- | --- |
| connecting | none | reading: a greenlet has connected and subscribed |
| reading | puts messages into the backlog | live: the greenlet has emptied the backlog |
| live | handles messages | reading: a message needs a read of Redis |
| reading, live | | connecting: an error, or silence |

The callback never waits. All reads of Redis happen in the greenlet, of which there is at most one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, Protocol

from api.hub.transport.websocket import Listener, Loop
from config.pacing import Outage, backoff
from db.bus import BusError, Subscription, Subscriptions
from db.topics import STREAM_TAIL_ENTRIES

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, RETRY_SPREAD = 0.2, 5.0, 0.5
PROBE_SECONDS = 5.0  # between two checks of the silence
PING_AFTER_SECONDS = 10.0
LOST_AFTER_SECONDS = 30.0
MAX_BACKLOG = STREAM_TAIL_ENTRIES  # beyond it, the streams have the messages
_STOP_POLL_SECONDS = 1.0
_MESSAGES_PER_TURN = 500  # of the backlog, before other greenlets run

Received = tuple[str, bytes]  # channel, body


class State(Enum):
    """The state of the connection."""

    CONNECTING = "connecting"
    READING = "reading"
    LIVE = "live"


class Handler(Protocol):
    """The receiver of the messages. All methods flush at their end."""

    def catch_up(self) -> None:
        """Relay the missed messages of all streams. Runs in a greenlet; raises `BusError`."""

    def take(self, messages: Sequence[Received]) -> Sequence[Received]:
        """Relay messages without a read of Redis. Return those from the first one that needs it."""

    def take_with_reads(self, messages: Sequence[Received]) -> None:
        """Relay messages. Runs in a greenlet; raises `BusError`."""


class _Socket:
    """One connection of the subscription, with the times of its silence."""

    __slots__ = ("checked", "heard", "listener", "part")

    def __init__(self, part: Subscription, now: float) -> None:
        self.part = part
        self.heard = now  # time of the last bytes
        self.checked = now  # time of the last check of the silence
        self.listener: Listener | None = None


class Link:
    """The subscription and its states. `now` is a monotonic clock in seconds.

    `subscribe` returns a new subscription. It runs in a greenlet and raises `BusError`.
    """

    def __init__(
        self, subscribe: Callable[[], Subscriptions], handler: Handler, loop: Loop, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._subscribe = subscribe
        self._handler = handler
        self._loop = loop
        self._now = now
        self.state = State.CONNECTING
        self.connections = 0  # that have caught up, since the start
        self._number = 0  # of the present connection: callbacks of earlier ones have no effect
        self._sockets: list[_Socket] = []  # empty: not subscribed
        self._backlog: deque[Received] = deque()
        self._working = False  # a greenlet runs
        self._stopped = False
        self._end: BaseException | None = None  # that no `except Exception` stops
        self._attempt = 0
        self._outage = Outage(log, "relay lost the bus", monotonic=now)

    @property
    def connected(self) -> bool:
        """True if messages arrive."""
        return self.state is not State.CONNECTING

    def run(self, stop: threading.Event) -> None:
        """Stay connected until `stop` is set. Raises the exception that ended the handler."""
        self.begin()
        while not stop.wait(_STOP_POLL_SECONDS):
            if self._end is not None:
                raise self._end
        self.close()

    def begin(self) -> None:
        """Connect, now and after each loss."""
        if self._working:  # for an earlier connection
            self._loop.call_later(FIRST_RETRY_SECONDS, self.begin)
        elif not self._stopped:
            self._spawn()

    def close(self) -> None:
        """Close the connection for good."""
        self._stopped = True
        self._drop()

    # the greenlet

    def _spawn(self) -> None:
        self._working = True
        self._loop.spawn(partial(self._work, self._number))

    def _work(self, number: int) -> None:
        try:
            self._guarded(number, self._connect_and_empty, number)
        finally:
            self._working = False

    def _connect_and_empty(self, number: int) -> None:
        """Connect if there is no connection, then empty the backlog."""
        if number == self._number and not self._sockets:
            self._connect(number, self._subscribe())
            if number == self._number:
                self._handler.catch_up()
                self._caught_up(number)
        self._empty(number)

    def _connect(self, number: int, subscriptions: Subscriptions) -> None:
        if number != self._number:  # closed meanwhile
            subscriptions.close()
            return
        self._sockets = [_Socket(part, self._now()) for part in subscriptions.parts]
        self.state = State.READING
        for each in self._sockets:
            each.listener = self._loop.watch_reading(each.part.sock, partial(self._readable, number, each))
            self._loop.call_later(PROBE_SECONDS, partial(self._probe, number, each))
        for each in self._sockets:
            self._readable(number, each)  # messages that came together with the confirmation

    def _caught_up(self, number: int) -> None:
        if number == self._number:
            self.connections += 1
            self._attempt = 0
            self._outage.recovered()
            log.info("relay connected")

    def _empty(self, number: int) -> None:
        """Handle the backlog in order. The connection is live as soon as it is empty."""
        while number == self._number and self._backlog:
            turn = [self._backlog.popleft() for _ in range(min(len(self._backlog), _MESSAGES_PER_TURN))]
            self._handler.take_with_reads(turn)
            if self._backlog:
                self._loop.pause(0)
        if number == self._number:
            self.state = State.LIVE

    # callbacks of the loop

    def _readable(self, number: int, each: _Socket) -> None:
        """Take the messages that are ready. eventlet stops watching after an exception."""
        self._guarded(number, self._receive, number, each)

    def _receive(self, number: int, each: _Socket) -> None:
        if number != self._number:
            return
        messages: Sequence[Received] = each.part.receive()
        each.heard = self._now()
        if self.state is State.LIVE and messages:
            messages = self._handler.take(messages)
            if messages:
                self.state = State.READING
                self._spawn()
        self._backlog += messages
        if len(self._backlog) > MAX_BACKLOG:
            log.warning("relay backlog full, reconnects", extra={"messages": len(self._backlog)})
            self._reconnect(number)

    def _probe(self, number: int, each: _Socket) -> None:
        """Send a PING after a silence, and reconnect if it lasts: a peer may vanish without a FIN.

        After a pause of this process the silence counts from now on, because bytes may wait in the
        socket.
        """
        if number != self._number:
            return
        now = self._now()
        if now - each.checked > 2 * PROBE_SECONDS:
            each.heard = now
        each.checked = now
        silence = now - each.heard
        if silence > LOST_AFTER_SECONDS:
            self._lose(number, BusError("the bus is silent"))
            return
        if silence >= PING_AFTER_SECONDS:
            try:
                each.part.ping()
            except BusError as error:
                self._lose(number, error)
                return
        self._loop.call_later(PROBE_SECONDS, partial(self._probe, number, each))

    # losses

    def _guarded(self, number: int, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function of connection `number`, which an error ends."""
        try:
            function(*arguments)
        except BusError as error:
            self._lose(number, error)
        except Exception as error:
            self._lose(number, error)
            log.exception("relay failed, connects again")
        except BaseException as error:
            self._lose(number, error)
            raise

    def _lose(self, number: int, error: BaseException) -> None:
        """End connection `number` because of an error, unless it has ended already."""
        if number != self._number:
            return
        if isinstance(error, BusError):
            self._outage.failed(error)
        elif not isinstance(error, Exception):
            self._end, self._stopped = error, True
        self._reconnect(number)

    def _reconnect(self, number: int) -> None:
        self._drop()
        self._attempt += 1
        jitter = random.random()  # noqa: S311
        delay = backoff(self._attempt, first=FIRST_RETRY_SECONDS, longest=MAX_RETRY_SECONDS, jitter=jitter, spread=RETRY_SPREAD)
        self._loop.call_later(delay, self.begin)

    def _drop(self) -> None:
        """Forget the sockets. The listeners go first: the descriptors may be reused at once."""
        sockets, self._sockets = self._sockets, []
        self.state = State.CONNECTING
        self._number += 1
        self._backlog.clear()
        for each in sockets:
            if each.listener is not None:
                each.listener.stop()
        for each in sockets:
            each.part.close()
