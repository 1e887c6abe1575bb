"""The addresses of the hub's plain WebSockets, for clients that look for them at REST."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.access.model import OPEN
from api.errors import ErrorCode
from api.rest.context import context
from config.http_errors import http_error_body
from health.system.books import BOOKS_ROUTE, METRICS_ROUTE, socket_url

pages = Blueprint("sockets", __name__)  # a WebSocket is not in the OpenAPI document
# endpoint -> scope: the hub checks callers
SCOPES: dict[str, str] = {"sockets.books": OPEN, "sockets.metrics": OPEN}


@pages.get(BOOKS_ROUTE)
def books() -> Response:
    """426 with the URL of the socket: REST serves no WebSockets."""
    return _elsewhere(BOOKS_ROUTE)


@pages.get(METRICS_ROUTE)
def metrics() -> Response:
    """426 with the URL of the socket: REST serves no WebSockets."""
    return _elsewhere(METRICS_ROUTE)


def _elsewhere(route: str) -> Response:
    url = socket_url(context().settings, route)
    response = jsonify(http_error_body(ErrorCode.INVALID_PAYLOAD.value, f"the hub serves this WebSocket: connect to {url}", {"url": url}))
    response.status_code = 426
    response.headers["Upgrade"] = "websocket"
    response.headers["Connection"] = "Upgrade"
    return response
