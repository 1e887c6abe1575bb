"""The mode of access control: the bind address decides, never a header. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Literal

# `auth` in `/health`. `optional`: callers without a credential have the anonymous rights.
AuthMode = Literal["optional", "required", "off"]
OPTIONAL: AuthMode = "optional"
REQUIRED: AuthMode = "required"
OFF: AuthMode = "off"
AUTO = "auto"
AUTH_VALUES = (AUTO, REQUIRED, OFF)


def is_loopback(host: str) -> bool:
    """Return True for `localhost` and addresses of the loopback; not for all addresses."""
    text = host.strip().strip("[]").lower()
    try:
        address = ip_address(text)
    except ValueError:
        return text == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def mode_of(auth: str, hosts: Iterable[str], trusted_proxies: Iterable[str]) -> AuthMode:
    """Return the mode for the value of `AUTH`, the bind hosts, and the trusted proxies."""
    if auth == OFF:
        return OFF
    local = all(map(is_loopback, hosts)) and not tuple(trusted_proxies)
    return OPTIONAL if auth == AUTO and local else REQUIRED
