"""Subscriptions of one client: requests to send, and items from received messages.

Pure: no socket, thread or clock. Callers hold a lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tickwire_client import parse
from tickwire_client.all_alerts import AllAlerts
from tickwire_client.book_chain import BookTopic
from tickwire_client.books import Books
from tickwire_client.messages import Body, CandleUpdate, Disconnected, Gap, Item, Position, Tick
from tickwire_client.own_alerts import OwnAlerts
from tickwire_client.positions import Key, Positions

log = logging.getLogger("tickwire_client")

ALL = "all"
MAX_PAIRS_PER_REQUEST = 1000
_ALL_KEY: Key = (ALL, None)
Request = tuple[str, Body]
CandleSeries = tuple[str, str]  # (instrument, interval)


class Session:
    """The subscriptions and alerts of one client, over any number of connections."""

    def __init__(self) -> None:
        self.positions = Positions()
        self.alerts = OwnAlerts()
        self.books = Books()
        self.all_alerts = AllAlerts()
        self.latest: dict[str, Tick] = {}  # last price of each subscribed instrument
        self._pairs: dict[str, float | None] = {}  # instrument -> max_rate
        self._all: tuple[float | None] | None = None  # (max_rate,) if all instruments are subscribed
        self._candles: dict[CandleSeries, None] = {}
        self._unconfirmed: set[Key] = set()  # new subscriptions without an answer
        self._available: tuple[str, ...] = ()  # the instruments of the hub
        self._greeted = False

    @property
    def available(self) -> tuple[str, ...]:
        """The instruments of the hub that the credential may read."""
        return self._available

    # requests

    def opening(self) -> list[Request]:
        """The requests for a new connection: all subscriptions, each since its last position."""
        requests = self._price_requests()
        candles = [key for key in self._candles if key not in self._unconfirmed]
        requests += [("subscribe", self._payload([], part, None)) for part in _parts(candles)]
        return requests + [("subscribe", payload) for payload in (*self.all_alerts.opening(), *self.books.opening())]

    def _price_requests(self) -> list[Request]:
        """The requests for the held prices: all instruments, then those with rates of their own."""
        requests: list[Request] = []
        if self._all is not None and _ALL_KEY not in self._unconfirmed:
            requests.append(("subscribe", self._payload(ALL, [], self._all[0])))
        held = {pair: rate for pair, rate in self._pairs.items() if (pair, None) not in self._unconfirmed}
        for rate in dict.fromkeys(held.values()):
            pairs = [pair for pair, its in held.items() if its == rate]
            requests += [("subscribe", self._payload(part, [], rate)) for part in _parts(pairs)]
        return requests

    def want(
        self,
        pairs: Sequence[str] | str,
        candles: Sequence[CandleSeries],
        max_rate: float | None,
        since: Mapping[str, Position],
        books: Sequence[BookTopic] = (),
        *,
        heartbeat: bool = False,
        alerts: str | None = None,
    ) -> tuple[Body, Callable[[], None]]:
        """Add subscriptions. Return the request, and a function that removes them on a refusal.

        `opening` renews them once the hub has confirmed them; until then the caller repeats the
        request.
        """
        names = self._available if isinstance(pairs, str) else pairs
        new: list[Key] = [(name, None) for name in names if not self.wants(name)]
        new += [key for key in candles if key not in self._candles]
        was_all = self._all
        self._unconfirmed |= set(new)
        if pairs == ALL and was_all is None:
            self._unconfirmed.add(_ALL_KEY)
        if pairs == ALL:
            self._all = (max_rate,)
        else:
            self._pairs |= dict.fromkeys(pairs, max_rate)
        for name in names:
            self.positions.follow(name, rated=max_rate is not None, since=since.get(name) if (name, None) in new else None)
        self._candles |= dict.fromkeys(candles)
        withdraw_books = self.books.want(books, max_rate, heartbeat=heartbeat)
        withdraw_alerts = self.all_alerts.want(alerts)

        def withdraw() -> None:
            withdraw_books()
            withdraw_alerts()
            self._all = was_all
            self._unconfirmed.discard(_ALL_KEY)
            for key in new:
                self._forget(key)

        payload = self._payload(pairs, candles, max_rate)
        payload |= self.books.payload(books, max_rate) if books else {}
        payload |= {"alerts": alerts} if alerts else {}
        return (payload | {"heartbeat": True} if heartbeat else payload), withdraw

    def answered(self, asked: Body, answer: Body) -> None:
        """Remove the subscriptions of a request that its answer does not hold: it rejected them."""
        pairs = asked.get("pairs", ())
        held = {*answer["pairs"], *((each["pair"], each["interval"]) for each in answer.get("candles", ()))}
        for name in () if isinstance(pairs, str) else pairs:
            if name not in held:
                self._forget((name, None))
        for each in asked.get("candles", ()):
            if (key := (each["pair"], each["interval"])) not in held:
                self._forget(key)
        self.books.answered(asked, answer)

    def unwant(
        self,
        pairs: Sequence[str] | str,
        candles: Sequence[CandleSeries] | str,
        books: Sequence[BookTopic] | str = (),
        *,
        heartbeat: bool = False,
        alerts: str | None = None,
    ) -> Body:
        """Remove subscriptions and return the request."""
        if self._all is not None and pairs:
            self._pairs |= dict.fromkeys(self._available, self._all[0])
            self._all = None
        series = list(self._candles) if isinstance(candles, str) else candles
        for key in [*((name, None) for name in (list(self._pairs) if pairs == ALL else pairs)), *series]:
            self._forget(key)
        payload: Body = {"pairs": pairs} if pairs else {}
        if candles:
            payload["candles"] = candles if isinstance(candles, str) else [_series_body(each) for each in candles]
        return payload | self.books.unwant(books, heartbeat=heartbeat) | self.all_alerts.unwant(alerts)

    def _forget(self, key: Key) -> None:
        self.positions.forget(key)
        self._unconfirmed.discard(key)
        if key[1] is None:
            self._pairs.pop(key[0], None)
            self.latest.pop(key[0], None)
        else:
            self._candles.pop((key[0], key[1]), None)

    def _payload(self, pairs: Sequence[str] | str, candles: Sequence[CandleSeries], max_rate: float | None) -> Body:
        payload: Body = {}
        if pairs:
            names = self._available[:MAX_PAIRS_PER_REQUEST] if isinstance(pairs, str) else pairs
            payload = {"pairs": pairs, "since": self.positions.since(names)}
            if max_rate is not None:
                payload["max_rate"] = max_rate
        if candles:
            payload["candles"] = [_series_body(each) for each in candles]
        return payload

    def all_again(self) -> list[Request]:
        """The requests that extend a subscription to all instruments to the added ones.

        Instruments with a rate of their own get it back after that.
        """
        return [] if self._all is None or _ALL_KEY in self._unconfirmed else self._price_requests()

    def wants(self, instrument: str) -> bool:
        return self._all is not None or instrument in self._pairs

    # received messages

    def receive(self, event: str, body: Any) -> list[Item]:
        """The items of a message, in order. An invalid message is logged and skipped."""
        receiver = _RECEIVERS.get(event)
        if receiver is None:
            return []
        try:
            return receiver(self, body)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            log.warning("skipped an invalid message: %s %.200s", event, body, exc_info=True)
            return []

    def greeted(self, body: Body) -> list[Item]:
        """The hub has sent `connection_established`."""
        again, self._greeted = self._greeted, True
        greeting = parse.connected(body, again=again)
        self._available = greeting.available_pairs
        if self._all is not None:
            for name in self._available:
                self.positions.follow(name, rated=self._all[0] is not None)
        return [greeting]

    def lost(self, reason: str, *, reconnecting: bool = True) -> list[Item]:
        """The connection has ended."""
        self.positions.lost()
        self.books.lost()
        return [Disconnected(reason, reconnecting)]

    def _price_update(self, body: Body) -> list[Item]:
        tick = parse.tick(body)
        return self._given(self.positions.tick(tick)) if self.wants(tick.instrument) else []

    def _given(self, items: Iterable[Item]) -> list[Item]:
        given = list(items)
        self.latest |= {item.instrument: item for item in given if isinstance(item, Tick)}
        return given

    def _confirmed(self, body: Body) -> list[Item]:
        self._note_held(body)
        for item in body["rejected"]:
            self._reject(item)
        items: list[Item] = []
        for pair in body["added"]:
            if self.wants(pair):
                at = body["snapshot"].get(pair)
                snapshot, last = parse.tick(at, snapshot=True) if at else None, self.latest.get(pair)
                start = body.get("positions", {}).get(pair, {}).get("epoch")
                joined = self.positions.joined(pair, snapshot, body["recovered"].get(pair), start)
                items += self._given(_bounded(item, last, snapshot) for item in joined)
        return items + self._candle_snapshot(body.get("candle_snapshot", ())) + self.books.confirmed(body)

    def _note_held(self, body: Body) -> None:
        self.all_alerts.confirmed(body)
        self._unconfirmed.difference_update((pair, None) for pair in body["pairs"])
        self._unconfirmed.difference_update((each["pair"], each["interval"]) for each in body.get("candles", ()))
        if set(self._available) <= set(body["pairs"]):
            self._unconfirmed.discard(_ALL_KEY)

    def _reject(self, item: Body) -> None:
        pair, interval = item.get("pair"), item.get("interval")
        if isinstance(pair, str) and "depth" not in item and (interval is None or isinstance(interval, str)):
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

    def _instruments_changed(self, body: Body) -> list[Item]:
        change = parse.instruments_changed(body)
        self._available = tuple(dict.fromkeys((*self._available, *change.added)))
        self._available = tuple(name for name in self._available if name not in change.removed)
        for name in change.removed:
            self._forget((name, None))
        self.books.forget_instruments(change.removed)
        for key in [key for key in self._candles if key[0] in change.removed]:
            self._forget(key)
        if self._all is not None:
            for name in change.added:
                self.positions.follow(name, rated=self._all[0] is not None)
        return [change]

    def _refreshed(self, body: Body) -> list[Item]:
        refreshed = parse.refreshed(body)
        for room in refreshed.removed:  # price_EUR_USD, candle_EUR_USD_1m, book_EUR_USD_20, heartbeat, alerts
            self.books.left(room)
            self.all_alerts.left(room)
            kind, _, name = room.partition("_")
            instrument, _, interval = name.rpartition("_")
            self._forget((name, None) if kind == "price" else (instrument, interval))
        return [refreshed]

    def _gap_notice(self, body: Body) -> list[Item]:
        items: list[Item] = []
        for name, dropped in body["dropped"].items():
            instrument, _, interval = name.partition("|")
            items += self.positions.noticed((instrument, interval or None), dropped)
        return items

    def _alert_triggered(self, body: Body) -> list[Item]:
        return [parse.alert_triggered(self.alerts.fired(body))]

    def _error(self, body: Body) -> list[Item]:
        """Only `unavailable` becomes an item; other errors are answers to requests."""
        return [parse.problem(body)] if body["code"] == "unavailable" else []


def _bounded(item: Tick | Gap, after: Tick | None, before: Tick | None) -> Tick | Gap:
    """A gap with the prices on both sides, if both have a position."""
    known = after is not None and after.position and before is not None and before.position
    return replace(item, after=after, before=before) if isinstance(item, Gap) and known else item


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[at : at + MAX_PAIRS_PER_REQUEST] for at in range(0, len(items), MAX_PAIRS_PER_REQUEST)]


def _series_body(candle: CandleSeries) -> Body:
    return {"pair": candle[0], "interval": candle[1]}


# event -> function that returns its items; the link handles `connection_established`
_RECEIVERS: dict[str, Callable[[Session, Any], list[Item]]] = {
    "subscription_confirmed": Session._confirmed,
    "price_update": Session._price_update,
    "candle_update": Session._candle_update,
    "book_snapshot": lambda session, body: session.books.snapshot(body),
    "book_response": lambda session, body: session.books.snapshot(body),
    "book_update": lambda session, body: session.books.update(body),
    "book_state": lambda session, body: session.books.state(body),
    "heartbeat": lambda _, body: [parse.heartbeat(body)],
    "scenario_changed": lambda _, body: [parse.scenario_changed(body)],
    "gap_notice": Session._gap_notice,
    "instruments_changed": Session._instruments_changed,
    "alert_triggered": Session._alert_triggered,
    "volatility_alert": lambda _, body: [parse.volatility_alert(body)],
    "correlation_alert": lambda _, body: [parse.correlation_alert(body)],
    "data_ready": lambda _, body: [parse.data_ready(body)],
    "credentials_expiring": lambda _, body: [parse.credentials_expiring(body)],
    "refreshed": Session._refreshed,
    "error": Session._error,
}
