"""The metrics of the hub, and their route."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from flask import Response, request

from api.hub.assembly.callers import Callers
from api.hub.assembly.market import Market
from api.hub.assembly.transport import Transport
from api.hub.events import Events
from api.hub.measures.answer import MetricsAnswer
from api.hub.measures.collectors import HubMetrics, HubParts
from api.hub.measures.lags import LoopLag
from api.hub.measures.performance_line import HubLine
from api.hub.plain.layer import PlainLayer
from api.refresh.measures import AccessMetrics
from config.exposition import Exposition
from config.performance_log import PerformanceLog
from config.settings import Settings
from db.postgres import Store
from health.measures.performance_lines import performance_log


class HubMeasures(NamedTuple):
    """The loops that measure the hub."""

    loop_lag: LoopLag
    performance: PerformanceLog


def make_measures(
    settings: Settings,
    store: Store,
    exposition: Exposition,
    callers: Callers,
    transport: Transport,
    market: Market,
    plain: PlainLayer,
    events: Events,
    clock: Callable[[], datetime],
) -> HubMeasures:
    """Register the metrics of the hub and their route; return the loops that measure."""
    loop_lag = LoopLag(time.monotonic, time.sleep)
    parts = HubParts(
        engine=transport.engine,
        fanouts=(*market.fanouts.values(), plain.fanout),
        clients=market.clients,
        plain=plain,
        relay=market.relay,
        events=events,
        loop_lags=loop_lag.lags,
        max_clients=settings.websocket_max_clients,
    )
    exposition.register(HubMetrics(parts, lambda: time.sleep(0)))
    exposition.register(AccessMetrics(callers.access, clock))
    metrics = MetricsAnswer(exposition, callers.authenticator, callers.peers, callers.access.audit)
    transport.app.add_url_rule("/hub/metrics", "metrics", view_func=lambda: Response(*metrics.answer(request.environ)))
    return HubMeasures(loop_lag, performance_log(settings, store, _line(parts)))


def _line(parts: HubParts) -> HubLine:
    return HubLine(
        lambda: len(parts.clients) + len(parts.plain), lambda: sum(fanout.delivered for fanout in parts.fanouts), parts.relay.times.lags
    )
