"""Bus → rooms. Subscribe, catch up from the streams, go on with the channels; a bad message is a counter and a log line."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from contextlib import closing
from itertools import islice

from api.hub.fanout import Fanout
from api.hub.messages import BadMessage, Message, decode
from api.hub.topic_log import Continuity, TopicLog
from db import topics
from db.bus import TAIL, Bus, BusError
from db.messages import Entry

log = logging.getLogger(__name__)

_LOG_EVERY = 60.0  # seconds between log lines about the same kind of bad message


class Relay:
    """Carries every message of the channels into the topic log and to the fan-out. One thread or greenlet runs it.

    `listeners` are parts of the hub itself that hear the messages of a channel, each right behind its broadcast; they must not wait.
    """

    def __init__(
        self, bus: Bus, topic_log: TopicLog, fanout: Fanout, known: Container[str], listeners: Mapping[str, Callable[[Message], None]]
    ) -> None:
        self._bus = bus
        self._log = topic_log
        self._fanout = fanout
        self._known = known
        self._listeners = listeners
        self._logged: dict[str, float] = {}  # kind of bad message -> when it was logged last
        self.connected = False
        self.loaded = False  # whether the log has been filled from the streams once: until then it can answer nobody
        self.relayed = 0
        self.skipped: Counter[str] = Counter()  # kind of bad message -> how many
        self.last_message: float | None = None  # monotonic time of the last message relayed

    def run(self, stop: threading.Event) -> None:
        """Relay until `stop` is set; a bus that is away is waited for."""
        attempt = 0
        while not stop.is_set():
            try:
                with closing(self._bus.subscribe()) as subscription:
                    self._catch_up()
                    self.connected = True
                    attempt = 0
                    log.info("relay connected")
                    while not stop.is_set():
                        # All that Redis has ready goes out together: batches as large as the load, and no timer when there is none.
                        for channel, body in subscription.read(wait=1.0):
                            self.receive(channel, body)
                        self._fanout.flush()
            except BusError as error:
                if self.connected or attempt == 0:
                    log.warning("relay lost the bus: %s", error)
            except Exception:
                log.exception("relay failed, connects anew")
            self.connected = False
            attempt += 1
            stop.wait(min(5.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311

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
        place = self._log.place(message)
        if place is Continuity.GAP:
            self._fill_gap(message)
        elif place is Continuity.NEXT and self._log.append(message):
            self._deliver(message)

    def _catch_up(self) -> None:
        """Relay what the streams hold beyond what the log has; the first time, only learn it: nobody is there yet."""
        for channel in topics.CHANNELS:
            self._catch_up_on(channel)
        if not self.loaded:
            self._log.seed_latest({name: body for name, body in self._bus.latest_prices().items() if name in self._known})
            self.loaded = True

    def _catch_up_on(self, channel: str) -> None:
        missed = []
        for entry in islice(self._bus.backwards(channel), TAIL):
            # Messages were relayed in the stream's order: behind one we have, there is none that we have not.
            if self._log.holds(channel, entry.topic, entry.epoch, entry.seq):
                break
            missed.append(entry)
        for entry in reversed(missed):
            self._take(channel, entry)
        self._fanout.flush()

    def _take(self, channel: str, entry: Entry) -> None:
        try:
            message = decode(channel, entry.body, self._known)
        except BadMessage as error:
            self._skip(channel, error.kind, str(error))
            return
        if message.epoch is not None and self._log.append(message) and self.loaded:
            self._deliver(message)

    def _fill_gap(self, message: Message) -> None:
        """The message does not follow: the stream has what is missing, and the message itself if it is one of ours."""
        self._catch_up_on(message.channel)
        if self._log.place(message) is not Continuity.SEEN:
            self._skip(message.channel, "unknown_sequence", f"{message.topic}: no entry with seq {message.seq} in the stream")

    def _deliver(self, message: Message) -> None:
        self._fanout.broadcast(message.rooms, message.frame)
        if listener := self._listeners.get(message.channel):
            listener(message)
        self.relayed += 1
        self.last_message = time.monotonic()

    def _skip(self, channel: str, kind: str, reason: str) -> None:
        self.skipped[kind] += 1
        now = time.monotonic()
        if now - self._logged.get(kind, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged[kind] = now
            log.warning(
                "skipped a bad message", extra={"channel": channel, "kind": kind, "reason": reason[:200], "so_far": self.skipped[kind]}
            )
