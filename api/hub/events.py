"""Events of clients and their answers.

Each answer is an event and, if the client requests one, an ack with the same body.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from marshmallow import Schema

from api.access.model import OBSERVE, OPEN, OPERATE, REPORT, Access, Authenticator, Handshake
from api.access.peers import Peers
from api.errors import ErrorCode, Refusal, error_body, forbidden_scope
from api.hub.alerts.requests import AlertRequests
from api.hub.books.feed import BookFeed
from api.hub.channels import CHANNELS
from api.hub.clients import Client, Clients
from api.hub.fanout import Fanout
from api.hub.market.events import ALERT_EVENTS, MARKET_EVENTS, Answer, MarketEvent, MarketEvents
from api.hub.market.events import Serve as ServeMarket
from api.hub.metrics.deferred import Deferred
from api.hub.metrics.events import METRICS_EVENTS, MetricsEvents
from api.hub.metrics.events import Serve as ServeMetrics
from api.hub.rights.limits import HubLimits, unlimited
from api.hub.rights.live import Connections, LiveRights, NoConnections, described
from api.hub.rooms.books import BookRooms
from api.hub.rooms.candles import CandleRooms
from api.hub.rooms.prices import PriceRooms
from api.hub.schemas import answers, request_costs, requests
from api.hub.schemas.metrics import METRICS_SPACE
from api.hub.schemas.request_costs import Cost
from api.hub.topic_log import TopicLog
from api.hub.transport.client_json import readable
from api.hub.transport.limits.bucket import Bucket
from api.hub.transport.outbox import Outbox
from config.access.patterns import Patterns
from config.logs.client import client_fields
from config.pacing import Throttle
from db.timestamps import parse_time

log = logging.getLogger(__name__)

MAIN = "/"  # the namespace of market data
# namespace -> scopes, of which its CONNECT needs one
CONNECT_SCOPES = {METRICS_SPACE: (OBSERVE, REPORT, OPERATE)}


class Events:
    """Serves the events of clients. Imports neither Flask nor Redis nor sockets.

    `fanouts` has one fan-out per namespace. `timestamp()` returns the time in contract form;
    `stats()` returns the part of `server_stats` that is not about clients, and `retry_after()` the
    seconds after which a client may try again that found the hub full. `books` has the order books.
    `connections` ends the
    sessions of clients whose `rights` have ended. Without `limits`, callers have none. `clock`
    returns the time of `timestamp` as aware UTC; without it, `timestamp` is parsed. `metrics`
    serves the namespace `/metrics`, if `fanouts` has it.
    """

    def __init__(
        self,
        fanouts: Mapping[str, Fanout],
        topic_log: TopicLog,
        instruments: Sequence[str],
        alerts: AlertRequests,
        authenticator: Authenticator,
        *,
        books: BookFeed,
        max_clients: int,
        replay_bytes: int = 1024 * 1024,
        ping_interval: int,
        ping_timeout: int,
        timestamp: Callable[[], str],
        stats: Callable[[], dict[str, Any]],
        retry_after: Callable[[], float] = lambda: 10.0,
        peers: Peers | None = None,
        clients: Clients | None = None,
        connections: Connections | None = None,
        limits: HubLimits | None = None,
        clock: Callable[[], datetime] | None = None,
        metrics: MetricsEvents | None = None,
    ) -> None:
        self._fanouts = fanouts
        self._fanout = fanouts[MAIN]
        rooms = PriceRooms(self._fanout, topic_log, instruments, replay_bytes), CandleRooms(self._fanout, topic_log, instruments, timestamp)
        book_rooms = BookRooms(self._fanout, books, instruments)
        self._limits = limits or unlimited()
        self.market = MarketEvents(self._fanout, *rooms, book_rooms, alerts, timestamp, self._limits.audit)
        self._alerts = alerts
        self._authenticator = authenticator
        self._max_clients = max_clients
        self._pings = {"ping_interval": ping_interval, "ping_timeout": ping_timeout}
        self._timestamp = timestamp
        self._stats = stats
        self._retry_after = retry_after
        self._peers = peers or Peers()
        # sid -> (handshake, rights, bucket of the caller), from the decision until the CONNECT
        # packet is sent
        self._admitted: dict[str, tuple[Handshake, Access, Bucket | None]] = {}
        self._clients = Clients() if clients is None else clients
        self._metrics = metrics
        clock = clock or (lambda: parse_time(timestamp()))
        self.rights = LiveRights(
            self._clients, rooms, alerts, authenticator, connections or NoConnections(), clock, self._limits.audit,
            self._denied,
        )  # fmt: skip
        self._failures = Throttle(monotonic=time.monotonic)
        self.total_connections = 0
        # Patterns of a client -> the figures of all hubs, as `server_stats` has them.
        self.cluster: Callable[[Patterns], dict[str, Any]] = lambda patterns: {}

    def _denied(self, namespace: str, access: Access) -> list[str]:
        """Return the denied rooms of a namespace, beside those of prices and candles."""
        if namespace == MAIN:
            return [*self.market.books.denied(access), *self.market.alert_room.denied(access)]
        return self.metrics.rooms.denied(access)

    # connections

    def admit(self, sid: str, handshake: Handshake) -> None:
        """Decide the rights of a client. Raises `Refusal` if it may not connect."""
        if len(self._clients) >= self._max_clients:
            message = f"The server holds its {self._max_clients} clients; try again later."
            raise Refusal(ErrorCode.SERVER_FULL, message, {"max_clients": self._max_clients, "retry_after": self._retry_after()})
        access = self._authenticator.authenticate(handshake)
        scopes = CONNECT_SCOPES.get(handshake.namespace, (OPEN,))
        if not any(map(access.allows, scopes)):
            message = f"One of the scopes {', '.join(scopes)} is needed."
            refusal = Refusal(ErrorCode.FORBIDDEN, message, {"scope": list(scopes)})
            self._limits.audit.forbidden(refusal)
            raise refusal
        self._admitted[sid] = handshake, access, self._limits.open(sid, handshake, access)

    def connected(self, sid: str, box: Outbox, bucket: Bucket) -> None:
        """Add an admitted client, whose CONNECT packet is in its outbox.

        Clients of the main namespace receive `connection_established`.
        """
        handshake, access, shared = self._admitted.pop(sid)
        namespace, address = handshake.namespace, handshake.address
        owner = access.caller or ("" if self._peers.exempt(address) else address)
        client = Client(sid, self._fanouts[namespace], access, bucket, owner, address, shared, handshake.session)
        self._clients.add(client)
        client.fanout.add(sid, box)
        self.rights.watch(client)
        self.total_connections += 1
        if namespace == MAIN:
            body = {
                "client_id": sid,
                "message": "Connected to Tickwire",
                "server_time": self._timestamp(),
                "available_pairs": self.market.prices.permitted(client.access),
                **self._pings,
                "key_id": access.key_id,
                **described(access),
            }
            client.fanout.emit(sid, "connection_established", orjson.dumps(body))

    def may_report(self, sid: str) -> bool:
        """Return True if a connected client may send reports: batches are larger than requests."""
        client = self._clients[sid]
        return client.fanout.namespace == METRICS_SPACE and client.access.allows(REPORT)

    def disconnected(self, sid: str) -> None:
        """Remove a client, its rooms and its alerts."""
        self._admitted.pop(sid, None)
        self._limits.close(sid)
        if client := self._clients.remove(sid):
            client.fanout.remove(sid)
            self._alerts.forget(sid)

    def answer(self, sid: str, event: str, arguments: Sequence[Any]) -> bytes | Deferred:
        """Serve one event of a client: send the answer event and return its body for the ack.

        A `Deferred` does both later.
        """
        client, event = self._clients[sid], readable(event)
        try:
            row = self._row(client, event)
            asked = requests.load(row.request, arguments)
            self._limits.charge(client, row.cost(asked, len(self.market.prices)) - 1)
            answer = row.handler(self, client, asked)
            if isinstance(answer.body, Deferred):
                return answer.body
            data = _reply(client, row.answer, answer.body)
        except Refusal as refusal:
            self._limits.audit.forbidden(refusal)
            return _refuse(client, event, refusal)
        except Exception:
            if count := self._failures.due(event):
                log.exception("event failed", extra={**client_fields(client.session or sid, event), "count": count})
            return _refuse(client, event, Refusal(ErrorCode.INTERNAL, "Something went wrong on the server."))
        if answer.missed is not None:
            client.fanout.replay(sid, answer.missed)
        return data

    def _row(self, client: Client, event: str) -> ClientEvent:
        """Return the row of an event that the client may send now. Raises `Refusal`."""
        self._limits.charge(client)
        row = CLIENT_EVENTS.get((client.fanout.namespace, event))
        if row is None:
            names = [name for namespace, name in CLIENT_EVENTS if namespace == client.fanout.namespace]
            raise Refusal(ErrorCode.INVALID_PAYLOAD, f"There is no event {event!r}.", {"event": [f"One of {', '.join(names)}."]})
        if not (client.access.allows(row.scope) or (row.or_scope is not None and client.access.allows(row.or_scope))):
            raise forbidden_scope(row.scope)
        return row

    def set_instruments(self, instruments: Sequence[str], pause: Callable[[], None]) -> None:
        """Serve these instruments from now on. `pause` lets other greenlets run."""
        self.market.set_instruments(instruments, self._clients, pause)

    # handlers of events that belong to no rooms

    def get_server_stats(self, client: Client, _: dict[str, Any]) -> Answer:
        """Return figures of this hub and of all hubs; of instruments, those of the patterns."""
        fanouts = self._fanouts.values()
        batched, batches = sum(each.batched for each in fanouts), sum(each.batches for each in fanouts)
        stats = {
            "connected_clients": len(self._clients),
            "total_connections": self.total_connections,
            **self.market.counts(client.access),
            "messages_delivered": sum(each.delivered for each in fanouts),
            "average_batch": round(batched / max(1, batches), 2),
            **self._stats(),
            "cluster": self.cluster(client.access.patterns),
            "timestamp": self._timestamp(),
        }
        return Answer(stats)

    def ping(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Return the timestamp of the client, with which it measures the round trip."""
        now = self._timestamp()
        return Answer({"timestamp": asked.get("timestamp", now), "server_time": now})

    def refresh(self, client: Client, asked: dict[str, Any]) -> Answer:
        """Give the client the rights of a new token."""
        return Answer({**self.rights.refresh(client, asked["token"]), "timestamp": self._timestamp()})

    @property
    def metrics(self) -> MetricsEvents:
        """The handlers of the namespace `/metrics`."""
        assert self._metrics is not None  # noqa: S101 - without them there is no fan-out of the namespace
        return self._metrics


