"""The front page, the OpenAPI document and its two readers. Nothing is loaded from outside."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, request, send_from_directory

from api import asyncapi
from api.rest.context import context
from api.rest.routing import Routes
from api.rest.schemas.answers import IndexSchema
from db.timestamps import format_time
from ops.running import url_of

_DESCRIPTION = "A self-hosted hub for market data: prices over Socket.IO, history over REST."
_DOCUMENTATION = {"openapi": "/openapi.json", "swagger": "/docs", "redoc": "/redoc", "asyncapi": "/asyncapi.json"}
# Whatever the bundles would like to fetch from elsewhere (Redoc has a logo there), the browser does not even try.
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; frame-ancestors 'none'"

# name under /docs/static/ -> its place among the package's files
_STATIC = {
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "swagger-ui-bundle.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "favicon.png": "swagger-ui-dist/favicon-32x32.png",
    "redoc.standalone.js": "redoc/bundles/redoc.standalone.js",
}
_START_SWAGGER = """window.onload = function () {
  SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
};
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{head}</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    title="Tickwire: Swagger UI",
    head='<link rel="icon" href="/docs/static/favicon.png">\n<link rel="stylesheet" href="/docs/static/swagger-ui.css">\n',
    body='<div id="swagger-ui"></div>\n<script src="/docs/static/swagger-ui-bundle.js"></script>\n<script src="/docs/start.js"></script>',
)
_REDOC = _PAGE.format(
    title="Tickwire: Redoc",
    head='<link rel="icon" href="/docs/static/favicon.png">\n<style>body { margin: 0 }</style>\n',
    body='<redoc spec-url="/openapi.json"></redoc>\n<script src="/docs/static/redoc.standalone.js"></script>',
)
_FRONT = _PAGE.format(
    title="Tickwire",
    head='<link rel="icon" href="/docs/static/favicon.png">\n',
    body=f"""<h1>Tickwire</h1>
<p>{_DESCRIPTION}</p>
<ul>
<li><a href="/docs">The REST API, to try out</a></li>
<li><a href="/redoc">The REST API, to read</a></li>
<li><a href="/openapi.json">The OpenAPI document</a></li>
<li><a href="/asyncapi.json">The AsyncAPI document: the events of the hub</a></li>
<li><a href="/health">Health</a></li>
<li><a href="/symbols">Instruments</a></li>
</ul>""",
)

routes = Routes("index", "The service itself")
pages = Blueprint("docs", __name__)


@routes.get("/", IndexSchema, doc={"responses": {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}})
def index() -> Any:
    """The service in a few words: a page for browsers, JSON for `Accept: application/json`."""
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) != "application/json":
        return _html(_FRONT)
    app = context()
    spec: dict[str, Any] = current_app.extensions["openapi"].to_dict()
    body = {
        "name": "tickwire",
        "version": app.version,
        "description": _DESCRIPTION,
        "documentation": _DOCUMENTATION,
        "routes": sorted(spec["paths"]),
        "timestamp": format_time(app.clock()),
    }
    return body, 200, {"Vary": "Accept"}


@pages.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI document, made from the schemas that check requests."""
    return jsonify(current_app.extensions["openapi"].to_dict())


@pages.get("/asyncapi.json")
def events_of_the_hub() -> Response:
    """The AsyncAPI document of the hub, made from the schemas of its events."""
    app = context()
    hub = url_of(app.settings.websocket_host, app.settings.websocket_port)
    return jsonify(asyncapi.document(app.version, hub.removeprefix("http://")))


@pages.get("/docs")
def swagger() -> Response:
    """Swagger UI."""
    return _html(_SWAGGER)


@pages.get("/redoc")
def redoc() -> Response:
    """Redoc."""
    return _html(_REDOC)


@pages.get("/docs/start.js")
def start_swagger() -> Response:
    """A file and not a line in the page, so that the page's policy can forbid inline scripts."""
    return Response(_START_SWAGGER, content_type="text/javascript; charset=utf-8")


@pages.get("/docs/static/<name>")
def static(name: str) -> Response:
    """The readers' own files, from the package that carries them."""
    if name not in _STATIC:
        abort(404)
    return send_from_directory(_static_folder(), _STATIC[name], max_age=3600)


def _static_folder() -> Path:
    """Where `drf_spectacular_sidecar` keeps its files: found, not imported, for importing it would import Django."""
    spec = find_spec("drf_spectacular_sidecar")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package drf-spectacular-sidecar is not installed")
    return Path(spec.origin).parent / "static" / "drf_spectacular_sidecar"


def _html(page: str) -> Response:
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Vary"] = "Accept"
    return response
