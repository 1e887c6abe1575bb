"""A crawler of served pages: it follows every URL of pages, style sheets, scripts and documents."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import orjson

_ATTRIBUTES = re.compile(r'\b(?:src|href|spec-url|action)="([^"]*)"')
_STYLES = re.compile(r"url\(\s*['\"]?([^'\")]+)")
_SCRIPTS = re.compile(r"""(?:\burl:|\bfetch\()\s*["']([^"']+)["']""")
_IMPORTS = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']+)["']""")  # of a module; their base is the module
_COMMENTS = re.compile(r"/\*.*?\*/", re.DOTALL)  # which name modules as types
_BUNDLES = re.compile(r"(?:\.bundle|-bundle|\.standalone|/vendor/[^/]+)\.m?js$")  # of libraries: they request nothing by themselves


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer to a GET."""

    url: str
    status: int
    kind: str
    text: str


def fetch(url: str) -> Fetched:
    """Return the answer; a redirect is followed."""
    request = urllib.request.Request(url, headers={"Accept": "text/html,*/*"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return Fetched(answer.url, answer.status, answer.headers.get_content_type(), answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Fetched(url, error.code, "", "")


def crawl(*starts: str) -> dict[str, Fetched]:
    """Return URL -> answer of every URL that can be reached from `starts`."""
    found: dict[str, Fetched] = {}
    waiting = [(start, start) for start in starts]
    while waiting:
        url, page = waiting.pop()
        if url not in found:
            found[url] = fetched = fetch(url)
            # The base of a script's URLs is its page, that of a style sheet's is itself.
            base = page if fetched.kind == "text/javascript" else url
            waiting += [(urljoin(base, each), base) for each in links(fetched)]
            waiting += [(urljoin(url, each), base) for each in imports(fetched)]
    return found


def links(fetched: Fetched) -> Iterator[str]:
    """Yield the URLs in a page, a script, a style sheet or a document, as they stand there."""
    patterns = {"text/html": (_ATTRIBUTES, _STYLES, _SCRIPTS), "text/css": (_STYLES,), "text/javascript": (_SCRIPTS,)}
    if not _BUNDLES.search(fetched.url):
        for pattern in patterns.get(fetched.kind, ()):
            yield from (each for each in pattern.findall(fetched.text) if not each.startswith(("data:", "#")))
    if fetched.kind == "application/json":
        yield from _documented(orjson.loads(fetched.text))


def imports(fetched: Fetched) -> list[str]:
    """Return the relative URLs of the modules that a script imports."""
    if fetched.kind != "text/javascript" or _BUNDLES.search(fetched.url):
        return []
    return _IMPORTS.findall(_COMMENTS.sub("", fetched.text))


def _documented(document: Any) -> Iterator[str]:
    """Yield the URLs of a document, and those of its operations that need no argument."""
    yield from document.get("documentation", {}).values()
    for server in document.get("servers", ()) if "openapi" in document else ():
        for path, item in document["paths"].items():
            read = item.get("get", {"parameters": [{"required": True}]})  # a crawler reads only
            parameters = (*item.get("parameters", ()), *read.get("parameters", ()))
            if not any(each["required"] for each in parameters) and path not in _NEED_DATA:
                yield server["url"].rstrip("/") + path


_NEED_DATA = {"/price/latest", "/correlation"}  # 422 without an argument, 404 without a matrix
