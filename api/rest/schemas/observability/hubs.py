"""Answer of `/hubs`."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Bool, Dict, Int, List, Nested, Str

from api.rest.schemas.answers import about, output_number, output_time


def _count(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(f"{text}; null if the hub's version does not report it"))


class HubSchema(Schema):
    """One hub, as of its last report."""

    name = Str(required=True, metadata=about("Its name in the process registry", example="hub:5001@a1"))
    version = Str(required=True)
    started = output_time("Start of the process")
    failing = Dict(keys=Str(), values=Str(), required=True, metadata=about("Part -> reason; empty if all checks of the hub pass"))
    url = Str(required=True, allow_none=True, metadata=about("Its own address, without a proxy"))
    clients = _count("Clients of Socket.IO")
    clients_limit = _count("The largest number of them")
    plain_clients = _count("Clients of plain WebSockets")
    connections = _count("Open sessions and plain WebSockets, with those that have not joined yet")
    total_subscriptions = _count("Instruments held, over all clients")
    subscriptions_by_pair = Dict(
        keys=Str(), values=Int(), required=True, metadata=about("Clients by instrument: the 1,000 instruments with the most of them")
    )
    delivered = _count("Messages handed to clients since the start")
    relay_lag_seconds = output_number("From the bus to the sockets, of the last batch; null before it", allow_none=True)
    draining = Bool(required=True, metadata=about("True if the hub refuses new clients and closes those it has"))


class HubsSchema(Schema):
    """Every hub that has reported within 15 s."""

    hubs = List(Nested(HubSchema), required=True)
    count = Int(required=True)
