"""The REST app's composition root."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response

from api.orjson_provider import OrjsonProvider
from api.rest import errors, slots
from api.rest.context import AppContext, attach
from api.rest.probe import HealthProbe
from api.rest.routes import alerts, candles, correlation, docs, gaps, health, jobs, prices, sessions, symbols, trades, volatility
from api.rest.routing import make_api
from config.settings import Settings
from db.bus import Bus
from db.postgres import Store

_DATA = [
    symbols.routes,
    prices.routes,
    candles.routes,
    trades.routes,
    volatility.routes,
    correlation.routes,
    alerts.routes,
    sessions.routes,
]
ROUTES = [docs.routes, health.routes, *_DATA, gaps.routes, jobs.routes]


def create_app(settings: Settings, bus: Bus, store: Store, clock: Callable[[], datetime], version: str) -> Flask:
    """The WSGI app of REST. It opens nothing by itself: `bus` and `store` may be away when it starts.

    `clock` gives aware UTC.
    """
    app = Flask(__name__, static_folder=None)
    app.json = OrjsonProvider(app)
    parts = AppContext(
        settings=settings,
        bus=bus,
        store=store,
        clock=clock,
        version=version,
        started=clock(),
        database=HealthProbe("database", lambda: health.ask_database(store)),
        redis=HealthProbe("redis", lambda: health.ask_redis(bus)),
    )
    attach(app, parts)
    app.extensions["openapi"] = make_api(app, version, ROUTES).spec
    app.register_blueprint(docs.pages)
    errors.register(app)
    slots.register(app)
    app.after_request(_add_headers)
    return app


def _add_headers(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")  # every answer is of this moment; static files say otherwise
    return response
