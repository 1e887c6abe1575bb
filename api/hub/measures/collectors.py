"""The metrics of the hub, from the integers of its parts. No part keeps an object of a metric.

`api/hub/transport/limits/totals.py` has the ends of connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from api.hub.clients import Clients
from api.hub.events import Events
from api.hub.fanout import Fanout
from api.hub.measures.census import take_census
from api.hub.plain.layer import PlainLayer
from api.hub.relay.relay import Relay
from api.hub.transport.engineio_server import EngineServer
from config.exposition import Collected
from db.measures import Lags

KINDS = ("price", "candle", "book", "metrics")  # of subscriptions


class HubParts(NamedTuple):
    """The parts of a hub that count. `fanouts` are those of all namespaces and of plain clients."""

    engine: EngineServer
    fanouts: tuple[Fanout, ...]
    clients: Clients
    plain: PlainLayer
    relay: Relay
    events: Events
    loop_lags: Lags
    max_clients: int


class HubMetrics:
    """Adds the metrics of the hub. `pause` lets other greenlets run."""

    def __init__(self, parts: HubParts, pause: Callable[[], None]) -> None:
        self._parts = parts
        self._pause = pause

    def __call__(self, found: Collected) -> None:
        """Add all rows of the hub."""
        self._add_clients(found)
        self._add_messages(found)
        self._add_deliveries(found)

    def _add_clients(self, found: Collected) -> None:
        parts = self._parts
        census = take_census(parts.engine, parts.clients, parts.plain, self._pause)
        for transport, number in census.transports.items():
            found.add("tickwire_hub_clients", number, transport=transport)
        found.add("tickwire_hub_clients_limit", parts.max_clients)
        for state, number in census.states.items():
            found.add("tickwire_hub_sessions", number, state=state)
        found.add("tickwire_hub_connections_total", parts.engine.totals.opened)
        for end, number in parts.engine.totals.ended.items():
            found.add("tickwire_hub_disconnects_total", number, reason=end)
        held = sum((fanout.subscriptions for fanout in parts.fanouts), Counter())
        for kind in KINDS:
            found.add("tickwire_hub_subscriptions", held[kind], kind=kind)
        for recovered, number in parts.events.market.recoveries.items():
            found.add("tickwire_hub_recoveries_total", number, recovered=str(recovered).lower())
        found.add("tickwire_hub_conflated_total", census.conflated)
        found.add("tickwire_hub_outbox_bytes", census.waiting_bytes)
        found.add("tickwire_hub_outbox_clients", census.waiting_clients)

    def _add_messages(self, found: Collected) -> None:
        relay = self._parts.relay
        for channel, number in relay.relayed_by_channel.items():
            found.add("tickwire_hub_relayed_total", number, channel=channel)
            found.add("tickwire_hub_skipped_total", relay.skipped_by_channel[channel], channel=channel)
        found.add("tickwire_hub_bus_connected", relay.connected)
        found.add("tickwire_hub_bus_reconnects_total", max(0, relay.connections - 1))
        found.add_buckets("tickwire_hub_relay_lag_seconds", relay.times.lags)
        found.add_buckets("tickwire_book_lag_seconds", relay.times.book_lags, stage="socket")

    def _add_deliveries(self, found: Collected) -> None:
        fanouts = self._parts.fanouts
        found.add("tickwire_hub_deliveries_total", sum(fanout.delivered for fanout in fanouts))
        found.add("tickwire_hub_sends_total", sum(fanout.sends for fanout in fanouts))
        found.add("tickwire_hub_sent_bytes_total", sum(fanout.sent_bytes for fanout in fanouts))
        found.add_buckets("tickwire_hub_loop_lag_seconds", self._parts.loop_lags)
