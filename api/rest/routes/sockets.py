"""The address of the hub's plain WebSocket, for clients that look for it at REST."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.access.model import OPEN
from api.errors import ErrorCode
from api.rest.context import context
from config.http_errors import http_error_body
from config.settings import Settings
from config.urls import url_of

METRICS_ROUTE = "/ws/metrics"

pages = Blueprint("sockets", __name__)  # a WebSocket is not in the OpenAPI document
SCOPES: dict[str, str] = {"sockets.metrics": OPEN}  # endpoint -> scope: the hub checks callers


def metrics_socket(settings: Settings) -> str:
    """Return the URL of the metrics at the hub: `ws://127.0.0.1:5001/ws/metrics`.

    `HUB_PUBLIC_URL` replaces the address of the hub; it may have a path.
    """
    address = settings.hub_public_url or url_of(settings.websocket_host, settings.websocket_port)
    scheme, _, rest = address.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{METRICS_ROUTE}"


@pages.get(METRICS_ROUTE)
def metrics() -> Response:
    """426 with the URL of the socket: REST serves no WebSockets."""
    url = metrics_socket(context().settings)
    message = f"the hub serves this WebSocket: connect to {url}"
    response = jsonify(http_error_body(ErrorCode.INVALID_PAYLOAD.value, message, {"url": url}))
    response.status_code = 426
    response.headers["Upgrade"] = "websocket"
    response.headers["Connection"] = "Upgrade"
    return response
