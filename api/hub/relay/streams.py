"""The streams of the bus: they fill the topic log, and have the messages that the channels lost.

Every method reads Redis and raises `BusError`. They run in the greenlet of the link.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Container
from functools import partial
from itertools import islice

from api.hub.channels import CHANNELS, Channel
from api.hub.messages import BadMessage, Message, decode
from api.hub.skips import MALFORMED, Skips
from api.hub.topic_log import Continuity, TopicLog
from db.bus import Reader
from db.messages import Entry

log = logging.getLogger(__name__)

_RECENT_ENTRIES = 1_000  # of a stream, among which a message that was just published must be
_ENDED_EPOCHS = 64


class LostData(Exception):
    """The bus has gone back: a number of `epoch` has another content than before."""

    def __init__(self, epoch: str, **fields: object) -> None:
        super().__init__(epoch)
        self.epoch = epoch
        self.fields = {"epoch": epoch, **fields}


class Streams:
    """Appends the entries that are missing in the topic log, and notices that the bus lost data.

    Each shard of the bus has streams and an epoch of its own. Streams are read at the master, which
    has an entry at once, also if this hub subscribes at a replica.

    `relay` receives each message that was appended, and `flush` is called after those of a stream.
    `finish` is called at the end of each catch-up on all streams; it may read the bus.
    """

    def __init__(
        self,
        bus: Reader,
        topic_log: TopicLog,
        skips: Skips,
        known: Container[str],
        relay: Callable[[Message], None],
        flush: Callable[[], None],
        finish: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._log = topic_log
        self._skips = skips
        self._known = known
        self._relay = relay
        self._flush = flush
        self._finish = finish
        self._present: dict[int, str | None] = {}  # shard -> its epoch, as far as it was seen here
        self._ended: deque[str] = deque(maxlen=_ENDED_EPOCHS * bus.shards)
        self._searched: dict[tuple[str, int], bytes] = {}  # channel, shard -> newest entry of the last complete search
        self._loaded = False  # True after the first catch-up

    def catch_up(self) -> None:
        """Append the entries of all streams that follow the log."""
        for shard in range(self._bus.shards):
            self._catch_up(shard)
        self._finish()
        self._loaded = True

    def _catch_up(self, shard: int) -> None:
        try:
            self._catch_up_in(shard)
        except LostData as lost:
            self._begin_again(lost, shard)

    def check_seen(self, message: Message) -> None:
        """Begin again if the message is new, although its number was relayed with other bytes."""
        try:
            self._check_seen(message)
        except LostData as lost:
            self._begin_again(lost, self._shard_of(message))
            self._finish()

    def _check_seen(self, message: Message) -> None:
        channel, topic = message.channel, message.topic
        known = self._log.body(channel, topic, message.epoch, message.seq)
        at, head = self._bus.position(channel, topic), self._log.head(channel, topic)
        if (at is not None and at.epoch == message.epoch and at.seq < head) or (known is not None and self._is_in_stream(message)):
            raise LostData(str(message.epoch), channel=channel, topic=topic, seq=message.seq, known=head)
        if known is not None:
            self._skips.add(channel, "unknown_sequence", f"{topic}: seq {message.seq} has other content in the stream")

    def _is_in_stream(self, message: Message) -> bool:
        entries = islice(self._bus.backwards(message.channel, shard=self._shard_of(message)), _RECENT_ENTRIES)
        return any(entry.body == message.body for entry in entries)

    def _begin_again(self, lost: LostData, shard: int) -> None:
        """Continue in a new epoch, without the messages of the epoch in which data were lost."""
        present = self._bus.renew_epoch(lost.epoch, shard)
        log.error("the bus has lost data", extra={**lost.fields, "new_epoch": present})
        if lost.epoch not in self._ended:
            self._ended.append(lost.epoch)
        self._present[shard] = None
        self._log.forget(shard)
        self._searched = {place: newest for place, newest in self._searched.items() if place[1] != shard}
        self._catch_up_in(shard)

    def _catch_up_in(self, shard: int) -> None:
        """Catch up on the streams of a shard. Raises `LostData`."""
        before, present = self._present.get(shard), self._bus.epoch(shard)
        if present is not None and present in self._ended:
            raise LostData(present)
        self._present[shard] = epoch = present or before
        # First: a client may resume in the new epoch while the other channels are read.
        self._log.begin(epoch, shard)
        for row in CHANNELS.values():
            if shard in self._bus.shards_of(row.name):
                self._catch_up_on(row, shard)
        if before not in (None, epoch):
            log.warning("the bus began a new epoch", extra={"epoch": epoch, "before": before, "shard": shard})
            self._ended.append(str(before))

    def _catch_up_on(self, row: Channel, shard: int, gap: Message | None = None) -> None:
        """Relay the missed entries of a stream. Raises `LostData`.

        After a loss of the connection, the first entry in the log ends the search: older entries
        were relayed before it. With `gap`, only one message may be missing, and later ones of other
        topics were relayed. Then the search ends at the topic of `gap`. In any case it ends at the
        newest entry of the last complete search, so each entry is read about once.
        """
        missed: list[Entry] = []
        newest, complete = b"", True
        entries = self._bus.backwards(row.name, note_bad=partial(self._skips.malformed, row.name), shard=shard)
        for entry in islice(entries, row.stream.tail):
            newest = newest or entry.id
            if entry.id == self._searched.get((row.name, shard)):
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
            self._take(row.name, shard, entry)
        if complete and newest:
            self._searched[row.name, shard] = newest
        self._flush()

    def _take(self, channel: str, shard: int, entry: Entry) -> None:
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
        if self._loaded and entry.epoch != self._present.get(shard) and not self._log.continues(channel, entry.topic, entry.epoch):
            return
        if self._log.append(message, self._log.continuity(message)):
            self._relay(message)

    def fill_gap(self, message: Message) -> None:
        """Catch up from the stream, which has the missing messages and this one.

        A message with a `seq` that the stream does not have is bad.
        """
        shard = self._shard_of(message)
        try:
            self._fill_gap(message, shard)
        except LostData as lost:
            self._begin_again(lost, shard)
            self._finish()

    def _fill_gap(self, message: Message, shard: int) -> None:
        if message.epoch == self._present.get(shard) or self._log.continues(message.channel, message.topic, message.epoch):
            self._catch_up_on(message.row, shard, message)
        elif self._bus.epoch(shard) != self._present.get(shard):
            self._catch_up_in(shard)
            self._finish()
        if self._log.continuity(message) is not Continuity.SEEN:
            self._skips.add(message.channel, "unknown_sequence", f"{message.topic}: no entry with seq {message.seq} in the stream")

    def _shard_of(self, message: Message) -> int:
        return self._bus.shard_of(message.channel, message.topic)
