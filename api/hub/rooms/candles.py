"""The rooms of candles, one per instrument and interval: subscriptions and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from api.access.model import Access
from api.errors import ErrorCode, forbidden_instrument, unknown_instrument
from api.hub.fanout import Fanout
from api.hub.schemas.rejections import Rejections
from api.hub.schemas.requests import ALL, SERIES, unknown_field
from api.hub.topic_log import TopicLog
from api.hub.transport.client_json import problem_of
from db import topics
from db.intervals import INTERVALS
from db.timestamps import parse_time

Series = tuple[str, str]  # instrument, interval


class CandleRooms:
    """The half of `subscribe` and `unsubscribe` that is about candles.

    These rooms have no rate: a candle is sent when it changes.
    """

    def __init__(self, fanout: Fanout, topic_log: TopicLog, instruments: Sequence[str], timestamp: Callable[[], str]) -> None:
        self._fanout = fanout
        self._log = topic_log
        self._timestamp = timestamp
        self.set_instruments(instruments)

    def set_instruments(self, instruments: Sequence[str]) -> None:
        """Have rooms for these instruments from now on."""
        self._known = frozenset(instruments)
        self._rooms: dict[str, Series] = {
            topics.candle_room(pair, interval): (pair, interval) for pair in instruments for interval in INTERVALS
        }

    def judge(self, asked: Sequence[Any], access: Access, rejections: Rejections) -> list[Series]:
        """Return the accepted series, each once; add the others to `rejections`."""
        accepted: dict[Series, None] = {}
        for item in asked:
            pair, interval = (item.get("pair"), item.get("interval")) if isinstance(item, dict) else (item, None)
            if not isinstance(item, dict):
                code, message = ErrorCode.INVALID_PAYLOAD, "Not an object of pair and interval."
            elif unknown := [name for name in item if name not in SERIES]:
                code, message = ErrorCode.INVALID_PAYLOAD, f"{unknown_field(SERIES)[:-1]}, not {unknown[0][:64]!r}."
            elif not isinstance(pair, str):
                code, message = ErrorCode.INVALID_PAYLOAD, "An instrument is a string."
            elif problem := problem_of(item):
                code, message = ErrorCode.INVALID_PAYLOAD, problem
            elif pair not in self._known:
                code, message = ErrorCode.UNKNOWN_INSTRUMENT, str(unknown_instrument(pair[:64], self._known, access.includes))
            elif not isinstance(interval, str) or interval not in INTERVALS:
                code, message = ErrorCode.INVALID_PAYLOAD, f"An interval is one of {', '.join(INTERVALS)}."
            elif not access.includes(pair):
                code, message = ErrorCode.FORBIDDEN, str(forbidden_instrument(pair))
            else:
                accepted[pair, interval] = None
                continue
            rejections.add(code, message, pair=pair, interval=interval)
        return list(accepted)

    def denied(self, access: Access) -> list[str]:
        """Return the rooms that the client may not be in."""
        return [room for room, (pair, _) in self._rooms.items() if not access.includes(pair)]

    def join(self, client: str, series: Sequence[Series]) -> None:
        """Put the client into these rooms."""
        if series:
            self._fanout.join(client, [topics.candle_room(*each) for each in series])

    def leave(self, client: str, asked: Any, access: Access) -> None:
        """Take the client out of these rooms, or out of all; others are ignored."""
        if asked:
            rooms = self._rooms if asked == ALL else [topics.candle_room(*each) for each in self.judge(asked, access, Rejections())]
            self._fanout.leave(client, rooms)

    def held(self, client: str) -> list[dict[str, str]]:
        """Return the candle rooms of the client, in the form of a request."""
        rooms = self._fanout.rooms(client)
        if self._rooms.keys().isdisjoint(rooms):  # usually
            return []
        return [{"pair": pair, "interval": interval} for room, (pair, interval) in self._rooms.items() if room in rooms]

    def snapshot(self, series: Sequence[Series]) -> list[orjson.Fragment]:
        """Return the candle_update bodies with which a client of each series begins."""
        now = parse_time(self._timestamp())
        return [orjson.Fragment(body) for each in series for body in self._log.newest(topics.candle_topic(*each), now)]

    def count(self, members: Mapping[str, int]) -> int:
        """Return the number of candle subscriptions, given the `members` of all rooms."""
        return sum(count for room, count in members.items() if room in self._rooms)
