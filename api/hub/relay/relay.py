"""Bus to rooms: subscribe, catch up from the streams, continue with the live messages.

A bad message is counted and logged, and the relay continues.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from itertools import islice
from types import MappingProxyType

from api.hub.channels import CHANNELS, Channel
from api.hub.fanout import Fanout
from api.hub.messages import BadMessage, Message, decode
from api.hub.relay.batches import BatchTimes
from api.hub.relay.link import Link, Received
from api.hub.skips import MALFORMED, Skips
from api.hub.topic_log import Continuity, TopicLog
from api.hub.transport.websocket import Loop
from db import topics
from db.bus import Reader
from db.messages import Entry
from health.measures.stages import STAGES, Stages

log = logging.getLogger(__name__)

_RECENT_ENTRIES = 1_000  # of a stream, among which a message that was just published must be
_ENDED_EPOCHS = 64

Listener = Callable[[Message], None]


class NeedsBus(Exception):
    """A message cannot be relayed without a read of Redis. It had no effect yet."""


class LostData(Exception):
    """The bus has gone back: a number of `epoch` has another content than before."""

    def __init__(self, epoch: str, **fields: object) -> None:
        super().__init__(epoch)
        self.epoch = epoch
        self.fields = {"epoch": epoch, **fields}


class Relay:
    """Carries every message of the channels into the topic log and to the fan-out of its namespace.

    `loop` watches the connection to the bus. Its callback relays the messages and never waits. A
    message that needs a read of Redis waits for a greenlet, and so do all messages behind it.

    `listeners` are parts of the hub that receive the messages of a channel, in order, right after
    the broadcast. A listener must not wait. `needs_bus` has, for some channels, a function that
    returns True if a listener must read the bus for this message; then it is called in a greenlet.
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
    ) -> None:
        self._bus = bus
        self._log = topic_log
        self._fanouts = fanouts  # namespace -> fan-out
        self._known = known
        self._listeners = listeners
        self._checked = checked
        self._send_by_rights = send_by_rights
        self.times = BatchTimes(stages)
        self._begin = begin
        self._caught_up = caught_up
        self._needs_bus = needs_bus
        self._link = Link(lambda: bus.subscribe((*CHANNELS, topics.HEALTH)), self, loop)
        self.after_batch: list[Callable[[], None]] = []
        for fanout in fanouts.values():
            fanout.after_interval(self._sent)
        self._skips = Skips()
        self.skipped = self._skips.counts  # kind of bad message -> number
        self.skipped_by_channel = self._skips.by_channel
        self.relayed_by_channel = dict.fromkeys(CHANNELS, 0)
        self._present: str | None = None  # epoch of the bus, as far as this relay has seen it
        self._ended: deque[str] = deque(maxlen=_ENDED_EPOCHS)
        self._searched: dict[str, bytes] = {}  # channel -> newest entry of the last complete search
        self.loaded = False  # True after the first catch-up: an empty log can serve no client
        self.last_message: float | None = None  # monotonic time of the last message relayed

    @property
    def relayed(self) -> int:
        """The number of messages relayed, without channels that are not counted."""
        return sum(count for name, count in self.relayed_by_channel.items() if CHANNELS[name].counted)

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
        done = 0
        try:
            for channel, body in messages:
                self.receive(channel, body)
                done += 1
        except NeedsBus:
            pass
        self._flush()
        return messages[done:]

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
        try:
            self._catch_up()
        except LostData as lost:
            self._begin_again(lost)

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
        try:
            self._relay(message, may_read=may_read)
        except LostData as lost:
            self._begin_again(lost)

    def _relay(self, message: Message, *, may_read: bool) -> None:
        """Relay one message. Raises `LostData` and `NeedsBus`."""
        if not message.row.broadcast:
            if not may_read and (needs := self._needs_bus.get(message.channel)) is not None and needs(message):
                raise NeedsBus
            self._deliver(message)
            return
        if message.epoch is None:
            self._log.note_foreign(message)
            self._deliver(message)
            return
        continuity = self._log.continuity(message)
        if continuity is Continuity.SEEN:
            self._check_seen(message, may_read=may_read)
        elif continuity is Continuity.GAP and message.row.stream.tail:
            if not may_read:
                raise NeedsBus
            self._fill_gap(message)
        elif self._log.append(message, continuity):
            self._deliver(message)

    def _check_seen(self, message: Message, *, may_read: bool) -> None:
        """Raise `LostData` if a message whose number was relayed already is a new one.

        A message of a relay that has just caught up comes a second time, with the same bytes.
        """
        channel, topic = message.channel, message.topic
        known = self._log.body(channel, topic, message.epoch, message.seq)
        if known == message.body:
            return
        if not may_read:
            raise NeedsBus
        at, head = self._bus.position(channel, topic), self._log.head(channel, topic)
        if (at is not None and at.epoch == message.epoch and at.seq < head) or (known is not None and self._is_in_stream(message)):
            raise LostData(str(message.epoch), channel=channel, topic=topic, seq=message.seq, known=head)
        if known is not None:
            self._skips.add(channel, "unknown_sequence", f"{topic}: seq {message.seq} has other content in the stream")

    def _is_in_stream(self, message: Message) -> bool:
        entries = islice(self._bus.backwards(message.channel), _RECENT_ENTRIES)
        return any(entry.body == message.body for entry in entries)

    def _begin_again(self, lost: LostData) -> None:
        """Continue in a new epoch, without the messages of the epoch in which data were lost."""
        present = self._bus.renew_epoch(lost.epoch)
        log.error("the bus has lost data", extra={**lost.fields, "new_epoch": present})
        if lost.epoch not in self._ended:
            self._ended.append(lost.epoch)
        self._present = None
        self._log.forget()
        self._searched.clear()
        self._catch_up()

    def _catch_up(self) -> None:
        """Catch up on all channels. Raises `LostData`."""
        before, present = self._present, self._bus.epoch()
        if present is not None and present in self._ended:
            raise LostData(present)
        self._present = present or before
        # First: a client may resume in the new epoch while the other channels are read.
        self._log.begin(self._present)
        for row in CHANNELS.values():
            self._catch_up_on(row)
        if before not in (None, self._present):
            log.warning("the bus began a new epoch", extra={"epoch": self._present, "before": before})
            self._ended.append(str(before))
        self._caught_up()
        self._flush()
        if not self.loaded:
            self._log.seed_latest({name: body for name, body in self._bus.latest_prices().items() if name in self._known})
            self._begin()
            self.loaded = True

    def _catch_up_on(self, row: Channel, gap: Message | None = None) -> None:
        """Relay the missed entries of a stream. Raises `LostData`.

        After a loss of the connection, the first entry in the log ends the search: older entries
        were relayed before it. With `gap`, only one message may be missing, and later ones of other
        topics were relayed. Then the search ends at the topic of `gap`. In any case it ends at the
        newest entry of the last complete search, so each entry is read about once.
        """
        missed: list[Entry] = []
        newest, complete = b"", True
        for entry in islice(self._bus.backwards(row.name, note_bad=partial(self._skips.malformed, row.name)), row.stream.tail):
            newest = newest or entry.id
            if entry.id == self._searched.get(row.name):
                break
            if not self._log.holds(row.name, entry.topic, entry.epoch, entry.seq):
                missed.append(entry)
                continue
            known = self._log.body(row.name, entry.topic, entry.epoch, entry.seq)
            if known not in (None, entry.body):
                raise LostData(entry.epoch, channel=row.name, topic=entry.topic, seq=entry.seq)
            if gap is None or entry.topic == gap.topic:
                complete = False
                break
        for entry in reversed(missed):
            self._take(row.name, entry)
        if complete and newest:
            self._searched[row.name] = newest
        self._flush()

    def _take(self, channel: str, entry: Entry) -> None:
        """Relay an entry of the present epoch, or one that continues its topic.

        Others are older than the messages that clients have: a stream was set back.
        """
        try:
            message = decode(channel, entry.body, self._known)
            if (message.topic, message.epoch, message.seq) != (entry.topic, entry.epoch, entry.seq):
                raise BadMessage(MALFORMED, "the fields of the entry contradict its body")
        except BadMessage as error:
            self._skips.entry(channel, entry.id, entry.body, error)
            return
        if self.loaded and entry.epoch != self._present and not self._log.continues(channel, entry.topic, entry.epoch):
            return
        if self._log.append(message, self._log.continuity(message)) and self.loaded:
            self._deliver(message)

    def _fill_gap(self, message: Message) -> None:
        """Catch up from the stream, which has the missing messages and this one. Raises `LostData`.

        A message with a `seq` that the stream does not have is bad.
        """
        if message.epoch == self._present or self._log.continues(message.channel, message.topic, message.epoch):
            self._catch_up_on(message.row, message)
        elif self._bus.epoch() != self._present:
            self._catch_up()
        if self._log.continuity(message) is not Continuity.SEEN:
            self._skips.add(message.channel, "unknown_sequence", f"{message.topic}: no entry with seq {message.seq} in the stream")

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
        for fanout in self._fanouts.values():
            fanout.flush()
        for function in self.after_batch:
            function()
        if not any(fanout.waits for fanout in self._fanouts.values()):
            self._sent()

    def _sent(self) -> None:
        """Note the times of the batches that have just been sent."""
        self.times.end(lambda: self.relayed)
