"""Bus to rooms: subscribe, catch up from the streams, continue with the live messages.

A bad message is counted and logged, and the relay continues.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from types import MappingProxyType

from api.hub.channels import CHANNELS
from api.hub.fanout import Fanout
from api.hub.messages import BadMessage, Message, decode
from api.hub.relay.batches import BatchTimes
from api.hub.relay.lazy import LazyChannel, Wanted
from api.hub.relay.link import Link, Received
from api.hub.relay.streams import Streams
from api.hub.skips import MALFORMED, Skips
from api.hub.topic_log import Continuity, TopicLog
from api.hub.transport.websocket import Loop
from db import topics
from db.bus import Reader
from health.measures.stages import STAGES, Stages

log = logging.getLogger(__name__)

Listener = Callable[[Message], None]


class NeedsBus(Exception):
    """A message cannot be relayed without a read of Redis. It had no effect yet."""


class Relay:
    """Carries every message of the channels into the topic log and to the fan-out of its namespace.

    `loop` watches the connection to the bus. Its callback relays the messages and never waits. A
    message that needs a read of Redis waits for a greenlet, and so do all messages behind it.

    `listeners` are parts of the hub that receive the messages of a channel, in order, right after
    the broadcast. A listener must not wait. `needs_bus` has, for some channels, a function that
    returns True if a listener must read the bus for this message; then it is called in a greenlet.
    `process` returns the name of this process, by which hubs spread over the replicas of the bus.
    `wanted` has the topics that the listeners of a channel need. If a channel is not in it, every
    message of the channel is decoded.
    `checked` receives the messages of the channel of checks, which reach no client and no figure.
    `send_by_rights` sends the messages that have not exactly one room; without it, they go to every
    receiver. `begin` is called at the end of the first catch-up, and `caught_up` at the end of each
    one, this one included. Both may read the bus. `after_batch` are called after each batch of
    messages, for fan-outs that listeners use.
    """

    def __init__(
        self,
        bus: Reader,
        topic_log: TopicLog,
        fanouts: Mapping[str, Fanout],
        known: Container[str],
        listeners: Mapping[str, Sequence[Listener]],
        loop: Loop,
        checked: Callable[[bytes], None] = lambda body: None,
        send_by_rights: Listener | None = None,
        stages: Stages = STAGES,
        begin: Callable[[], None] = lambda: None,
        caught_up: Callable[[], None] = lambda: None,
        needs_bus: Mapping[str, Callable[[Message], bool]] = MappingProxyType({}),
        wanted: Mapping[str, Wanted] = MappingProxyType({}),
        process: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._bus = bus
        self._log = topic_log
        self._fanouts = fanouts  # namespace -> fan-out
        self._known = known
        self._listeners = listeners
        self._checked = checked
        self._send_by_rights = send_by_rights
        self.times = BatchTimes(stages, relayed=lambda: self.relayed)
        self._begin = begin
        self._caught_up = caught_up
        self._needs_bus = needs_bus
        topic_log.check = self._check_raw
        self._lazy = {
            name: LazyChannel(row, topic_log, known, fanouts[row.namespace], wanted[name])
            for name, row in CHANNELS.items()
            if row.lazy_head and name in wanted
        }
        self._link = Link(lambda: bus.subscribe((*CHANNELS, topics.HEALTH), process()), self, loop)
        self.after_batch: list[Callable[[], None]] = []
        for fanout in fanouts.values():
            fanout.after_interval(self.times.end)
        self._skips = Skips()
        self.skipped = self._skips.counts  # kind of bad message -> number
        self.skipped_by_channel = self._skips.by_channel
        self.relayed_by_channel = dict.fromkeys(CHANNELS, 0)
        self._counted = [name for name, row in CHANNELS.items() if row.counted]
        self._streams = Streams(bus, topic_log, self._skips, known, self._relay_entry, self._flush, self._finish)
        self.loaded = False  # True after the first catch-up: an empty log can serve no client
        self.last_message: float | None = None  # monotonic time of the last message relayed

    @property
    def relayed(self) -> int:
        """The number of messages relayed, without channels that are not counted."""
        return sum(map(self.relayed_by_channel.__getitem__, self._counted))

    @property
    def connected(self) -> bool:
        """True if the messages of the bus arrive."""
        return self._link.connected

    @property
    def connections(self) -> int:
        """The number of connections to the bus since the start."""
        return self._link.connections

    def run(self, stop: threading.Event) -> None:
        """Relay until `stop` is set; after a failure, connect again with back-off."""
        self._link.run(stop)

    # for the link

    def take(self, messages: Sequence[Received]) -> Sequence[Received]:
        """Relay messages without a read of Redis. Return those from the first one that needs it.

        All messages that Redis has ready go out together. The size of a batch follows the load, and
        an idle hub needs no timer.
        """
        self.times.begin()
        lazy = self._lazy
        left: Sequence[Received] = ()
        remaining = iter(messages)
        for channel, body in remaining:
            if (each := lazy.get(channel)) is None or not each.hold(body):
                try:
                    self.receive(channel, body)
                except NeedsBus:
                    left = [(channel, body), *remaining]
        self._count_kept(messages)
        self._flush()
        return left

    def take_with_reads(self, messages: Sequence[Received]) -> None:
        """Relay messages; read Redis if one needs it."""
        self.times.begin()
        for channel, body in messages:
            self.receive(channel, body, may_read=True)
        self._flush()

    def catch_up(self) -> None:
        """Relay the stream entries that follow the log.

        The first time, only fill the log: no client is connected yet.
        """
        self._streams.catch_up()

    def _count_kept(self, messages: Sequence[Received]) -> None:
        """Count those of the messages that were kept undecoded."""
        for name, each in self._lazy.items():
            if each.kept:
                self.relayed_by_channel[name] += each.kept
                self.last_message = time.monotonic()
                self.times.note_raw(name, next(body for channel, body in messages if channel == name))
                each.kept = 0

    def _note_lazy(self, message: Message) -> None:
        if (lazy := self._lazy.get(message.row.stream.name)) is not None:
            lazy.note(message)

    def _check_raw(self, channel: str, topic: str, epoch: str, seq: int, body: bytes) -> bytes | None:
        """Decode a message that was kept undecoded. Count a bad one and return None."""
        try:
            message = decode(channel, body, self._known)
            if (message.topic, message.epoch, message.seq) != (topic, epoch, seq):
                raise BadMessage(MALFORMED, "the end of the message contradicts its content")
        except BadMessage as error:
            self._skips.live(channel, body, error)
            return None
        return message.frame.wire

    # one message

    def receive(self, channel: str, body: bytes, *, may_read: bool = False) -> None:
        """Relay one message of a channel, unless it is bad or was relayed already.

        Raises `NeedsBus` if it needs a read of Redis, unless it `may_read`.
        """
        if channel == topics.HEALTH:
            self._checked(body)
            return
        try:
            message = decode(channel, body, self._known)
        except BadMessage as error:
            self._skips.live(channel, body, error)
            return
        self._relay(message, may_read=may_read)

    def _relay(self, message: Message, *, may_read: bool) -> None:
        if not message.row.broadcast:
            if (needs := self._needs_bus.get(message.channel)) is not None and needs(message):
                self._check_may(read=may_read)
            self._deliver(message)
            return
        if message.epoch is None:
            self._log.note_foreign(message)
            self._deliver(message)
            return
        continuity = self._log.continuity(message)
        if continuity is Continuity.SEEN:
            if self._log.body(message.channel, message.topic, message.epoch, message.seq) != message.body:
                self._check_may(read=may_read)
                self._streams.check_seen(message)
        elif continuity is Continuity.GAP and message.row.stream.tail:
            self._check_may(read=may_read)
            self._streams.fill_gap(message)
        elif self._log.append(message, continuity):
            self._note_lazy(message)
            self._deliver(message)

    @staticmethod
    def _check_may(*, read: bool) -> None:
        if not read:
            raise NeedsBus

    # for the streams

    def _relay_entry(self, message: Message) -> None:
        """Relay a message of a stream that was appended to the log."""
        self._note_lazy(message)
        if self.loaded:
            self._deliver(message)

    def _finish(self) -> None:
        """Finish a catch-up on all streams."""
        self._caught_up()
        self._flush()
        if not self.loaded:
            self._log.seed_latest({name: body for name, body in self._bus.latest_prices().items() if name in self._known})
            self._begin()
            self.loaded = True

    def _deliver(self, message: Message) -> None:
        if message.row.broadcast:
            self._broadcast(message)
        name = message.row.stream.name
        self.relayed_by_channel[name] += 1
        if message.row.counted:
            self.last_message = time.monotonic()
        for listener in self._listeners.get(name, ()):
            try:
                listener(message)
            except Exception:
                log.exception("a listener failed", extra={"channel": message.channel, "topic": message.topic})
        self.times.note(message)

    def _broadcast(self, message: Message) -> None:
        if self._send_by_rights is None or len(message.rooms) == 1:
            self._fanouts[message.row.namespace].broadcast(message.rooms, message.frame)
        else:
            self._send_by_rights(message)

    def _flush(self) -> None:
        waits = False
        for fanout in self._fanouts.values():
            if fanout.waits:
                fanout.flush()
                waits = waits or fanout.waits
        for function in self.after_batch:
            function()
        if not waits:
            self.times.end()
