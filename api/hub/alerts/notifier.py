"""Send `alert_triggered` to the clients whose alerts a new price or volatility fires."""

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
    """Compares new values with the rules of clients.

    An alert goes to its own client, after all earlier broadcasts. Its frame has no key, so it is
    never conflated. `timestamp()` returns the time in contract form.
    """

    def __init__(self, index: RuleIndex, fanout: Fanout, timestamp: Callable[[], str]) -> None:
        self._index = index
        self._fanout = fanout
        self._timestamp = timestamp

    def price(self, message: Message) -> None:
        """Compare a price with the rules of its instrument, after its broadcast."""
        price = message.data["price"]
        if fired := self._index.observe((message.topic, PRICE), price["mid"]):
            seq = None if message.epoch is None else message.seq
            self._notify(fired, {"current": price["mid"], "time": price["time"]}, {"seq": seq, "epoch": message.epoch})

    def volatility(self, instrument: str, value: float, time: str) -> None:
        """Compare a finite figure, of the hour that ended at `time`, with the rules."""
        if fired := self._index.observe((instrument, VOLATILITY), repr(value)):
            self._notify(fired, {"current": value, "time": time}, {"seq": None, "epoch": None})

    def _notify(self, fired: Sequence[Rule], seen: dict[str, Any], position: dict[str, Any]) -> None:
        timestamp = self._timestamp()
        frames: dict[str, list[Frame]] = {}  # client -> its alerts, sent together
        for rule in fired:
            instrument, metric = rule.series
            head = {"id": rule.id, "instrument": instrument, "metric": metric, "op": rule.op, "value": rule.value}
            body = orjson.dumps({**head, **seen, "once": rule.once, "timestamp": timestamp, **position})
            frames.setdefault(rule.client, []).append(event("alert_triggered", body, namespace=self._fanout.namespace))
        for client, each in frames.items():
            self._fanout.send(client, *each)
