"""What clients ask, and the answers: each as an event and, where the client wants one, as the ack with the same body."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from marshmallow import Schema, ValidationError

from api.errors import ErrorCode, Refusal, error_body, unknown_instrument
from api.hub.alerts.requests import AlertRequests
from api.hub.candle_rooms import CandleRooms
from api.hub.fanout import Fanout, granted
from api.hub.schemas.requests import (
    ALL,
    DeleteAlertSchema,
    NothingSchema,
    PingSchema,
    RequestPriceSchema,
    SetAlertSchema,
    SubscribeSchema,
    UnsubscribeSchema,
)
from api.hub.topic_log import TopicLog
from api.hub.transport.outbox import Outbox
from api.hub.transport.wire import event as event_frame
from db import topics

log = logging.getLogger(__name__)

EVENTS_PER_SECOND = 50.0
EVENTS_AT_ONCE = 200.0


@dataclass(slots=True)
class _Client:
    """What the hub knows of a client beyond its rooms: a bucket of events it may still send."""

    tokens: float
    filled: float  # monotonic time of the last filling

    def may_ask(self, now: float) -> bool:
        self.tokens = min(EVENTS_AT_ONCE, self.tokens + (now - self.filled) * EVENTS_PER_SECOND)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Events:
    """The hub's half of the conversation; knows neither Flask nor Redis nor sockets.

    `timestamp()` gives the time in contract form; `stats()` gives what `server_stats` reports of the rest of the hub.
    """

    def __init__(
        self,
        fanout: Fanout,
        topic_log: TopicLog,
        instruments: Sequence[str],
        alerts: AlertRequests,
        *,
        max_clients: int,
        replay_bytes: int = 128 * 1024,
        ping_interval: int,
        ping_timeout: int,
        timestamp: Callable[[], str],
        stats: Callable[[], dict[str, Any]],
    ) -> None:
        self._fanout = fanout
        self._log = topic_log
        self._instruments = tuple(instruments)
        self._known = frozenset(instruments)
        self._candles = CandleRooms(fanout, topic_log, instruments)
        self._alerts = alerts
        self._max_clients = max_clients
        self._replay_bytes = replay_bytes  # of missed messages that one `subscribe` may bring: they have to fit into an outbox whole
        self._pings = {"ping_interval": ping_interval, "ping_timeout": ping_timeout}
        self._timestamp = timestamp
        self._stats = stats
        self._clients: dict[str, _Client] = {}  # sid -> its bucket
        self.total_connections = 0

    # coming and going

    def admit(self) -> dict[str, Any] | None:
        """None where one more client is welcome, else the body of the refusal."""
        if len(self._clients) < self._max_clients:
            return None
        message = f"The server holds its {self._max_clients} clients; try again later."
        return error_body(ErrorCode.SERVER_FULL, message, "connect", {"max_clients": self._max_clients})

    def connected(self, client: str, box: Outbox) -> None:
        """Greet a client whose CONNECT packet is on its way through its outbox."""
        self._fanout.add(client, box)
        self._clients[client] = _Client(EVENTS_AT_ONCE, time.monotonic())
        self.total_connections += 1
        body = {
            "client_id": client,
            "message": "Connected to Tickwire",
            "server_time": self._timestamp(),
            "available_pairs": self._instruments,
            **self._pings,
        }
        self._fanout.send(client, event_frame("connection_established", orjson.dumps(body)))

    def disconnected(self, client: str) -> None:
        """Forget a client."""
        self._clients.pop(client, None)
        self._fanout.remove(client)
        self._alerts.forget(client)

    def answer(self, client: str, event: str, arguments: Sequence[Any]) -> bytes:
        """Serve one event of a client: sends the answer event and returns its body, for the ack."""
        try:
            entry = self._clients.get(client)
            if entry is not None and not entry.may_ask(time.monotonic()):
                raise Refusal(ErrorCode.TOO_MANY_REQUESTS, f"More than {EVENTS_PER_SECOND:.0f} events per second.")
            handler, schema = _HANDLERS.get(event, (None, NothingSchema()))
            if handler is None:
                raise Refusal(
                    ErrorCode.INVALID_PAYLOAD, f"There is no event {event[:64]!r}.", {"event": [f"One of {', '.join(_HANDLERS)}."]}
                )
            return handler(self, client, _load(schema, arguments))
        except Refusal as refusal:
            return self._refuse(client, event, refusal)
        except Exception:
            log.exception("event failed", extra={"event": event})
            return self._refuse(client, event, Refusal(ErrorCode.INTERNAL, "Something went wrong on the server."))

    def _refuse(self, client: str, event: str, refusal: Refusal) -> bytes:
        return self._reply(client, "error", error_body(refusal.code, str(refusal), event[:64], refusal.details))

    def _reply(self, client: str, event: str, body: dict[str, Any] | bytes) -> bytes:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self._fanout.send(client, event_frame(event, data))
        return data

    # one method an event

    def subscribe(self, client: str, asked: dict[str, Any]) -> bytes:
        """Join rooms, take the snapshot and send what was missed, in one go: nothing here lets another message in between."""
        held = self._held(client)
        accepted, rejected = self._judge(asked["pairs"])
        candles, rejected_candles = self._candles.judge(asked["candles"])
        added = [pair for pair in accepted if pair not in held]
        missed = self._missed(accepted, held, asked["since"])
        rate = granted(asked["max_rate"]) if asked["pairs"] else None
        self._fanout.join(client, [topics.price_room(pair) for pair in accepted], rate)
        self._candles.join(client, candles)
        answer = {
            **self._held_body(client, asked),
            "added": added,
            "rejected": rejected + rejected_candles,
            "snapshot": {pair: orjson.Fragment(body) for pair in accepted if (body := self._log.latest(pair))},
            "recovered": {pair: bodies is not None for pair, bodies in missed.items()},
            "max_rate": rate,
            "timestamp": self._timestamp(),
        }
        if "candles" in answer:
            answer["candle_snapshot"] = self._candles.snapshot(candles)
        reply = self._reply(client, "subscription_confirmed", answer)
        for bodies in missed.values():
            for body in bodies or ():
                self._fanout.send(client, event_frame("price_update", body))  # without a key: what was promised is not conflated
        return reply

    def unsubscribe(self, client: str, asked: dict[str, Any]) -> bytes:
        """Leave rooms; what is not held is passed over."""
        held = self._held(client)
        removed = held if asked["pairs"] == ALL else [pair for pair in held if pair in asked["pairs"]]
        self._fanout.leave(client, [topics.price_room(pair) for pair in removed])
        self._candles.leave(client, asked["candles"])
        answer = {**self._held_body(client, asked), "removed": removed, "timestamp": self._timestamp()}
        return self._reply(client, "unsubscription_confirmed", answer)

    def get_subscriptions(self, client: str, asked: dict[str, Any]) -> bytes:
        """What the client holds."""
        return self._reply(client, "subscriptions_info", {**self._held_body(client, asked), "timestamp": self._timestamp()})

    def request_price(self, client: str, asked: dict[str, Any]) -> bytes:
        """The latest price of one instrument, subscribed or not."""
        instrument = asked["instrument"]
        if instrument not in self._known:
            raise unknown_instrument(instrument)
        body = self._log.latest(instrument)
        if body is None:
            raise Refusal(ErrorCode.NO_PRICE, f"{instrument} has no price yet.", {"instrument": ["No price yet."]})
        return self._reply(client, "price_response", body)

    def request_all_prices(self, client: str, _: dict[str, Any]) -> bytes:
        """The latest price of every instrument that has one."""
        bodies = {name: body for name in self._instruments if (body := self._log.latest(name))}
        prices = {name: orjson.loads(body)["price"] for name, body in bodies.items()}
        return self._reply(client, "all_prices_response", {"prices": prices, "count": len(prices), "timestamp": self._timestamp()})

    def get_server_stats(self, client: str, _: dict[str, Any]) -> bytes:
        """Figures of the whole hub."""
        members = self._fanout.members()
        by_pair = {pair: count for pair in self._instruments if (count := members.get(topics.price_room(pair)))}
        stats = {
            "connected_clients": len(self._clients),
            "total_connections": self.total_connections,
            "total_subscriptions": sum(by_pair.values()),
            "subscriptions_by_pair": by_pair,
            "candle_subscriptions": self._candles.count(members),
            "alerts_set": self._alerts.count(),
            "messages_delivered": self._fanout.delivered,
            "average_batch": round(self._fanout.batched / max(1, self._fanout.batches), 2),
            **self._stats(),
            "timestamp": self._timestamp(),
        }
        return self._reply(client, "server_stats", stats)

    def ping(self, client: str, asked: dict[str, Any]) -> bytes:
        """The client's own timestamp back, for measuring the way."""
        now = self._timestamp()
        return self._reply(client, "pong", {"timestamp": asked.get("timestamp", now), "server_time": now})

    def set_alert(self, client: str, asked: dict[str, Any]) -> bytes:
        """Take a threshold of the client's own."""
        return self._reply(client, "alert_set", {**self._alerts.set(client, asked), "timestamp": self._timestamp()})

    def list_alerts(self, client: str, _: dict[str, Any]) -> bytes:
        """The thresholds that the client still waits for."""
        return self._reply(client, "alerts_list", {**self._alerts.list(client), "timestamp": self._timestamp()})

    def delete_alert(self, client: str, asked: dict[str, Any]) -> bytes:
        """Forget one threshold, or all."""
        return self._reply(client, "alert_deleted", {**self._alerts.delete(client, asked["id"]), "timestamp": self._timestamp()})

    # helpers

    def _held(self, client: str) -> list[str]:
        rooms = self._fanout.rooms(client)
        return [pair for pair in self._instruments if topics.price_room(pair) in rooms]

    def _held_body(self, client: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What the client holds. Of candles it hears only where it holds or asks for some."""
        held, candles = self._held(client), self._candles.held(client)
        body = {"pairs": held, "pair_count": len(held)}
        return {**body, "candles": candles} if candles or asked.get("candles") else body

    def _missed(self, pairs: Sequence[str], held: Sequence[str], since: Mapping[str, Any]) -> dict[str, list[bytes] | None]:
        """Of each pair with a position, what came after it; None where that is not known for certain, or more than can be sent."""
        found: dict[str, list[bytes] | None] = {}
        left = self._replay_bytes
        for pair in pairs:
            if (position := since.get(pair)) is None:
                continue
            # Who is in the room already misses nothing; sending it again would only double it.
            bodies = [] if pair in held else self._log.missed(pair, position["epoch"], position["seq"])
            size = sum(map(len, bodies or ()))
            if size > left:
                bodies, size = None, 0
            found[pair] = bodies
            left -= size
        return found

    def _judge(self, pairs: Any) -> tuple[list[str], list[dict[str, Any]]]:
        """Asked pairs, each once: those that exist, and a verdict on each that does not."""
        if pairs == ALL:
            return list(self._instruments), []
        accepted: dict[str, None] = {}
        rejected = []
        for pair in pairs:
            if isinstance(pair, str) and pair in self._known:
                accepted[pair] = None
            elif isinstance(pair, str):
                rejected.append(
                    {"pair": pair, "code": ErrorCode.UNKNOWN_INSTRUMENT.value, "message": f"There is no instrument {pair[:64]!r}."}
                )
            else:
                rejected.append({"pair": pair, "code": ErrorCode.INVALID_PAYLOAD.value, "message": "An instrument is a string."})
        return list(accepted), rejected


def _load(schema: Schema, arguments: Sequence[Any]) -> dict[str, Any]:
    """Validate the one payload an event may carry; nothing at all counts as an empty one."""
    if len(arguments) > 1:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "An event carries one payload.", {"payload": ["More than one argument."]})
    payload = arguments[0] if arguments and arguments[0] is not None else {}
    if not isinstance(payload, dict):
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "The payload is not an object.", {"payload": ["Not an object."]})
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except ValidationError as error:
        details = error.messages_dict
        raise Refusal(ErrorCode.INVALID_PAYLOAD, f"Invalid {', '.join(map(str, details))}.", details) from None
    return loaded


_Handler = Callable[[Events, str, dict[str, Any]], bytes]

# event -> how it is served and what it may carry
_HANDLERS: dict[str, tuple[_Handler | None, Schema]] = {
    "subscribe": (Events.subscribe, SubscribeSchema()),
    "unsubscribe": (Events.unsubscribe, UnsubscribeSchema()),
    "get_subscriptions": (Events.get_subscriptions, NothingSchema()),
    "request_price": (Events.request_price, RequestPriceSchema()),
    "request_all_prices": (Events.request_all_prices, NothingSchema()),
    "get_server_stats": (Events.get_server_stats, NothingSchema()),
    "ping": (Events.ping, PingSchema()),
    "set_alert": (Events.set_alert, SetAlertSchema()),
    "list_alerts": (Events.list_alerts, NothingSchema()),
    "delete_alert": (Events.delete_alert, DeleteAlertSchema()),
}
