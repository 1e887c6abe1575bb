"""Hubs that differ from `wsgi:hub()` in one point; gunicorn loads them by name.

An example of a name is `tests.support.hub_variants:with_levels()`.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from marshmallow import validate
from marshmallow.fields import Int, Str

import wsgi
from api.access.model import READ, Access, Handshake
from api.errors import ErrorCode, Refusal
from api.hub.alerts.volatility_feed import VolatilityFeed
from api.hub.channels import CHANNELS, Address, Channel
from api.hub.events import Events
from api.hub.relay import link
from api.hub.relay.relay import Relay
from api.hub.schemas.bus import MessageSchema
from config.access.patterns import compile_patterns
from config.settings import Settings
from db import topics
from db.topics import Stream
from tests.support.processes import Web

# an invented channel in an invented namespace

LEVELS = "level_updates"
NAMESPACE = "/levels"


class LevelUpdateSchema(MessageSchema):
    """One level of an instrument."""

    instrument = Str(required=True)
    level = Int(strict=True, required=True, validate=validate.Range(min=0))
    padding = Str()


def _addressee(data: Mapping[str, Any]) -> Address:
    return Address(data["instrument"], (data["instrument"],), ())


STREAM = Stream(LEVELS)
CHANNEL = Channel(
    STREAM, "level_update", LevelUpdateSchema(), _addressee, READ, conflated=True, namespace=NAMESPACE, audience="Clients of the namespace"
)


def with_levels() -> Any:
    """The hub with one more row in each half of the channel table."""
    topics.STREAMS[LEVELS] = STREAM
    CHANNELS[LEVELS] = CHANNEL
    return wsgi.hub()


# an authenticator that reads rights from the payload of CONNECT


def rights_of(auth: Mapping[str, Any]) -> Access:
    """The scopes and patterns of instruments that the payload of CONNECT lists."""
    return Access(frozenset(auth["scopes"]), compile_patterns(auth["instruments"]), bots=None)


class RightsOfPayload:
    """Refuses a client without `auth`."""

    def authenticate(self, handshake: Handshake) -> Access:
        if not handshake.auth:
            raise Refusal(ErrorCode.UNAUTHORIZED, "CONNECT has no credentials.", {"auth": ["Missing."]})
        return rights_of(handshake.auth)


def with_rights() -> Any:
    """The hub with that authenticator."""
    from api import websocket_server  # loads eventlet

    websocket_server.create_hub = partial(websocket_server.create_hub, authenticator=RightsOfPayload())
    return wsgi.hub()


# loops that end


class End(BaseException):
    """An end that no `except Exception` stops."""


def with_relay_that_ends() -> Any:
    """The hub whose relay ends at a foreign message `end`."""
    receive = Relay.receive

    def receive_or_end(self: Relay, channel: str, body: bytes, *, may_read: bool = False) -> None:
        if body == b"end":
            raise End
        receive(self, channel, body, may_read=may_read)

    Relay.receive = receive_or_end  # type: ignore[method-assign]
    return wsgi.hub()


def with_feed_that_ends() -> Any:
    """The hub whose volatility feed ends at the first `data_ready` about volatility."""
    hub = wsgi.hub()

    def end(self: VolatilityFeed) -> None:
        raise End

    VolatilityFeed.read = end  # type: ignore[method-assign]
    return hub


# short deadlines


def with_short_times() -> Any:
    """The hub with 1.5 seconds for a request, an upgrade, and the answer to a Close."""
    from api.hub.assembly import transport  # loads eventlet

    limits = transport.limits_of
    transport.limits_of = lambda settings: replace(limits(settings), request_seconds=1.5, upgrade_seconds=1.5, linger_seconds=1.5)
    return wsgi.hub()


def with_short_silence() -> Any:
    """The hub whose relay measures the silence of Redis ten times as fast."""
    link.PROBE_SECONDS, link.PING_AFTER_SECONDS, link.LOST_AFTER_SECONDS = 0.5, 1.0, 3.0
    return wsgi.hub()


# a handler that raises


def with_fault() -> Any:
    """The hub with a fault in `Events.connected`.

    While the file `FAULT_FILE` exists, the handler raises the built-in exception that the file
    names.
    """
    fault, connected = Path(os.environ["FAULT_FILE"]), Events.connected

    def broken(self: Events, *arguments: Any) -> None:
        if fault.exists():
            raise getattr(builtins, fault.read_text())("a fault of the hub")
        connected(self, *arguments)

    Events.connected = broken  # type: ignore[method-assign, assignment]
    return wsgi.hub()


def variant(name: str, settings: Settings, log: Path, **extra: str) -> Web:
    """A gunicorn process of one of these hubs."""
    web = Web("hub", settings, log, **extra)
    web.argv[-1] = f"tests.support.hub_variants:{name}()"
    return web
