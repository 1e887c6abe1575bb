"""The address of a client behind proxies, and the clients that limits per address exempt."""

from __future__ import annotations

import pytest

from api.access.peers import Peers


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (("127.0.0.1",), "127.0.0.1", None, "127.0.0.1"),
        (("127.0.0.1",), "127.0.0.1", "198.51.100.7", "198.51.100.7"),
        (("127.0.0.1",), "127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (("127.0.0.1",), "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (("10.0.0.0/8",), "10.2.3.4", "2001:db8::5", "2001:db8::5"),
        (("10.0.0.0/8",), "::ffff:10.2.3.4", "198.51.100.7", "198.51.100.7"),
        (("127.0.0.1",), "127.0.0.1", "198.51.100.7, unknown", "127.0.0.1"),
        (("127.0.0.1",), "", "198.51.100.7", ""),
    ],
)
def test_client_is_the_last_hop_of_a_trusted_peer(trusted: tuple[str, ...], peer: str, forwarded: str | None, client: str) -> None:
    assert Peers(trusted).client(peer, forwarded) == client


@pytest.mark.parametrize(
    ("trusted", "address", "exempt"),
    [
        ((), "127.0.0.1", True),
        ((), "127.9.9.9", True),
        ((), "::1", True),
        ((), "::ffff:127.0.0.1", True),
        ((), "", True),
        ((), "192.0.2.1", False),
        (("10.0.0.0/8",), "127.0.0.1", False),
    ],
)
def test_loopback_is_exempt_while_no_proxy_is_trusted(trusted: tuple[str, ...], address: str, exempt: bool) -> None:
    assert Peers(trusted).exempt(address) is exempt
