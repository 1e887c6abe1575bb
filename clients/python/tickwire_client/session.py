"""What the client wants and what it makes of what it is told. Pure: no socket, no thread, no clock; the edges call it, one at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tickwire_client import parse
from tickwire_client.messages import Body, CandleUpdate, Disconnected, Item, Position, Tick
from tickwire_client.own_alerts import OwnAlerts
from tickwire_client.positions import Key, Positions

log = logging.getLogger("tickwire_client")

ALL = "all"
MAX_PAIRS_PER_REQUEST = 1000  # in one request
Emission = tuple[str, Body]
CandleSeries = tuple[str, str]  # instrument, interval


class Session:
    """One client's subscriptions, over any number of connections."""

    def __init__(self) -> None:
        self.positions = Positions()
        self.alerts = OwnAlerts()
        self.latest: dict[str, Tick] = {}  # the last price of each instrument that is subscribed to
        self._pairs: dict[str, float | None] = {}  # instrument -> max_rate
        self._all: tuple[float | None] | None = None  # (max_rate,) where all instruments are wanted
        self._candles: dict[CandleSeries, None] = {}
        self._available: tuple[str, ...] = ()  # what the hub has
        self._greeted = False

    # what to send

    def opening(self) -> list[Emission]:
        """What to send on a new connection: everything that is wanted, each series from where it stands."""
        asked: list[Emission] = []
        if self._all is not None:
            asked.append(("subscribe", self._payload(ALL, [], self._all[0])))
        rates = dict.fromkeys(self._pairs.values())
        for rate in rates:
            pairs = [pair for pair, its in self._pairs.items() if its == rate]
            asked += [("subscribe", self._payload(part, [], rate)) for part in _parts(pairs)]
        asked += [("subscribe", self._payload([], part, None)) for part in _parts(list(self._candles))]
        return asked

    def want(
        self, pairs: Sequence[str] | str, candles: Sequence[CandleSeries], max_rate: float | None, since: Mapping[str, Position]
    ) -> tuple[Body, Callable[[], None]]:
        """Want these too; the request for them, and what takes the wish back if it is refused."""
        names = self._available if isinstance(pairs, str) else pairs
        new: list[Key] = [(name, None) for name in names if not self.wants(name)]
        new += [key for key in candles if key not in self._candles]
        was_all = self._all
        if pairs == ALL:
            self._all = (max_rate,)
        else:
            self._pairs |= dict.fromkeys(pairs, max_rate)
        for name in names:
            self.positions.follow(name, rated=max_rate is not None, since=since.get(name) if (name, None) in new else None)
        self._candles |= dict.fromkeys(candles)

        def withdraw() -> None:
            self._all = was_all
            for key in new:
                self._forget(key)

        return self._payload(pairs, candles, max_rate), withdraw

    def unwant(self, pairs: Sequence[str] | str, candles: Sequence[CandleSeries] | str) -> Body:
        """Want these no more; the request that says so."""
        if self._all is not None and pairs:
            self._pairs |= dict.fromkeys(self._available, self._all[0])
            self._all = None
        series = list(self._candles) if isinstance(candles, str) else candles
        for key in [*((name, None) for name in (list(self._pairs) if pairs == ALL else pairs)), *series]:
            self._forget(key)
        asked: Body = {"pairs": pairs} if pairs else {}
        if candles:
            asked["candles"] = candles if isinstance(candles, str) else [_series_body(each) for each in candles]
        return asked

    def _forget(self, key: Key) -> None:
        self.positions.forget(key)
        if key[1] is None:
            self._pairs.pop(key[0], None)
            self.latest.pop(key[0], None)
        else:
            self._candles.pop((key[0], key[1]), None)

    def _payload(self, pairs: Sequence[str] | str, candles: Sequence[CandleSeries], max_rate: float | None) -> Body:
        asked: Body = {}
        if pairs:
            names = self._available[:MAX_PAIRS_PER_REQUEST] if isinstance(pairs, str) else pairs
            asked = {"pairs": pairs, "since": self.positions.since(names)}
            if max_rate is not None:
                asked["max_rate"] = max_rate
        if candles:
            asked["candles"] = [_series_body(each) for each in candles]
        return asked

    def wants(self, instrument: str) -> bool:
        return self._all is not None or instrument in self._pairs

    # what has come

    def receive(self, event: str, body: Any) -> list[Item]:
        """What a message means to the user, in order. One that makes no sense is logged and left out."""
        receiver = _RECEIVERS.get(event)
        if receiver is None:
            return []
        try:
            return receiver(self, body)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            log.warning("a message that is not understood: %s %.200s", event, body, exc_info=True)
            return []

    def greeted(self, body: Body) -> list[Item]:
        """A connection begins."""
        again, self._greeted = self._greeted, True
        greeting = parse.connected(body, again=again)
        self._available = greeting.available_pairs
        if self._all is not None:
            for name in self._available:
                self.positions.follow(name, rated=self._all[0] is not None)
        return [greeting]

    def lost(self, reason: str) -> list[Item]:
        """The connection has ended."""
        self.positions.lost()
        return [Disconnected(reason)]

    def _price_update(self, body: Body) -> list[Item]:
        tick = parse.tick(body)
        return self._given(self.positions.tick(tick)) if self.wants(tick.instrument) else []

    def _given(self, items: Iterable[Item]) -> list[Item]:
        given = list(items)
        self.latest |= {item.instrument: item for item in given if isinstance(item, Tick)}
        return given

    def _confirmed(self, body: Body) -> list[Item]:
        for item in body["rejected"]:
            self._reject(item)
        items: list[Item] = []
        for pair in body["added"]:
            if self.wants(pair):
                at = body["snapshot"].get(pair)
                snapshot = parse.tick(at, snapshot=True) if at else None
                items += self._given(self.positions.joined(pair, snapshot, body["recovered"].get(pair)))
        return items + self._candle_snapshot(body.get("candle_snapshot", ()))

    def _reject(self, item: Body) -> None:
        pair, interval = item.get("pair"), item.get("interval")
        if isinstance(pair, str) and (interval is None or isinstance(interval, str)):
            self._forget((pair, interval))

    def _candle_snapshot(self, bodies: Iterable[Body]) -> list[Item]:
        series: dict[CandleSeries, list[CandleUpdate]] = {}
        for candle in map(parse.candle, bodies):
            series.setdefault((candle.instrument, candle.interval), []).append(candle)
        return [item for key, each in series.items() if key in self._candles for item in self.positions.candles(each, snapshot=True)]

    def _candle_update(self, body: Body) -> list[Item]:
        candle = parse.candle(body)
        wanted = (candle.instrument, candle.interval) in self._candles
        return list(self.positions.candles([candle], snapshot=False)) if wanted else []

    def _gap_notice(self, body: Body) -> list[Item]:
        items: list[Item] = []
        for name, dropped in body["dropped"].items():
            instrument, _, interval = name.partition("|")
            items += self.positions.noticed((instrument, interval or None), dropped)
        return items

    def _alert_triggered(self, body: Body) -> list[Item]:
        return [parse.alert_triggered(self.alerts.fired(body))]

    def _error(self, body: Body) -> list[Item]:
        """Those that answer a request reach whoever asked; `unavailable` concerns everyone."""
        return [parse.problem(body)] if body["code"] == "unavailable" else []


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[at : at + MAX_PAIRS_PER_REQUEST] for at in range(0, len(items), MAX_PAIRS_PER_REQUEST)]


def _series_body(candle: CandleSeries) -> Body:
    return {"pair": candle[0], "interval": candle[1]}


# event -> what becomes of it; `connection_established` is taken by the link
_RECEIVERS: dict[str, Callable[[Session, Any], list[Item]]] = {
    "subscription_confirmed": Session._confirmed,
    "price_update": Session._price_update,
    "candle_update": Session._candle_update,
    "gap_notice": Session._gap_notice,
    "alert_triggered": Session._alert_triggered,
    "volatility_alert": lambda _, body: [parse.volatility_alert(body)],
    "correlation_alert": lambda _, body: [parse.correlation_alert(body)],
    "data_ready": lambda _, body: [parse.data_ready(body)],
    "error": Session._error,
}
