"""The documents of REST and the hub, and two readers.

Browsers load no file from outside. Every URL is relative to its page, so that the pages work below
any path of a proxy that strips it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint, Response, abort, current_app, jsonify, send_from_directory

from api.access.model import OPEN, READ
from api.rest.context import context

# Forbids the browser every request to another host; the Redoc bundle refers to a logo there.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

_OWN_FILES = Path(__file__).parents[3] / "clients" / "web" / "docs"
# name under /docs/static/ -> path among the package's files
_STATIC = {
    "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
    "swagger-ui-bundle.js": "swagger-ui-dist/swagger-ui-bundle.js",
    "favicon.png": "swagger-ui-dist/favicon-32x32.png",
    "redoc.standalone.js": "redoc/bundles/redoc.standalone.js",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{head}</head>
<body{attributes}>
{body}
</body>
</html>
"""
# Without a form: its fields would be in no request, but browsers offer to store its passwords.
_READER = """<div id="key">
<label>Key: <input type="password" autocomplete="off" spellcheck="false" size="60" placeholder="tw_…"></label>
<button type="button">Use</button> <output></output>
</div>
<div id="reader"></div>
<script src="docs/static/{bundle}"></script>
<script type="module" src="docs/start.js"></script>"""
_STYLE = "<style>body { margin: 0 } #key { padding: 0.5em 1em; font: 14px sans-serif }</style>\n"
_SWAGGER = _PAGE.format(
    title="Tickwire: Swagger UI",
    head='<link rel="icon" href="docs/static/favicon.png">\n<link rel="stylesheet" href="docs/static/swagger-ui.css">\n' + _STYLE,
    attributes=' data-reader="swagger"',
    body=_READER.format(bundle="swagger-ui-bundle.js"),
)
_REDOC = _PAGE.format(
    title="Tickwire: Redoc",
    head='<link rel="icon" href="docs/static/favicon.png">\n' + _STYLE,
    attributes=' data-reader="redoc"',
    body=_READER.format(bundle="redoc.standalone.js"),
)
pages = Blueprint("docs", __name__)  # pages that are not in the OpenAPI document
SCOPES: dict[str, str] = {}  # endpoint of `pages` -> scope

View = TypeVar("View", bound=Callable[..., Any])


def _page(path: str, scope: str) -> Callable[[View], View]:
    """Declare a route of `pages`."""

    def declare(view: View) -> View:
        SCOPES[f"{pages.name}.{view.__name__}"] = scope
        pages.get(path)(view)
        return view

    return declare


@_page("/openapi.json", READ)
def openapi() -> Response:
    """The OpenAPI document, made from the schemas that check requests."""
    return jsonify(current_app.extensions["openapi"].to_dict())


@_page("/asyncapi.json", READ)
def events_of_the_hub() -> Response:
    """The AsyncAPI document of the hub, made from the schemas of its events."""
    return jsonify(context().asyncapi())


@_page("/docs", OPEN)
def swagger() -> Response:
    """Swagger UI."""
    return _html(_SWAGGER)


@_page("/redoc", OPEN)
def redoc() -> Response:
    """Redoc."""
    return _html(_REDOC)


@_page("/docs/start.js", OPEN)
def start_reader() -> Response:
    """Start script of the readers: a file, as the policy of the pages forbids inline scripts."""
    response = send_from_directory(_OWN_FILES, "reader.js", max_age=0)
    response.content_type = "text/javascript; charset=utf-8"
    return response


@_page("/docs/static/<name>", OPEN)
def static(name: str) -> Response:
    """Files of the two readers, from their package."""
    if name not in _STATIC:
        abort(404)
    return send_from_directory(_static_folder(), _STATIC[name], max_age=3600)


def _static_folder() -> Path:
    """Return the folder of the readers' files.

    The package is found, but not imported: it imports Django.
    """
    spec = find_spec("drf_spectacular_sidecar")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package drf-spectacular-sidecar is not installed")
    return Path(spec.origin).parent / "static" / "drf_spectacular_sidecar"


def _html(page: str) -> Response:
    response = Response(page, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Vary"] = "Accept"
    return response
