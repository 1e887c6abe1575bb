"""The addresses of the hub's plain WebSockets, for clients that look for them at REST."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.access.model import OPEN
from api.errors import ErrorCode
from api.rest.context import context
from config.http_errors import http_error_body
from config.settings import Settings
from config.urls import url_of

BOOKS_ROUTE, METRICS_ROUTE = "/ws", "/ws/metrics"

pages = Blueprint("sockets", __name__)  # a WebSocket is not in the OpenAPI document
# endpoint -> scope: the hub checks callers
SCOPES: dict[str, str] = {"sockets.books": OPEN, "sockets.metrics": OPEN}


def book_socket(settings: Settings) -> str:
    """Return the URL of the order books at the hub: `ws://127.0.0.1:5001/ws`."""
    return _url(settings, BOOKS_ROUTE)


def metrics_socket(settings: Settings) -> str:
    """Return the URL of the metrics at the hub: `ws://127.0.0.1:5001/ws/metrics`."""
    return _url(settings, METRICS_ROUTE)


@pages.get(BOOKS_ROUTE)
def books() -> Response:
    """426 with the URL of the socket: REST serves no WebSockets."""
    return _elsewhere(book_socket(context().settings))


@pages.get(METRICS_ROUTE)
def metrics() -> Response:
    """426 with the URL of the socket: REST serves no WebSockets."""
    return _elsewhere(metrics_socket(context().settings))


def _url(settings: Settings, route: str) -> str:
    """Return the URL of a route. `HUB_PUBLIC_URL` replaces the hub's address; it may have a path."""
    address = settings.hub_public_url or url_of(settings.websocket_host, settings.websocket_port)
    scheme, _, rest = address.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{route}"


def _elsewhere(url: str) -> Response:
    response = jsonify(http_error_body(ErrorCode.INVALID_PAYLOAD.value, f"the hub serves this WebSocket: connect to {url}", {"url": url}))
    response.status_code = 426
    response.headers["Upgrade"] = "websocket"
    response.headers["Connection"] = "Upgrade"
    return response
