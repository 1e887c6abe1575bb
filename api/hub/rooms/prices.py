"""The rooms of prices, one per instrument: rights, subscriptions, snapshots and missed messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from api.access.model import Access
from api.errors import ErrorCode, Refusal, forbidden_instrument, unknown_instrument
from api.hub.fanout import Fanout
from api.hub.schemas.rejections import Rejections
from api.hub.schemas.requests import ALL
from api.hub.topic_log import TopicLog
from api.hub.transport.client_json import MAX_QUOTE_LENGTH, problem_of
from api.hub.transport.wire import Replay, Replayed
from db import topics

_MAX_SHARED, _MAX_SHARED_BYTES = 256, 4 * 1024 * 1024


class Missed(NamedTuple):
    """The messages that a returning client has missed, and whether that is all of them, by pair."""

    recovered: dict[str, bool]
    replay: Replay


_NOTHING = Missed({}, Replay([]))


class PriceRooms:
    """The half of `subscribe` and `unsubscribe` that is about prices.

    `replay_bytes` limits the missed messages that may wait for one client.
    """

    def __init__(self, fanout: Fanout, topic_log: TopicLog, instruments: Sequence[str], replay_bytes: int) -> None:
        self._fanout = fanout
        self._log = topic_log
        self._replay_bytes = replay_bytes
        self._snapshots: dict[str, tuple[bytes, orjson.Fragment]] = {}  # pair -> its last price, and the same for orjson
        # positions of a client in no room -> the state of their logs, and the result in that state
        self._shared: dict[tuple[tuple[str, str, int], ...], tuple[tuple[int, ...], Missed]] = {}
        self._shared_bytes = 0
        self.set_instruments(instruments)

    def set_instruments(self, instruments: Sequence[str]) -> None:
        """Have rooms for these instruments, in their order, from now on."""
        self._rooms = {pair: topics.price_room(pair) for pair in instruments}
        self.known = frozenset(instruments)
        self._snapshots.clear()

    @property
    def instruments(self) -> list[str]:
        return list(self._rooms)

    def __len__(self) -> int:
        """The number of instruments."""
        return len(self._rooms)

    def permitted(self, access: Access) -> list[str]:
        """Return the instruments that the client may see."""
        entitled = access.entitled(self.known)
        return [pair for pair in self._rooms if pair in entitled]

    def denied(self, access: Access) -> list[str]:
        """Return the rooms that the client may not be in."""
        return [room for pair, room in self._rooms.items() if not access.includes(pair)]

    def check(self, instrument: str, access: Access) -> None:
        """Raise `Refusal` if the instrument is unknown, or if the client may not see it."""
        if instrument not in self._rooms:
            raise unknown_instrument(instrument[:MAX_QUOTE_LENGTH], self.known, access.includes)
        if not access.includes(instrument):
            raise forbidden_instrument(instrument)

    def judge(self, pairs: Any, access: Access, rejections: Rejections) -> list[str]:
        """Return the accepted pairs, each once; add the others to `rejections`."""
        if pairs == ALL:
            return self.permitted(access)
        accepted: dict[str, None] = {}
        for pair in pairs:
            try:
                if not isinstance(pair, str):
                    raise Refusal(ErrorCode.INVALID_PAYLOAD, "An instrument is a string.")
                if problem := problem_of(pair):
                    raise Refusal(ErrorCode.INVALID_PAYLOAD, problem)
                self.check(pair, access)
            except Refusal as refusal:
                rejections.add(refusal.code, str(refusal), pair=pair)
            else:
                accepted[pair] = None
        return list(accepted)

    def join(self, client: str, pairs: Sequence[str], rate: float | None) -> None:
        """Put the client into the rooms of these pairs, with a granted rate."""
        self._fanout.join(client, [self._rooms[pair] for pair in pairs], rate)

    def leave(self, client: str, pairs: Any) -> list[str]:
        """Take the client out of the rooms of these pairs, or of all; return the removed pairs."""
        held = self.held(client)
        removed = held if pairs == ALL else [pair for pair in held if pair in pairs]
        self._fanout.leave(client, [self._rooms[pair] for pair in removed])
        return removed

    def held(self, client: str) -> list[str]:
        """Return the pairs whose rooms the client is in."""
        rooms = self._fanout.rooms(client)
        return [pair for pair, room in self._rooms.items() if room in rooms] if rooms else []

    def latest(self, pairs: Sequence[str]) -> dict[str, bytes]:
        """Return the latest price_update body of each pair that has one."""
        return {pair: body for pair in pairs if (body := self._log.latest(pair))}

    def snapshot(self, pairs: Sequence[str]) -> dict[str, orjson.Fragment]:
        """Return `latest` in a form that orjson writes without a change.

        It is made once for each price.
        """
        found = {}
        for pair, body in self.latest(pairs).items():
            made = self._snapshots.get(pair)
            if made is None or made[0] is not body:
                made = self._snapshots[pair] = body, orjson.Fragment(body)
            found[pair] = made[1]
        return found

    def starts(self, pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the position before the first message, of each pair that has no message yet."""
        epochs = ((pair, self._log.empty_epoch(pair)) for pair in pairs)
        return {pair: {"epoch": epoch, "seq": 0} for pair, epoch in epochs if epoch is not None}

    def missed(self, client: str, pairs: Sequence[str], held: Sequence[str], since: Mapping[str, Any]) -> Missed:
        """Return the messages after the position of each pair that has one.

        A pair is not recovered if the log cannot be certain, or if the messages that wait would
        exceed `replay_bytes`. Clients that return with equal positions share the result.
        """
        if not since:
            return _NOTHING
        left = self._replay_bytes - self._fanout.replaying(client)
        if held or left != self._replay_bytes:
            return self._find(pairs, held, since, left)
        key = tuple((pair, position["epoch"], position["seq"]) for pair in pairs if (position := since.get(pair)) is not None)
        known = self._shared.get(key)
        if known is not None and known[0] == self._log.state(pairs):
            return known[1]
        if self._shared_bytes > _MAX_SHARED_BYTES or len(self._shared) > _MAX_SHARED:
            self._shared.clear()
            self._shared_bytes = 0
        missed = self._find(pairs, held, since, left)
        self._shared[key] = self._log.state(pairs), missed
        self._shared_bytes += missed.replay.size
        return missed

    def _find(self, pairs: Sequence[str], held: Sequence[str], since: Mapping[str, Any], left: int) -> Missed:
        """Return the missed messages, of at most `left` bytes."""
        found: dict[str, list[Replayed] | None] = {}
        for pair in pairs:
            if (position := since.get(pair)) is None:
                continue
            # A client in the room has these messages: sending them again would double them.
            in_room = pair in held and self._log.continues(topics.PRICES, pair, position["epoch"])
            frames = [] if in_room else self._log.missed(pair, position["epoch"], position["seq"])
            size = sum(len(frame.wire) for frame in frames or ())
            if size > left:
                frames, size = None, 0
            found[pair] = frames
            left -= size
        recovered = {pair: frames is not None for pair, frames in found.items()}
        return Missed(recovered, Replay([frame for frames in found.values() for frame in frames or ()]))

    def count(self, members: Mapping[str, int]) -> dict[str, int]:
        """Return the number of subscriptions per pair, given the `members` of all rooms."""
        return {pair: count for pair, room in self._rooms.items() if (count := members.get(room))}
