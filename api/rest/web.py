"""Files for web pages below /ui/: the stock Socket.IO client, so that no page needs a CDN.

The files are those of clients/web/vendor, unchanged; vendor.json has their origin. They need no
credential, as they contain no data of an instrument.
"""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

from api.access.model import OPEN

_VENDOR = Path(__file__).parents[2] / "clients" / "web" / "vendor"
_JAVASCRIPT = "text/javascript; charset=utf-8"

pages = Blueprint("web", __name__)  # files are not in the OpenAPI document
SCOPES: dict[str, str] = {"web.vendor": OPEN}  # endpoint -> scope


@pages.get("/ui/vendor/<name>")
def vendor(name: str) -> Response:
    """A file of another project. Browsers compare its ETag at each use."""
    response = send_from_directory(_VENDOR, name)
    if name.endswith((".js", ".mjs")):
        response.content_type = _JAVASCRIPT
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
