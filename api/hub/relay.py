"""Bus to rooms: subscribe, catch up from the streams, continue with the live messages.

A bad message is counted and logged, and the relay continues.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import closing
from itertools import islice

from api.hub.channels import CHANNELS, Channel
from api.hub.fanout import Fanout
from api.hub.messages import BadMessage, Message, decode
from api.hub.topic_log import Continuity, TopicLog
from config.pacing import Outage, Throttle, backoff
from db.bus import BusError, Reader, Subscription
from db.messages import Entry

log = logging.getLogger(__name__)

BUS_POLL_SECONDS = 1.0  # between two checks whether the relay must stop
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.2, 5.0

Listener = Callable[[Message], None]


class Relay:
    """Carries every message of the channels into the topic log and to the fan-out of its namespace.

    One thread or greenlet runs it. `listeners` are parts of the hub that receive the messages of a
    channel, in order, right after the broadcast. A listener must not wait.
    """

    def __init__(
        self,
        bus: Reader,
        topic_log: TopicLog,
        fanouts: Mapping[str, Fanout],
        known: Container[str],
        listeners: Mapping[str, Sequence[Listener]],
    ) -> None:
        self._bus = bus
        self._log = topic_log
        self._fanouts = fanouts  # namespace -> fan-out
        self._known = known
        self._listeners = listeners
        self._skips = Throttle(monotonic=time.monotonic)
        self.connected = False
        self.loaded = False  # True after the first catch-up: an empty log can serve no client
        self.relayed = 0
        self.skipped: Counter[str] = Counter()  # kind of bad message -> count
        self.last_message: float | None = None  # monotonic time of the last message relayed

    def run(self, stop: threading.Event) -> None:
        """Relay until `stop` is set; after a failure, connect again with back-off."""
        outage = Outage(log, "relay lost the bus", monotonic=time.monotonic)
        attempt = 0
        while not stop.is_set():
            try:
                with closing(self._bus.subscribe(tuple(CHANNELS))) as subscription:
                    self._catch_up()
                    self.connected = True
                    attempt = 0
                    outage.recovered()
                    log.info("relay connected")
                    self._relay_from(subscription, stop)
            except BusError as error:
                outage.failed(error)
            except Exception:
                log.exception("relay failed, connects again")
            self.connected = False
            attempt += 1
            jitter = random.random()  # noqa: S311
            stop.wait(backoff(attempt, first=FIRST_RETRY_SECONDS, longest=MAX_RETRY_SECONDS, jitter=jitter, spread=0.5))

    def _relay_from(self, subscription: Subscription, stop: threading.Event) -> None:
        """Relay live messages until `stop` is set.

        All messages that Redis has ready go out together. The size of a batch follows the load, and
        an idle hub needs no timer.
        """
        while not stop.is_set():
            for channel, body in subscription.read(wait=BUS_POLL_SECONDS):
                self.receive(channel, body)
            self._flush()

    def receive(self, channel: str, body: bytes) -> None:
        """Relay one message of a channel, unless it is bad or was relayed already."""
        try:
            message = decode(channel, body, self._known)
        except BadMessage as error:
            self._skip(channel, error.kind, str(error))
            return
        if message.epoch is None:
            self._log.note_foreign(message)
            self._deliver(message)
            return
        continuity = self._log.continuity(message)
        if continuity is Continuity.GAP and message.row.stream.tail:
            self._fill_gap(message)
        elif self._log.append(message, continuity):
            self._deliver(message)

    def _catch_up(self) -> None:
        """Relay the stream entries that follow the log.

        The first time, only fill the log: no client is connected yet.
        """
        for row in CHANNELS.values():
            self._catch_up_on(row)
        if not self.loaded:
            self._log.seed_latest({name: body for name, body in self._bus.latest_prices().items() if name in self._known})
            self.loaded = True

    def _catch_up_on(self, row: Channel) -> None:
        missed = []
        for entry in islice(self._bus.backwards(row.name), row.stream.tail):
            # Messages are relayed in the order of the stream: all older entries are in the log too.
            if self._log.holds(row.name, entry.topic, entry.epoch, entry.seq):
                break
            missed.append(entry)
        for entry in reversed(missed):
            self._take(row.name, entry)
        self._flush()

    def _take(self, channel: str, entry: Entry) -> None:
        try:
            message = decode(channel, entry.body, self._known)
        except BadMessage as error:
            self._skip(channel, error.kind, str(error))
            return
        if message.epoch is not None and self._log.append(message, self._log.continuity(message)) and self.loaded:
            self._deliver(message)

    def _fill_gap(self, message: Message) -> None:
        """Catch up from the stream, which has the missing messages and this one.

        A message with a `seq` that the stream does not have is bad.
        """
        self._catch_up_on(message.row)
        if self._log.continuity(message) is not Continuity.SEEN:
            self._skip(message.channel, "unknown_sequence", f"{message.topic}: no entry with seq {message.seq} in the stream")

    def _deliver(self, message: Message) -> None:
        self._fanouts[message.row.namespace].broadcast(message.rooms, message.frame)
        for listener in self._listeners.get(message.row.stream.name, ()):
            try:
                listener(message)
            except Exception:
                log.exception("a listener failed", extra={"channel": message.channel, "topic": message.topic})
        self.relayed += 1
        self.last_message = time.monotonic()

    def _flush(self) -> None:
        for fanout in self._fanouts.values():
            fanout.flush()

    def _skip(self, channel: str, kind: str, reason: str) -> None:
        self.skipped[kind] += 1
        if self._skips.due(kind) is not None:
            log.warning(
                "skipped a bad message", extra={"channel": channel, "kind": kind, "reason": reason[:200], "so_far": self.skipped[kind]}
            )
