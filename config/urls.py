"""URLs: the form of those in settings, and those of servers from their parts. Pure.

PostgreSQL's and Redis's clients and the migrations read the same URL by rules of their own. So only
URLs are accepted that all of them read in the same way. No error contains a part of a URL: its
password may stand in any part of a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

_MAX_PORT = 65535
# The host that a client on this machine uses for a server that listens on all addresses.
LOCAL_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_PERCENT_FAULT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A name, several names separated by commas (libpq), or an IPv6 address in brackets.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:@]*)(?::(?P<port>[0-9]*))?")
_BETWEEN_URLS = re.compile(r",(?=[a-z]+://)")
HINT = "write / # ? @ % and blanks of a user name or password as %2F %23 %3F %40 %25 and %20"
_FAULT = f"is a URL with a character that must be percent-encoded, or with an invalid host or port: {HINT}"


def fault(url: str) -> str | None:
    """The fault of a URL that has a scheme; None if every client reads it in the same way."""
    _, _, rest = url.partition("://")
    if "#" in rest or _PERCENT_FAULT.search(rest) or any(each.isspace() or not each.isprintable() for each in rest):
        return _FAULT
    authority, path, arguments = _parts(rest)
    user_info, _, hosts = authority.rpartition("@")
    # An @ behind the authority may end a password with an unescaped / or ?.
    late = "@" in path or "@" in arguments.partition("=")[0] or (authority != "" and user_info == "" and "@" in arguments)
    return _FAULT if late or "@" in user_info or not _is_host(hosts) or not _can_be_split(url) else None


def _parts(rest: str) -> tuple[str, str, str]:
    """Authority, path and query, as RFC 3986 separates them."""
    before, _, arguments = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, path, arguments


def _can_be_split(url: str) -> bool:
    """False if Python's parser raises an error; its text would quote the password."""
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    return match is not None and (not match["port"] or 0 < int(match["port"][:6]) <= _MAX_PORT)


def seeds_of(text: str) -> tuple[str, ...]:
    """The URLs of a comma list of servers; none of an empty text.

    Each has a URL of its own, or shares that of the first: `redis://:word@one:7000,two:7000`.
    """
    return tuple(seed for url in _BETWEEN_URLS.split(text) for seed in _seeds_of_url(url)) if text else ()


def _seeds_of_url(url: str) -> list[str]:
    scheme, _, rest = url.partition("://")
    authority = _parts(rest)[0]
    user_info, at, hosts = authority.rpartition("@")
    return [f"{scheme}://{user_info}{at}{host}{rest[len(authority) :]}" for host in hosts.split(",")]


def database_url_of(values: Mapping[str, Any]) -> str | None:
    """Return the URL of `DB_HOST` and the other parts; None without a host."""
    if not values["db_host"]:
        return None
    secret = f":{quote(values['db_password'], safe='')}" if values["db_password"] else ""
    user, name = (quote(values[key], safe="") for key in ("db_user", "db_name"))
    return f"postgresql://{user}{secret}@{_url_host(values['db_host'])}:{values['db_port']}/{name}"


def redis_url_of(values: Mapping[str, Any]) -> str | None:
    """Return the URL of `REDIS_HOST` and the other parts; None without a host."""
    if not values["redis_host"]:
        return None
    given = values["redis_password"]
    secret = f":{quote(given, safe='')}@" if given and given != "None" else ""
    return f"redis://{secret}{_url_host(values['redis_host'])}:{values['redis_port']}/{values['redis_db']}"


def _url_host(host: str) -> str:
    """Return a host as a URL contains it: IPv6 in brackets, the directory of a socket quoted."""
    return f"[{host}]" if ":" in host else quote(host, safe="")


def url_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    host = LOCAL_HOSTS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def websocket_of(url: str, route: str) -> str:
    """Return the URL of a WebSocket at the server with this URL, which may have a path."""
    scheme, _, rest = url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{route}"
