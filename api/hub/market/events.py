"""Events of clients of the main namespace: prices, candles, books, alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from marshmallow import Schema

from api.access.audit import Audit
from api.access.model import OBSERVE, READ, Access
from api.errors import ErrorCode, Refusal, forbidden_scope
from api.hub.alerts.requests import AlertRequests
from api.hub.clients import Client, Clients
from api.hub.fanout import Fanout, granted
from api.hub.metrics.deferred import Deferred
from api.hub.rooms.alerts import AlertRoom
from api.hub.rooms.books import BookRooms
from api.hub.rooms.candles import CandleRooms
from api.hub.rooms.changes import InstrumentChange
from api.hub.rooms.prices import PriceRooms
from api.hub.schemas import answers, request_costs, requests
from api.hub.schemas.books import BookSnapshotSchema
from api.hub.schemas.bus import PriceUpdateSchema
from api.hub.schemas.rejections import Rejections
from api.hub.schemas.request_costs import Cost
from api.hub.transport.wire import Replay

_CLIENTS_PER_TURN = 100  # of a change of the instruments, before other greenlets run


class Answer(NamedTuple):
    """The body of the answer event, and the frames of missed prices that follow it.

    A `Deferred` body sends the answer itself, later.
    """

    body: dict[str, Any] | bytes | Deferred
    missed: Replay | None = None


class MarketEvents:
    """Serves the events of the namespace. No handler waits.

    `timestamp()` returns the time in contract form. `audit` receives the rejected instruments.
    """

    def __init__(
        self,
        fanout: Fanout,
        prices: PriceRooms,
        candles: CandleRooms,
        books: BookRooms,
        alerts: AlertRequests,
        timestamp: Callable[[], str],
        audit: Audit,
    ) -> None:
        self._fanout = fanout
        self.prices = prices
        self.candles = candles
        self.books = books
        self.alert_room = AlertRoom(fanout)
        self._alerts = alerts
        self._timestamp = timestamp
        self._audit = audit
        self.recoveries = {True: 0, False: 0}  # positions after which all messages were there, and those after which not

    def set_instruments(self, instruments: Sequence[str], clients: Clients, pause: Callable[[], None]) -> None:
        """Serve these instruments from now on; clients leave the rooms of removed ones.

        Each client of a change receives `instruments_changed`. `pause` lets other greenlets run.
        """
        change = InstrumentChange(self.prices.instruments, instruments, self._timestamp(), self._fanout.namespace)
        self.prices.set_instruments(instruments)
        self.candles.set_instruments(instruments)
        self.books.set_instruments(instruments)
        present = [client for client in clients if client.fanout is self._fanout] if change else []
        for number, client in enumerate(present, 1):
            if gone := change.rooms & self._fanout.rooms(client.id).keys():
                self._fanout.leave(client.id, gone)
            if frame := change.frame(client.access):
                self._fanout.send(client.id, frame)
            if number % _CLIENTS_PER_TURN == 0:
                pause()

    def counts(self, access: Access) -> dict[str, Any]:
        """Return the numbers of subscriptions and alerts; by pair, for those that are permitted."""
        members = self._fanout.members()
        by_pair = self.prices.count(members)
        return {
            "total_subscriptions": sum(by_pair.values()),
            "subscriptions_by_pair": {pair: count for pair, count in by_pair.items() if access.patterns.permits(pair)},
            "candle_subscriptions": self.candles.count(members),
            "book_subscriptions": self.books.count(members),
            "alerts_set": self._alerts.count(),
        }

    def subscribe(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Join rooms; answer with the snapshot, then the missed messages.

        The handler does not yield, so no live message comes in between.
        """
        _check_scopes(client.access, asked)
        held = self.prices.held(client.id)
        rejections = Rejections()
        accepted = self.prices.judge(asked["pairs"], client.access, rejections)
        candles = self.candles.judge(asked["candles"], client.access, rejections)
        books = self.books.judge(asked["books"], client.access, rejections)
        added = [pair for pair in accepted if pair not in held]
        missed = self.prices.missed(client.id, accepted, held, asked["since"])
        for recovered in missed.recovered.values():
            self.recoveries[recovered] += 1
        self._audit.forbidden_instruments(rejections.forbidden)
        rate = granted(asked["max_rate"]) if asked["pairs"] or asked["books"] else None
        self.prices.join(client.id, accepted, rate)
        self.candles.join(client.id, candles)
        book_snapshot = self.books.join(client.id, books, rate)
        if asked["heartbeat"]:
            self.books.set_heartbeat(client.id, wanted=True)
        if asked["alerts"]:
            self.alert_room.join(client.id)
        answer = {
            **self._held(client, asked),
            "added": added,
            "rejected": rejections.shown,
            "rejected_count": rejections.count,
            "snapshot": self.prices.snapshot(accepted),
            "recovered": missed.recovered,
            "max_rate": rate,
            "timestamp": self._timestamp(),
        }
        if starts := self.prices.starts(accepted):
            answer["positions"] = starts
        if "candles" in answer:
            answer["candle_snapshot"] = self.candles.snapshot(candles)
        if "books" in answer:
            answer["book_snapshot"] = book_snapshot
        return Answer(answer, missed.replay)

    def unsubscribe(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Leave rooms; pairs that the client does not hold are ignored."""
        _check_scopes(client.access, asked)
        removed = self.prices.leave(client.id, asked["pairs"])
        self.candles.leave(client.id, asked["candles"], client.access)
        self.books.leave(client.id, asked["books"])
        if asked["heartbeat"]:
            self.books.set_heartbeat(client.id, wanted=False)
        if asked["alerts"]:
            self.alert_room.leave(client.id)
        return Answer({**self._held(client, asked), "removed": removed, "timestamp": self._timestamp()})

    def get_subscriptions(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Return the rooms of the client."""
        return Answer({**self._held(client, asked), "timestamp": self._timestamp()})

    def request_price(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Return the latest price of one instrument, subscribed or not."""
        instrument = asked["instrument"]
        self.prices.check(instrument, client.access)
        if (body := self.prices.latest([instrument]).get(instrument)) is None:
            raise Refusal(ErrorCode.NO_PRICE, f"{instrument} has no price yet.", {"instrument": ["No price yet."]})
        return Answer(body)

    def request_book(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Return the newest snapshot of one book, subscribed or not."""
        return Answer(self.books.latest(client.id, asked["instrument"], asked["depth"], client.access))

    def request_all_prices(self, client: Client, _: dict[str, Any]) -> Answer:
        """Return the latest price of every permitted instrument that has one."""
        bodies = self.prices.latest(self.prices.permitted(client.access))
        prices = {name: orjson.loads(body)["price"] for name, body in bodies.items()}
        return Answer({"prices": prices, "count": len(prices), "timestamp": self._timestamp()})

    def set_alert(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Add an alert of the client."""
        self.prices.check(asked["instrument"], client.access)
        return Answer({**self._alerts.set(client.id, asked, client.owner), "timestamp": self._timestamp()})

    def list_alerts(self, client: Client, _: dict[str, Any]) -> Answer:
        """Return the alerts of the client that have not been deleted."""
        return Answer({**self._alerts.list(client.id), "timestamp": self._timestamp()})

    def delete_alert(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Delete one alert of the client, or all."""
        return Answer({**self._alerts.delete(client.id, asked["id"]), "timestamp": self._timestamp()})

    def _held(self, client: Client, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the rooms; candles, books and alerts only if the client holds or requests some."""
        held, candles, books = (rooms.held(client.id) for rooms in (self.prices, self.candles, self.books))
        has_heartbeat = self.books.has_heartbeat(client.id)
        body: dict[str, Any] = {"pairs": held, "pair_count": len(held)}
        if candles or asked.get("candles"):
            body["candles"] = candles
        if books or has_heartbeat or asked.get("books") or asked.get("heartbeat"):
            body.update(books=books, heartbeat=has_heartbeat)
        if (alerts := self.alert_room.held(client.id)) or asked.get("alerts"):
            body["alerts"] = alerts
        return body


def _check_scopes(access: Access, asked: Mapping[str, Any]) -> None:
    """Raise `Refusal` unless the client has the scopes for these rooms."""
    if not access.allows(READ) and any(asked[name] for name in ("pairs", "candles", "books", "alerts")):
        raise forbidden_scope(READ)
    if asked["heartbeat"] and not access.allows(OBSERVE):
        raise forbidden_scope(OBSERVE)


Serve = Callable[[MarketEvents, Client, dict[str, Any]], Answer]


class MarketEvent(NamedTuple):
    """One row: an event of the namespace, its answer, and the scope that it needs.

    Clients with `or_scope` may send the event too: its handler checks the parts of the payload.
    """

    name: str
    request: Schema
    answer: str
    answer_schema: type[Schema]
    serve: Serve
    scope: str = READ
    cost: Cost = request_costs.cheap
    or_scope: str | None = None


_NOTHING = requests.NothingSchema()

MARKET_EVENTS = (
    MarketEvent(
        "subscribe",
        requests.SubscribeSchema(),
        "subscription_confirmed",
        answers.SubscriptionConfirmedSchema,
        MarketEvents.subscribe,
        cost=request_costs.rooms,
        or_scope=OBSERVE,
    ),
    MarketEvent(
        "unsubscribe",
        requests.UnsubscribeSchema(),
        "unsubscription_confirmed",
        answers.UnsubscriptionConfirmedSchema,
        MarketEvents.unsubscribe,
        cost=request_costs.rooms,
        or_scope=OBSERVE,
    ),
    MarketEvent("get_subscriptions", _NOTHING, "subscriptions_info", answers.SubscriptionsInfoSchema, MarketEvents.get_subscriptions),
    MarketEvent("request_price", requests.RequestPriceSchema(), "price_response", PriceUpdateSchema, MarketEvents.request_price),
    MarketEvent("request_book", requests.RequestBookSchema(), "book_response", BookSnapshotSchema, MarketEvents.request_book),
    MarketEvent("request_all_prices", _NOTHING, "all_prices_response", answers.AllPricesSchema, MarketEvents.request_all_prices),
)

ALERT_EVENTS = (
    MarketEvent("set_alert", requests.SetAlertSchema(), "alert_set", answers.AlertSetSchema, MarketEvents.set_alert),
    MarketEvent("list_alerts", _NOTHING, "alerts_list", answers.AlertsListSchema, MarketEvents.list_alerts),
    MarketEvent("delete_alert", requests.DeleteAlertSchema(), "alert_deleted", answers.AlertDeletedSchema, MarketEvents.delete_alert),
)
