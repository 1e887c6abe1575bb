"""From a new price or volatility to the clients whose alerts it fires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from api.hub.alerts.rules import Rule, RuleIndex
from api.hub.fanout import Fanout
from api.hub.messages import Message
from api.hub.schemas.requests import PRICE, VOLATILITY
from api.hub.transport.wire import Frame, event


class AlertNotifier:
    """Holds values against the index and sends `alert_triggered`, each to its own client, behind all that was broadcast before.

    Its frames have no key, so that nothing conflates them. `timestamp()` gives the time in contract form.
    """

    def __init__(self, index: RuleIndex, fanout: Fanout, timestamp: Callable[[], str]) -> None:
        self._index = index
        self._fanout = fanout
        self._timestamp = timestamp

    def price(self, message: Message) -> None:
        """Hold a price against the rules of its instrument: it is on its way to the rooms already."""
        price = message.price
        assert price is not None  # noqa: S101 - decode gives it to every price
        if fired := self._index.observe((message.topic, PRICE), price["mid"]):
            seq = None if message.epoch is None else message.seq
            self._notify(fired, {"current": price["mid"], "time": price["time"]}, {"seq": seq, "epoch": message.epoch})

    def volatility(self, instrument: str, value: float, time: str) -> None:
        """Hold an hourly figure, finite, of an hour that ended at `time`, against the rules of its instrument."""
        if fired := self._index.observe((instrument, VOLATILITY), repr(value)):
            self._notify(fired, {"current": value, "time": time}, {"seq": None, "epoch": None})

    def _notify(self, fired: Sequence[Rule], seen: dict[str, Any], place: dict[str, Any]) -> None:
        timestamp = self._timestamp()
        frames: dict[str, list[Frame]] = {}  # client -> what it hears, sent at one go
        for rule in fired:
            instrument, metric = rule.series
            head = {"id": rule.id, "instrument": instrument, "metric": metric, "op": rule.op, "value": rule.value}
            body = orjson.dumps({**head, **seen, "once": rule.once, "timestamp": timestamp, **place})
            frames.setdefault(rule.client, []).append(event("alert_triggered", body))
        for client, each in frames.items():
            self._fanout.send(client, *each)
