"""Messages that no listener of this hub needs: they are kept, and sent, without a decode."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple

from api.hub.channels import Channel
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.topic_log import LogTopic, TopicLog
from api.hub.transport.wire import event


class Wanted(NamedTuple):
    """The topics whose messages the listeners of a channel need: those with their key in `keys`."""

    keys: Container[Any]
    key_of: Callable[[str], Any]  # topic -> its key


class _Topic(NamedTuple):
    log: LogTopic
    name: str
    rooms: tuple[str]
    wanted_key: Any


class LazyChannel:
    """The topics of a channel with `lazy_head`, whose messages may stay undecoded.

    A message is decoded if a listener wants it. If a client is in its room, the message is sent if
    its bytes pass the check of the channel, and decoded otherwise. The first message of a topic is
    always decoded.
    """

    def __init__(self, row: Channel, log: TopicLog, known: Container[str], fanout: Fanout, wanted: Wanted) -> None:
        self.kept = 0  # messages that the relay has not counted yet
        self._row = row
        self._log = log
        self._known = known
        self._fanout = fanout
        self._live, self._rated = fanout.occupied_rooms
        self._wanted, self._wanted_key = wanted
        self._start, self._max_bytes = len(row.lazy_head), row.max_bytes
        self._topics: dict[bytes, _Topic] = {}  # text of a message up to the end of its topic -> topic

    def hold(self, body: bytes) -> bool:
        """Append the message to the topic log as it is, and send it to its room.

        Return False if it must be decoded. It must have the form of our own publisher and be the
        next one of its topic. Without a client in its room, its content is checked when it is first
        needed.
        """
        found = self._topics.get(body[: body.find(b'"', self._start)])
        if found is None:
            return False
        log, name, rooms, wanted_key = found
        if wanted_key in self._wanted or name not in self._known or len(body) > self._max_bytes:
            return False
        row = self._row
        if rooms[0] not in self._live and rooms[0] not in self._rated:
            if not log.append_raw(body):
                return False
        else:
            if not row.lazy_check(body):
                return False
            frame = event(row.event, body, name if row.conflated else None, row.namespace)
            if not log.append_raw(body, frame.wire):
                return False
            self._fanout.broadcast(rooms, frame)
        self.kept += 1
        return True

    def note(self, message: Message) -> None:
        """Note the topic of a message that was decoded and is in the log."""
        head = self._row.lazy_head + message.topic.encode()
        found = self._topics.get(head)
        log = self._log.topic((self._row.name, message.topic))
        if log is None or (found is not None and found.log is log) or not message.body.startswith(head + b'"'):
            return
        self._topics[head] = _Topic(log, message.topic, (message.rooms[0],), self._wanted_key(message.topic))
