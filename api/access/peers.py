"""The address of a client: that of its peer, or the one that a trusted proxy names."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_MAX_REMEMBERED = 4096  # addresses


class Peers:
    """The rule of `TRUSTED_PROXIES`: `trusted` are addresses or networks."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(ip_network(each) for each in trusted)

    def client(self, peer: str, forwarded: str | None) -> str:
        """Return the address of the client.

        `peer` is the address of the connection, `forwarded` the value of `X-Forwarded-For`. The
        last hop counts if the peer is trusted and the hop is an address; else the peer does.
        """
        if forwarded and self.is_proxy(peer):
            hop = _parse(forwarded.rpartition(",")[2].strip())
            return peer if hop is None else str(hop)
        return peer

    def is_proxy(self, peer: str) -> bool:
        """Return True if the peer is a trusted proxy."""
        address = _parse(peer) if self._trusted else None
        return address is not None and any(address in network for network in self._trusted)

    def exempt(self, address: str) -> bool:
        """Return True if limits per address do not apply to an anonymous client there.

        These are clients of this machine, if no proxy is trusted.
        """
        parsed = _parse(address)
        return not self._trusted and (parsed is None or parsed.is_loopback)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, IPv4 for one that is mapped to IPv6; None for other text (a socket)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
