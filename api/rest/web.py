"""The dashboard: `/`, its files below /ui/, and `/config.json`.

No route here needs a credential, as none has data of an instrument. Every URL is relative to the
page, so that the page works below any path of a proxy that strips it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, current_app, request

from api.access.model import OPEN
from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.page.configuration import configuration
from api.rest.page.files import File, Files, digest
from api.rest.page.policy import PageAddress, hub_sources, import_map_hash, policy
from api.rest.routing import Routes
from api.rest.schemas.answers import IndexSchema
from api.rest.schemas.dashboard import ConfigurationSchema
from db.timestamps import format_time
from health.system.books import BOOKS_ROUTE, METRICS_ROUTE, socket_url

DESCRIPTION = "A self-hosted hub for market data: prices over Socket.IO, history over REST."
_DOCUMENTATION = {"openapi": "openapi.json", "swagger": "docs", "redoc": "redoc", "asyncapi": "asyncapi.json"}
_HEADERS = {"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}

_CLIENTS = Path(__file__).parents[2] / "clients"
_WEB = Files(_CLIENTS / "web")
# first part of the path below /ui/ -> its folder, and whether it serves a name there
_FOLDERS: Mapping[str, tuple[Files, Callable[[str], bool]]] = {
    "src": (Files(_CLIENTS / "web" / "src"), lambda name: True),
    "vendor": (Files(_CLIENTS / "web" / "vendor"), lambda name: True),
    "client": (Files(_CLIENTS / "js" / "src"), lambda name: name.endswith(".js")),
}

routes = Routes("index", "The service itself")
pages = Blueprint("web", __name__)  # files are not in the OpenAPI document
SCOPES: dict[str, str] = {"web.files": OPEN}  # endpoint of `pages` -> scope


@routes.get("/", IndexSchema, scope=OPEN, doc={"responses": {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}})
def index() -> Any:
    """Summary of the service: the dashboard for browsers, JSON for `Accept: application/json`."""
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) != "application/json":
        return _page()
    app = context()
    spec: dict[str, Any] = current_app.extensions["openapi"].to_dict()
    body = {
        "name": "tickwire",
        "version": app.version,
        "description": DESCRIPTION,
        "documentation": _DOCUMENTATION,
        "routes": sorted(spec["paths"]),
        "metrics_socket": socket_url(app.settings, METRICS_ROUTE),
        "book_socket": socket_url(app.settings, BOOKS_ROUTE),
        "timestamp": format_time(app.clock()),
    }
    return body, 200, {"Vary": "Accept"}


@routes.get("/config.json", ConfigurationSchema, scope=OPEN)
def config() -> Any:
    """Settings that the dashboard needs: the address of the hub, and the enabled parts."""
    app = context()
    return configuration(app.settings, app.access.mode, app.version, format_time(app.clock()))


@pages.get("/ui/<path:name>")
def files(name: str) -> Response:
    """A file of the page or of the JavaScript client. Browsers compare its ETag at each use."""
    folder, _, below = name.partition("/")
    found = None
    if name == "app.css":
        found = _WEB.read(name)
    elif folder in _FOLDERS:
        inside, serves = _FOLDERS[folder]
        found = inside.read(below) if serves(below) else None
    return _answer(found or abort(404))


def _page() -> Response:
    """Return the page with the policy for the host of the request."""
    html = _WEB.read("index.html") or abort(404)
    value = policy(import_map_hash(html.content), hub_sources(context().settings, _address()))
    response = _answer(html, digest(html.content + value.encode()))
    response.headers["Content-Security-Policy"] = value
    response.vary.add("Accept")
    return response


def _address() -> PageAddress:
    """Return the address of the page. Raises 403 if the host cannot stand in a header.

    The host has passed `ALLOWED_HOSTS`. `request.host` would be empty for a name with a `_`.
    """
    sent = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("Host", "").removesuffix(":")
    try:
        return PageAddress("https" if sent.strip().lower() == "https" else "http", host)
    except ValueError:
        raise ApiError(403, ErrorCode.FORBIDDEN, "the host is not allowed: see ALLOWED_HOSTS") from None


def _answer(file: File, tag: str | None = None) -> Response:
    response = Response(file.content, content_type=file.kind)
    response.headers.update(_HEADERS)
    response.set_etag(tag or file.tag)
    response.make_conditional(request)
    return response
