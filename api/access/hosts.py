"""Host and origin of a request: the names under which we are served, and the pages that may use us.

A page whose name resolves to this machine (DNS rebinding) sends its own name as Host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Routes for load balancers, which send no name.
OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/hub/health", "/hub/live"})
# Headers that a page of another origin may send; a simple request needs no leave for any other.
SENT_HEADERS = "Authorization, X-API-Key, Content-Type, X-Request-ID, traceparent"
EVERYONE = "*"

_MAX_REMEMBERED = 256  # Host headers, and names
_host_parts = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s\[\]:/@?#\\]+))(?::[0-9]*)?").fullmatch


@lru_cache(maxsize=_MAX_REMEMBERED)
def host_name(header: str | None) -> str | None:
    """Return the name of a Host header, as `canonical` writes it; None if it has none."""
    match = _host_parts(header or "")
    return canonical(match[1] or match[2]) if match else None


@lru_cache(maxsize=_MAX_REMEMBERED)
def canonical(name: str) -> str:
    """Return a name in lower case, an address in its shortest form and without brackets."""
    name = name.strip().strip("[]").lower().removesuffix(".")
    try:
        address = ip_address(name)
    except ValueError:
        return name
    return str(getattr(address, "ipv4_mapped", None) or address)


class Hosts:
    """The rule of `ALLOWED_HOSTS`: `names` are those of the setting, and the bind host."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = LOOPBACK | {canonical(name) for name in names}

    def allow(self, header: str | None, local: Callable[[], str]) -> bool:
        """Return True for a request with this Host header.

        `local()` is the local address of the connection, which the kernel may have to return. It is
        accepted too: a server that is bound to all addresses is reached by any of them.
        """
        name = host_name(header)
        return name is not None and (name in self._names or name == canonical(local()))


class Origins:
    """The rule of `CORS_ORIGINS`: `extra` are origins besides the pages of our own names."""

    def __init__(self, extra: Iterable[str] = ()) -> None:
        self._extra = frozenset(extra)
        self.everyone = EVERYONE in self._extra

    def allow(self, origin: str, host: str | None) -> bool:
        """Return True for `extra`, for pages of this machine and of the host (any port)."""
        if self.everyone or origin in self._extra - {"", "null"}:
            return True
        try:
            parts = urlsplit(origin)
            name = canonical(parts.hostname or "")
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and name != "" and (name in LOOPBACK or name == host_name(host))

    def headers(self, origin: str) -> list[tuple[str, str]]:
        """Return the headers of an answer to a page of an allowed origin."""
        if self.everyone:
            return [("Access-Control-Allow-Origin", EVERYONE)]
        return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
