"""The loops of the hub, and the answer of `/hub/health` about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from flask import request
from flask_socketio import SocketIO

from api.hub.assembly.callers import Callers
from api.hub.assembly.market import Market
from api.hub.assembly.measures import HubMeasures
from api.hub.assembly.transport import Transport
from api.hub.cluster.counts import Cluster
from api.hub.health import HubHealth, live
from api.hub.own_report import REPORT_ROUND_SECONDS
from api.hub.relay.relay import Relay
from api.hub.transport import send_many
from api.refresh.leases import LeaseLoop
from api.refresh.service import AccessControl
from config.loops import HEARTBEATS, PROCESS_END, BeatingStop, keep
from config.process.acceptor import ACCEPTOR
from db.instrument_changes import InstrumentChanges

RELAY_ROUND_SECONDS = 10 / 3  # the longest round: a relay that is silent for 10 s does not work
BOOKS_ROUND_SECONDS = 5.0
STATUS_ROUND_SECONDS = 10.0  # a round waits for one answer of Redis
LEASE_ROUND_SECONDS = 10.0  # likewise
CLUSTER_ROUND_SECONDS = 10.0  # likewise
LAG_ROUND_SECONDS = 10 / 3  # as of the relay
REPORTS_ROUND_SECONDS = 10.0  # likewise
FEED_ROUND_SECONDS = 30.0  # a read of the store may wait for a connection and for its statement


class Loop(NamedTuple):
    """A loop of the hub; a round takes at most `seconds`."""

    name: str
    run: Callable[[threading.Event], None]
    seconds: float


def loops_of(
    market: Market, changes: InstrumentChanges, access: AccessControl, leases: LeaseLoop, measures: HubMeasures, cluster: Cluster
) -> list[Loop]:
    """Return the loops of the hub. The alert notifier runs in that of the relay."""
    loops = [
        Loop("relay", market.relay.run, RELAY_ROUND_SECONDS),
        Loop("books", market.books.run, BOOKS_ROUND_SECONDS),
        Loop("book-status", market.status.run, STATUS_ROUND_SECONDS),
        Loop("volatility-feed", market.feed.run, FEED_ROUND_SECONDS),
        Loop("report", market.report.run, REPORT_ROUND_SECONDS),
        Loop("cluster", cluster.run, CLUSTER_ROUND_SECONDS),
        Loop("bot-reports", market.reports.run, REPORTS_ROUND_SECONDS),
        Loop("acknowledgements", market.acknowledgements.run, FEED_ROUND_SECONDS),
        Loop("instruments", changes.run, FEED_ROUND_SECONDS),
        Loop("access", access.run, FEED_ROUND_SECONDS),
        Loop("leases", leases.run, LEASE_ROUND_SECONDS),
        Loop("loop-lag", measures.loop_lag.run, LAG_ROUND_SECONDS),
        Loop("performance-log", measures.performance.run, LAG_ROUND_SECONDS),
    ]
    if access.token_keys is not None:
        loops.append(Loop("token-keys", access.token_keys.run, FEED_ROUND_SECONDS))
    return loops


def start_loops(socketio: SocketIO, loops: Iterable[Loop], stop: threading.Event) -> None:
    """Start each loop in a greenlet that lasts until `stop` is set."""
    for name, loop, seconds in loops:
        HEARTBEATS.expect(name, seconds)
        socketio.start_background_task(keep, name, partial(loop, BeatingStop(stop, name)), stop.is_set, PROCESS_END)


def make_health(callers: Callers, relay: Relay, transport: Transport, stop: threading.Event, draining: Callable[[], bool]) -> HubHealth:
    """Return the answer of `/hub/health`. It and `/hub/live` have routes from now on."""
    sockets = transport.engine.sockets

    def serves() -> bool:
        return _serves(stop) and not draining()

    def details() -> dict[str, Any]:
        return {"sessions": len(sockets), "fanout_loop": send_many.KIND}

    health = HubHealth(relay, callers.access, callers.authenticator, callers.peers, serves, details)
    transport.app.add_url_rule("/hub/health", "health", view_func=lambda: health.answer(request.environ))
    transport.app.add_url_rule("/hub/live", "live", view_func=lambda: live(HEARTBEATS.silent()))
    return health


def _serves(stop: threading.Event) -> bool:
    """Return True if the hub accepts connections, works, and is not about to stop."""
    return not stop.is_set() and not ACCEPTOR.pausing and not HEARTBEATS.silent()