def _reply(client: Client, event: str, body: dict[str, Any] | bytes) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    client.fanout.emit(client.id, event, data)
    return data


def _refuse(client: Client, event: str, refusal: Refusal) -> bytes:
    return _reply(client, "error", error_body(refusal.code, str(refusal), event, refusal.details))


Handler = Callable[[Events, Client, dict[str, Any]], Answer]


def _of_market(serve: ServeMarket) -> Handler:
    """Return the handler of an event about market data."""
    return lambda events, client, asked: serve(events.market, client, asked)


def _of_metrics(serve: ServeMetrics) -> Handler:
    """Return the handler of an event of the namespace `/metrics`."""
    return lambda events, client, asked: Answer(serve(events.metrics, client, asked))


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One row: an event that clients of a namespace may send, and the event that answers it."""

    name: str
    request: Schema
    answer: str
    answer_schema: type[Schema]
    handler: Handler
    scope: str
    namespace: str = MAIN
    cost: Cost = request_costs.cheap  # in tokens of the session
    or_scope: str | None = None  # may replace `scope`: the handler checks the parts of the payload


def _market_row(row: MarketEvent) -> ClientEvent:
    serve = _of_market(row.serve)
    return ClientEvent(row.name, row.request, row.answer, row.answer_schema, serve, row.scope, cost=row.cost, or_scope=row.or_scope)


_NOTHING = requests.NothingSchema()
_ROWS = (
    *map(_market_row, MARKET_EVENTS),
    ClientEvent(
        "get_server_stats",
        _NOTHING,
        "server_stats",
        answers.ServerStatsSchema,
        Events.get_server_stats,
        OBSERVE,
        cost=request_costs.statistics,
    ),
    ClientEvent("ping", requests.PingSchema(), "pong", answers.PongSchema, Events.ping, OPEN),
    ClientEvent("refresh", requests.RefreshSchema(), "refreshed", answers.RefreshedSchema, Events.refresh, OPEN),
    *map(_market_row, ALERT_EVENTS),
    *(
        ClientEvent(row.name, row.request, row.answer, row.answer_schema, _of_metrics(row.serve), row.scope, METRICS_SPACE, row.cost)
        for row in METRICS_EVENTS
    ),
    ClientEvent("ping", requests.PingSchema(), "pong", answers.PongSchema, Events.ping, OPEN, METRICS_SPACE),
)

# (namespace, event) -> row
CLIENT_EVENTS: dict[tuple[str, str], ClientEvent] = {(row.namespace, row.name): row for row in _ROWS}


def namespaces() -> list[str]:
    """Return the namespaces of all channels and client events, the main one first."""
    named = [MAIN, *(row.namespace for row in CHANNELS.values()), *(row.namespace for row in CLIENT_EVENTS.values())]
    return list(dict.fromkeys(named))
