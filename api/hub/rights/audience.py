"""Broadcasts whose receivers depend on their rights.

A message for one room needs no check: joining the room was the check. Every other message passes
here. It is rare, so the path of a price has no cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from api.hub.clients import Clients, Rights
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.transport.wire import Frame, event

_LIST = "instruments"  # the field of a message with a list of instruments


class Audience:
    """Sends a message to those of its receivers that have the right to it.

    A receiver needs the scope of the channel, and each instrument that the message is about. If
    `cut` is set in the row of the channel, the list `instruments` is reduced to those that the
    receiver may read.
    """

    def __init__(self, clients: Clients, fanouts: Mapping[str, Fanout]) -> None:
        self._clients = clients
        self._fanouts = fanouts  # namespace -> fan-out

    def send(self, message: Message) -> None:
        """Send the message, with the next flush if all clients have equal rights to it."""
        fanout = self._fanouts[message.row.namespace]
        frames = self._frames(message)
        if all(frame is message.frame for frame in frames.values()):
            fanout.broadcast(message.rooms, message.frame)
            return
        receivers: dict[Frame, list[str]] = {}
        for name in fanout.receivers(message.rooms):
            client = self._clients.get(name)
            if client is not None and (frame := frames[client.access.scopes, client.access.patterns]) is not None:
                receivers.setdefault(frame, []).append(name)
        for frame, names in receivers.items():
            fanout.send_to(names, frame)

    def _frames(self, message: Message) -> dict[Rights, Frame | None]:
        """Return the frame for all rights that clients have; None if they must not receive one."""
        listed = message.data.get(_LIST) if message.row.cut else None
        made: dict[tuple[str, ...], Frame] = {} if listed is None else {tuple(listed): message.frame}
        frames: dict[Rights, Frame | None] = {}
        for scopes, patterns in self._clients.rights:
            if message.row.scope not in scopes or not all(map(patterns.permits, message.instruments)):
                frames[scopes, patterns] = None
            elif listed is None:
                frames[scopes, patterns] = message.frame
            else:
                kept = tuple(filter(patterns.permits, listed))
                if kept not in made:
                    made[kept] = _cut(message, kept)
                frames[scopes, patterns] = made[kept]
        return frames


def _cut(message: Message, kept: tuple[str, ...]) -> Frame:
    """Return the frame of the message with these instruments alone."""
    body: Mapping[str, Any] = {**message.data, _LIST: kept}
    return event(message.row.event, orjson.dumps(body), message.frame.key, message.row.namespace)
