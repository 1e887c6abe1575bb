"""The Content-Security-Policy of the page: its own files, its import map and its hub."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.settings import Settings

_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)
_HOST = re.compile(r"[\w.\-\[\]:]+", re.ASCII)
_IPV6 = re.compile(r"\A\[[^\]]*\]")
_PORT = re.compile(r":([0-9]+)\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class PageAddress:
    """The address of the page as the browser has it: `host` has a port unless it is the default."""

    scheme: str
    host: str

    def __post_init__(self) -> None:
        if _HOST.fullmatch(self.host) is None:
            raise ValueError("a host with characters that no header may contain")

    @property
    def name(self) -> str:
        """The host without its port."""
        return _PORT.sub("", self.host)

    @property
    def port(self) -> int:
        """The effective port: `location.port` of the browser is empty for 80 and 443."""
        match = _PORT.search(self.host)
        return int(match[1]) if match else _DEFAULT_PORTS[self.scheme]


def hub_sources(settings: Settings, page: PageAddress) -> str:
    """Return the hub's place in `connect-src`; clients/web/src/config.js has the same rule.

    The hub is at `HUB_PUBLIC_URL`, or beside REST if the page came from REST itself, or behind the
    proxy from which the page came.
    """
    if settings.hub_public_url is not None:
        parts = urlsplit(settings.hub_public_url)
        host, socket = _source(parts.netloc), "wss" if parts.scheme == "https" else "ws"
        return f"{parts.scheme}://{host} {socket}://{host}"
    if page.port == settings.api_port:
        hub = _source(f"{page.name}:{settings.websocket_port}")
        return f"http://{hub} ws://{hub}"
    host = _source(page.host)
    return f"ws://{host} wss://{host}"


def _source(host: str) -> str:
    """Return a host as the policy contains it: `*` for an IPv6 address, which has no form there.

    The grammar of sources has no brackets. Browsers leave out such a source, and would block the
    hub: https://www.w3.org/TR/CSP3/#grammardef-host-part
    """
    return _IPV6.sub("*", host)


def import_map_hash(html: bytes) -> str | None:
    """Return the source expression of the inline import map; None if there is none.

    Browsers support no import map in a file of its own (whatwg/html #12354). They hash its text
    with normalised line ends.
    """
    match = _MAP.search(html)
    if match is None:
        return None
    text = match[1].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def policy(import_map: str | None, hub: str) -> str:
    """Return the header's value: the page loads nothing from another place."""
    scripts = "'self'" if import_map is None else f"'self' {import_map}"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {hub}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
