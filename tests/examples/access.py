"""The messages about credentials between a hub that requires them and a stock client."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from socketio.exceptions import ConnectionError as NotConnected

from config.settings import Settings
from db.access_changes import lock_access
from db.bus import Bus
from db.postgres import Store
from db.revoked_tokens import RevokedToken, insert_revocation
from tests.examples.example import Examples
from tests.examples.witness import Witness
from tests.support.clients import PythonClient
from tests.support.processes import Web
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, claims, token

_LIFE_SECONDS = 6.0  # of the first token
_VARIABLES = {"AUTH": "required", "JWT_ALGORITHMS": "HS256", "JWT_SECRET": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}


def capture(settings: Settings, bus: Bus, folder: Path) -> Examples:
    """Start a hub, connect with tokens, and return the examples."""
    with Web("hub", settings, folder / "access.log", **_VARIABLES) as hub:
        client = PythonClient(hub.url)
        witness = Witness(client, bus)
        _connecting(witness)
        try:
            _refreshing(witness)
            _revoking(witness, settings)
        finally:
            client.__exit__(None, None, None)
        return witness.examples


def _connecting(witness: Witness) -> None:
    with suppress(NotConnected):
        witness.client.connect()
    witness.receive("connect_unauthorized", "connect_error")
    rights = {"scopes": ["read"], "instruments": ["EUR_*", "GBP_USD"]}
    witness.client.connect({"token": token("HS256", claims(time.time(), exp=time.time() + _LIFE_SECONDS, tickwire=rights))})
    witness.receive("connection_with_token", "connection_established")
    witness.request("forbidden_instrument", "subscribe", "subscription_confirmed", {"pairs": ["EUR_USD", "GBP_USD", "BTCUSDT"]})
    witness.request("forbidden_scope", "get_server_stats", "error")


def _refreshing(witness: Witness) -> None:
    witness.receive("credentials_expiring", "credentials_expiring")
    new = token("HS256", claims(time.time(), jti="8d2", tickwire={"scopes": ["read"], "instruments": ["EUR_*"]}))
    witness.request("refresh", "refresh", "refreshed", {"token": new})
    witness.examples["refresh"][0]["body"] = {"token": "a new token"}


def _revoking(witness: Witness, settings: Settings) -> None:
    now = datetime.now(UTC)
    with closing(Store(str(settings.database_url))) as store, store.transaction() as cursor:
        lock_access(cursor)
        changed = insert_revocation(cursor, RevokedToken("8d2", None, None, now + timedelta(days=1)), now)
    witness.bus.announce_access(changed)
    witness.add("revoked", "error", witness.client.wait("error", where=lambda body: body["event"] == "disconnect"))
