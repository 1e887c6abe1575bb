"""The rooms of candles, one per instrument and interval: who asks for which, who holds which, and what they begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from api.errors import ErrorCode
from api.hub.fanout import Fanout
from api.hub.schemas.requests import ALL
from api.hub.topic_log import TopicLog
from db import topics
from db.intervals import INTERVALS

Series = tuple[str, str]  # instrument, interval


class CandleRooms:
    """The half of `subscribe` and `unsubscribe` that is about candles. Their rooms know no rate: a candle comes when it has changed."""

    def __init__(self, fanout: Fanout, topic_log: TopicLog, instruments: Sequence[str]) -> None:
        self._fanout = fanout
        self._log = topic_log
        self._known = frozenset(instruments)
        self._rooms: dict[str, Series] = {
            topics.candle_room(pair, interval): (pair, interval) for pair in instruments for interval in INTERVALS
        }

    def judge(self, asked: Sequence[Any]) -> tuple[list[Series], list[dict[str, Any]]]:
        """What was asked for, each once: those that exist, and a verdict on each that does not."""
        accepted: dict[Series, None] = {}
        rejected = []
        for item in asked:
            pair, interval = (item.get("pair"), item.get("interval")) if isinstance(item, dict) else (item, None)
            if not isinstance(item, dict):
                code, message = ErrorCode.INVALID_PAYLOAD, "Not an object of pair and interval."
            elif not isinstance(pair, str):
                code, message = ErrorCode.INVALID_PAYLOAD, "An instrument is a string."
            elif pair not in self._known:
                code, message = ErrorCode.UNKNOWN_INSTRUMENT, f"There is no instrument {pair[:64]!r}."
            elif not isinstance(interval, str) or interval not in INTERVALS:
                code, message = ErrorCode.INVALID_PAYLOAD, f"An interval is one of {', '.join(INTERVALS)}."
            else:
                accepted[pair, interval] = None
                continue
            rejected.append({"pair": pair, "interval": interval, "code": code.value, "message": message})
        return list(accepted), rejected

    def join(self, client: str, series: Sequence[Series]) -> None:
        """Put the client into these rooms."""
        if series:
            self._fanout.join(client, [topics.candle_room(*each) for each in series])

    def leave(self, client: str, asked: Any) -> None:
        """Take the client out of what it names, or out of `"all"` candle rooms; what is not held is passed over."""
        if asked:
            self._fanout.leave(client, self._rooms if asked == ALL else [topics.candle_room(*each) for each in self.judge(asked)[0]])

    def held(self, client: str) -> list[dict[str, str]]:
        """The client's candle rooms, as it would ask for them."""
        rooms = self._fanout.rooms(client)
        return [{"pair": pair, "interval": interval} for room, (pair, interval) in self._rooms.items() if room in rooms]

    def snapshot(self, series: Sequence[Series]) -> list[orjson.Fragment]:
        """candle_update bodies to begin with, of those that have had any."""
        return [orjson.Fragment(body) for each in series for body in self._log.candles(topics.candle_topic(*each))]

    def count(self, members: dict[str, int]) -> int:
        """How many subscriptions to candles are among these `members` of all rooms."""
        return sum(count for room, count in members.items() if room in self._rooms)
