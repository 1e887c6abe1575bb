"""Counts of clients that no part keeps as an integer: one walk over all of them, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from api.hub.clients import Clients
from api.hub.plain.layer import PlainLayer
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.limits.states import count_states
from api.hub.transport.session import Session

_PART = 200  # sessions or clients, about 0.3 ms of the loop
_Item = TypeVar("_Item")


@dataclass(slots=True)
class Census:
    """The clients at about one time."""

    transports: dict[str, int] = field(default_factory=lambda: {"websocket": 0, "polling": 0, "plain": 0})
    states: dict[str, int] = field(default_factory=dict)
    waiting_bytes: int = 0  # in outboxes
    waiting_clients: int = 0  # whose outboxes are not empty
    conflated: int = 0  # frames dropped since the start


def take_census(engine: EngineServer, clients: Clients, plain: PlainLayer, pause: Callable[[], None]) -> Census:
    """Count all clients. `pause` lets other greenlets run between two parts of the walk."""
    found = Census(states=count_states((), engine.places.requesting, len(engine.closing) + engine.floods.waiting))
    # Without a pause: the end of a session moves its count into the sum.
    found.conflated = engine.conflated() + plain.conflated()
    for sessions in _parts(list(engine.sockets.values()), pause):
        for state, number in count_states(sessions, 0, 0).items():
            found.states[state] += number
        _note_outboxes(found, sessions)
    for part in _parts(list(clients), pause):
        for client in part:
            if (session := engine.sockets.get(client.session)) is not None:
                found.transports["polling" if session.socket is None else "websocket"] += 1
    found.transports["plain"] = len(plain)
    sizes = [size for size in plain.waiting_bytes() if size]
    found.waiting_bytes += sum(sizes)
    found.waiting_clients += len(sizes)
    return found


def _note_outboxes(found: Census, sessions: Iterable[Session]) -> None:
    for session in sessions:
        if session.joined and (size := session.outbox.size):
            found.waiting_bytes += size
            found.waiting_clients += 1


def _parts(items: Sequence[_Item], pause: Callable[[], None]) -> Iterator[list[_Item]]:
    """Yield all items in parts, with a pause after each but the last one."""
    rest = iter(items)
    part = list(islice(rest, _PART))
    while part:
        yield part
        if part := list(islice(rest, _PART)):
            pause()
